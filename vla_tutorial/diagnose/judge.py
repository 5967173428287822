"""The verdict on one episode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vla_tutorial.diagnose.compute import compute
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.rules import findings
from vla_tutorial.diagnose.signatures import Progress, Signatures
from vla_tutorial.log import Log, read_log
from vla_tutorial.sim.protocol import STEP_LIMITS

Verdict = Literal["pixels", "prompt", "motion", "simulator", "policy", "nothing wrong"]
"""A `rules.FaultBoundary`, or one of the two that blame no code."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
POLICY: Verdict = "policy"
NOTHING_WRONG: Verdict = "nothing wrong"


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on one episode.

    Attributes:
        verdict: the suspected boundary; where all four check out "policy" for a failure, "nothing
            wrong" for a success or an early stop.
        evidence: sentences with numbers. The verdict rests on the first; others name what else is
            off.
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
    """Judge one episode. `reference`: None takes libero_object's and `mini`'s published ranges."""
    reference = reference or load_reference()
    signatures = compute(log, reference)
    notes = _notes(log, reference)
    found = findings(signatures, reference)
    if found:
        evidence = tuple(f"{finding.boundary}: {finding.evidence}" for finding in found)
        return Diagnosis(found[0].boundary, evidence, found[0].next_step, notes, signatures)
    limit = STEP_LIMITS.get(reference.key, 0)
    verdict, sentence, next_step = _judge_without_findings(signatures, limit)
    return Diagnosis(verdict, (sentence,), next_step, notes, signatures)


def diagnose_folder(folder: Path, reference: Reference | None = None) -> Diagnosis:
    """Judge the episode in `folder`. Raises TutorialError as `read_log` does."""
    return diagnose(read_log(folder), reference)


def _judge_without_findings(s: Signatures, limit: int) -> tuple[Verdict, str, str]:
    """Verdict, evidence and next step of a success, an early stop, or the policy's own failure."""
    if s.success:
        return (
            NOTHING_WRONG,
            f"All boundaries check out, and the task was done after {s.steps} steps.",
            "Nothing to do.",
        )
    if s.steps < limit:
        return (
            NOTHING_WRONG,
            f"All boundaries check out in the {s.steps} steps logged; the episode ended before its "
            f"limit of {limit} steps without success.",
            "Let it run to its end before judging the policy.",
        )
    return (
        POLICY,
        f"All boundaries check out, but no success in {s.steps} steps: {_story(s.progress)}.",
        "Watch episode.mp4. One episode says little: run more initial states (vla-tutorial sweep).",
    )


def _story(progress: Progress) -> str:
    stages = {
        "came down to the object": progress.reached,
        "grasped something": progress.grasped,
        "lifted it": progress.lifted,
        "let go": progress.released,
    }
    done = [f"{what} at step {step}" for what, step in stages.items() if step is not None]
    return f"the hand {', '.join(done) or 'never came down to an object'}"


def _notes(log: Log, reference: Reference) -> tuple[str, ...]:
    notes = []
    if log.channels is None or log.sharpness is None:
        notes.append(
            "Recorded before format 2 of the episode folder: without img_channels and "
            "img_sharpness, order of colours, crop and JPEG round trip were not checked."
        )
    if reference.first_bins is None:
        notes.append(
            f"No known-good first answers of the policy {reference.policy!r} are shipped; a fault "
            "of the prompt shows only in the gripper then."
        )
    return tuple(notes)
