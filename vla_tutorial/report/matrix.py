"""Many policies from the same starts: every pair of them compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from vla_tutorial.report.comparison import ConditionRun
from vla_tutorial.stats import ALPHA, Paired, Rate, holm, paired, rate

FEWEST = 3
"""Runs of which there is a matrix. Two are one comparison, which needs no table of pairs."""


@dataclass(frozen=True)
class Pairing:
    """Two of a matrix's runs, by their places in it, on the starts that both have."""

    a: int
    b: int
    paired: Paired
    holm: float  # p of exact McNemar, adjusted for the number of pairs in the matrix

    @property
    def differs(self) -> bool:
        """Whether the two differ, at 5 % for all pairs of the matrix together."""
        return self.holm <= ALPHA


@dataclass(frozen=True)
class Matrix:
    """Runs of several sweeps in one suite under one condition, every pair compared."""

    suite: str
    condition: str
    labels: tuple[str, ...]
    rates: tuple[Rate, ...]  # of all episodes of each, with Wilson's interval
    pairings: tuple[Pairing, ...]  # each once, with a < b; those without common starts are missing


def matrices(runs: Sequence[ConditionRun]) -> tuple[Matrix, ...]:
    """A matrix for each suite and condition that at least `FEWEST` sweeps ran."""
    groups: dict[tuple[str, str], list[ConditionRun]] = {}
    for run in runs:
        if run.outcomes():
            groups.setdefault((run.sweep.suite, run.condition), []).append(run)
    return tuple(_matrix(*key, own) for key, own in groups.items() if len(own) >= FEWEST)


def _matrix(suite: str, condition: str, runs: Sequence[ConditionRun]) -> Matrix:
    outcomes = [run.outcomes() for run in runs]
    found = {
        (a, b): paired(outcomes[a], outcomes[b])
        for a, b in combinations(range(len(runs)), 2)
        if outcomes[a].keys() & outcomes[b].keys()
    }
    adjusted = holm([pair.p_value for pair in found.values()])
    pairings = []
    for (a, b), p_value in zip(found, adjusted, strict=True):
        pairings.append(Pairing(a, b, found[a, b], p_value))
    return Matrix(
        suite=suite,
        condition=condition,
        labels=tuple(run.label for run in runs),
        rates=tuple(rate(sum(own.values()), len(own)) for own in outcomes),
        pairings=tuple(pairings),
    )
