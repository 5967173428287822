"""Verdicts on the episodes of a sweep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.diagnose.judge import Diagnosis, diagnose_folder
from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.diagnose.rules import FaultBoundary
from vla_tutorial.episodes import Episode, read_sweep
from vla_tutorial.errors import TutorialError


@dataclass(frozen=True)
class SweepDiagnosis:
    """Verdicts on a sweep.

    Attributes:
        judged: episode and verdict.
        unreadable: episode and why its log could not be read.
        errors: how many episodes the sweep itself could not run.
        notes: on the folder, as `episodes.Sweep` has them.
    """

    judged: tuple[tuple[Episode, Diagnosis], ...]
    unreadable: tuple[tuple[Episode, str], ...]
    errors: int
    notes: tuple[str, ...]

    def counts(self, failed_only: bool = False) -> dict[str, Counter[str]]:
        """Condition → verdict → number of episodes, conditions in the order of the sweep."""
        table: dict[str, Counter[str]] = {}
        for episode, diagnosis in self.judged:
            if not (failed_only and episode.success):
                table.setdefault(episode.condition, Counter())[diagnosis.verdict] += 1
        return table


def diagnose_sweep(folder: Path, reference: Reference | None = None) -> SweepDiagnosis:
    """Judge every finished episode of a sweep. Raises TutorialError as `read_sweep` does."""
    sweep = read_sweep(folder)
    judged = []
    unreadable = []
    errors = 0
    for episode in sweep.episodes:
        if episode.outcome == "error":
            errors += 1
            continue
        try:
            found = diagnose_folder(folder / str(episode.folder), reference)
        except TutorialError as e:
            unreadable.append((episode, str(e)))
        else:
            judged.append((episode, found))
    return SweepDiagnosis(tuple(judged), tuple(unreadable), errors, sweep.notes)


def boundaries(condition: str) -> set[str]:
    """The boundaries that a condition breaks; those of "a+b" are put together.

    "published", unknown names and conditions that are no fault of the code break none.
    """
    names = [name for name in condition.split("+") if name in CATALOGUE]
    broken: set[str] = {CATALOGUE[name].boundary for name in names}
    return broken & set(get_args(FaultBoundary))
