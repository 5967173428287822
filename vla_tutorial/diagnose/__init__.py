"""Which boundary broke? Answered from `steps.jsonl` alone: nobody tells it the condition, and it never reads the wiring.

log = read_log(folder)          log.py          columns, every line checked
compute(log, reference)         compute.py      numbers (signatures.py says which)
findings(signatures, …)         rules.py        what is off, in sentences
diagnose(log)                   here            the verdict
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vla_tutorial.diagnose.compute import compute
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.rules import Boundary, Finding, findings
from vla_tutorial.diagnose.signatures import Signatures
from vla_tutorial.diagnose.sweep import Entry, read_entries
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import Log, read_log
from vla_tutorial.sim.protocol import STEP_LIMITS

__all__ = [
    "NOTHING_WRONG",
    "POLICY",
    "Diagnosis",
    "diagnose",
    "diagnose_folder",
    "diagnose_sweep",
    "load_reference",
    "read_log",
]

Verdict = Literal["pixels", "prompt", "motion", "simulator", "policy", "nothing wrong"]
POLICY: Verdict = "policy"
NOTHING_WRONG: Verdict = "nothing wrong"


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on one episode.

    Attributes:
        verdict: the suspected boundary; "policy" when all four check out and the episode failed all the same; "nothing wrong".
        evidence: sentences with numbers; the first is what the verdict rests on, others name what else is off.
        next_step: what to do now.
        notes: what could not be checked.
        signatures: the numbers.
    """

    verdict: Verdict
    evidence: tuple[str, ...]
    next_step: str
    notes: tuple[str, ...]
    signatures: Signatures


def diagnose(log: Log, reference: Reference | None = None) -> Diagnosis:
    """Judge one episode. `reference`: published ranges; None takes those of libero_object and `mini`."""
    known = reference or load_reference()
    signatures = compute(log, known)
    found = findings(signatures, known)
    verdict, evidence, next_step = (
        _of_findings(found) if found else _without(signatures, STEP_LIMITS.get(known.key, 0))
    )
    return Diagnosis(verdict, evidence, next_step, tuple(_notes(log, known)), signatures)


def _of_findings(found: Sequence[Finding]) -> tuple[Boundary, tuple[str, ...], str]:
    return (
        found[0].boundary,
        tuple(f"{f.boundary}: {f.evidence}" for f in found),
        found[0].next_step,
    )


def _without(s: Signatures, limit: int) -> tuple[Verdict, tuple[str, ...], str]:
    """All boundaries check out: success, an early stop, or the policy itself."""
    if s.success:
        return (
            NOTHING_WRONG,
            (f"All boundaries check out, and the task was done after {s.steps} steps.",),
            "Nothing to do.",
        )
    if s.steps < limit:
        return (
            NOTHING_WRONG,
            (
                f"All boundaries check out in the {s.steps} steps logged; the episode ended before its limit of {limit} steps without success.",
            ),
            "Let it run to its end before judging the policy.",
        )
    return (
        POLICY,
        (f"All boundaries check out, but no success in {s.steps} steps: {_story(s)}.",),
        (
            "Watch episode.mp4. Then measure: one episode says little, so run the same task on more initial states (vla-tutorial sweep)."
        ),
    )


def _story(s: Signatures) -> str:
    p = s.progress
    stages = (
        ("came down to the object", p.reached),
        ("grasped something", p.grasped),
        ("lifted it", p.lifted),
        ("let go", p.released),
    )
    done = [f"{what} at step {step}" for what, step in stages if step is not None]
    return f"the hand {', '.join(done)}" if done else "the hand never came down to an object"


def _notes(log: Log, reference: Reference) -> Iterator[str]:
    if log.channels is None or log.sharpness is None:
        yield (
            "Recorded before format 2 of the episode folder: without img_channels and img_sharpness, the order of colours, the crop and the JPEG "
            "round trip were not checked."
        )
    if reference.first_bins is None:
        yield f"No known-good first answers of the policy {reference.policy!r} are shipped; a fault of the prompt shows only in the gripper then."


def diagnose_folder(folder: Path, reference: Reference | None = None) -> Diagnosis:
    """Judge the episode in `folder`. Raises TutorialError as `read_log` does."""
    return diagnose(read_log(folder), reference)


@dataclass(frozen=True)
class SweepDiagnosis:
    """Verdicts on a sweep.

    Attributes:
        judged: episode and verdict.
        unreadable: episode and why its log could not be read.
        errors: episodes that the sweep itself could not run.
    """

    judged: tuple[tuple[Entry, Diagnosis], ...]
    unreadable: tuple[tuple[Entry, str], ...]
    errors: int

    def counts(self, failed_only: bool = False) -> dict[str, Counter[str]]:
        """Condition → verdict → number of episodes, conditions in the order of the sweep."""
        table: dict[str, Counter[str]] = {}
        for entry, diagnosis in self.judged:
            if not (failed_only and entry.success):
                table.setdefault(entry.condition, Counter())[diagnosis.verdict] += 1
        return table


def diagnose_sweep(sweep: Path, reference: Reference | None = None) -> SweepDiagnosis:
    """Judge every finished episode of a sweep; a broken episode is reported beside the others. Raises TutorialError as `read_entries` does."""
    judged, unreadable = [], []
    entries = read_entries(sweep)
    ran = [e for e in entries if e.outcome != "error"]
    for entry in ran:
        try:
            judged.append((entry, diagnose_folder(sweep / entry.folder, reference)))
        except TutorialError as e:
            unreadable.append((entry, str(e)))
    return SweepDiagnosis(tuple(judged), tuple(unreadable), len(entries) - len(ran))
