"""Verdicts: on one episode, and on the episodes of a sweep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.diagnose.compute import compute
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.rules import FaultBoundary, findings
from vla_tutorial.diagnose.signatures import Progress, Signatures
from vla_tutorial.episodes import Episode, read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import Log, read_log
from vla_tutorial.sim.protocol import STEP_LIMITS

Verdict = Literal["pixels", "prompt", "motion", "simulator", "policy", "nothing wrong"]
"""A `rules.FaultBoundary`, or one of the two that blame no code."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
NOTHING_WRONG: Verdict = "nothing wrong"


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on one episode.

    Where all four boundaries check out, it is "policy" for a failure, and "nothing wrong" for a
    success or an early stop.
    """

    verdict: Verdict
    evidence: tuple[str, ...]  # with numbers; the verdict rests on the first, others are off too
    next_step: str  # what to do now
    notes: tuple[str, ...]  # what could not be checked
    signatures: Signatures


def diagnose(log: Log, reference: Reference | None = None) -> Diagnosis:
    """Judge one episode.

    Args:
        reference: None takes libero_object's and `mini`'s published ranges.
    """
    reference = reference or load_reference()
    signatures = compute(log, reference)
    notes = _notes(log, reference)
    found = findings(signatures, reference)
    if found:
        evidence = tuple(f"{finding.boundary}: {finding.evidence}" for finding in found)
        return Diagnosis(found[0].boundary, evidence, found[0].next_step, notes, signatures)
    verdict, sentence, next_step = _judge_unsuspected(signatures, STEP_LIMITS.get(reference.key, 0))
    return Diagnosis(verdict, (sentence,), next_step, notes, signatures)


def diagnose_folder(folder: Path, reference: Reference | None = None) -> Diagnosis:
    """Judge the episode in `folder`; only its `steps.jsonl` is read.

    Raises:
        TutorialError: there is no log, or it is damaged (`log.read_log`).
    """
    return diagnose(read_log(folder), reference)


def _judge_unsuspected(s: Signatures, limit: int) -> tuple[Verdict, str, str]:
    """Verdict, evidence and next step of a success, an early stop, or the policy's own failure."""
    if s.success:
        evidence = f"All boundaries check out, and the task was done after {s.steps} steps."
        return NOTHING_WRONG, evidence, "Nothing to do."
    if s.steps < limit:
        stopped = f"the episode ended before its limit of {limit} steps without success."
        evidence = f"All boundaries check out in the {s.steps} steps logged; {stopped}"
        return NOTHING_WRONG, evidence, "Let it run to its end before judging the policy."
    evidence = f"All boundaries check out, but no success in {s.steps} steps: {_story(s.progress)}."
    more = "One episode says little: run more initial states (vla-tutorial sweep)."
    return "policy", evidence, f"Watch episode.mp4. {more}"


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


@dataclass(frozen=True)
class SweepDiagnosis:
    """Verdicts on a sweep."""

    judged: tuple[tuple[Episode, Diagnosis], ...]
    unreadable: tuple[tuple[Episode, str], ...]  # why the episode's log could not be read
    errors: int  # how many episodes the sweep itself could not run
    notes: tuple[str, ...]  # on the folder, as `episodes.Sweep` has them

    def counts(self, failed_only: bool = False) -> dict[str, Counter[str]]:
        """Condition → verdict → number of episodes, conditions in the order of the sweep."""
        table: dict[str, Counter[str]] = {}
        for episode, diagnosis in self.judged:
            if not (failed_only and episode.success):
                table.setdefault(episode.condition, Counter())[diagnosis.verdict] += 1
        return table


def diagnose_sweep(folder: Path, reference: Reference | None = None) -> SweepDiagnosis:
    """Judge every finished episode of a sweep; one whose log is damaged counts as unreadable.

    Raises:
        TutorialError: the sweep itself is damaged (`episodes.read_sweep`).
    """
    sweep = read_sweep(folder)
    judged = []
    unreadable = []
    errors = 0
    for episode in sweep.episodes:
        if episode.outcome == "error":
            errors += 1
            continue
        try:
            judged.append((episode, diagnose_folder(folder / str(episode.folder), reference)))
        except TutorialError as e:
            unreadable.append((episode, str(e)))
    return SweepDiagnosis(tuple(judged), tuple(unreadable), errors, sweep.notes)


def boundaries(condition: str) -> set[str]:
    """The boundaries that a condition breaks; those of "a+b" are put together.

    "published", unknown names and conditions that are no fault of the code break none.
    """
    names = [name for name in condition.split("+") if name in CATALOGUE]
    broken: set[str] = {CATALOGUE[name].boundary for name in names}
    return broken & set(get_args(FaultBoundary))
