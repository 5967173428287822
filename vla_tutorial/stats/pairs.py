"""Two runs compared from the same starts: who wins which, the difference with its interval, and p values, of one comparison or of many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from vla_tutorial.errors import TutorialError
from vla_tutorial.stats.rates import RESAMPLES, Interval, Rate, bootstrap_over_tasks, rate, wilson

Start = tuple[int, int]
"""Where an episode starts: (task, init)."""


@dataclass(frozen=True)
class Paired:
    """Two runs, a and b, from the same starts.

    Attributes:
        both, only_a, only_b, neither: pairs by who succeeds.
        difference: rate of b less rate of a.
        interval: of the difference, for more episodes of these tasks (Newcombe 1998, method 10).
        over_tasks: of the difference, for other tasks of the same kind (task-clustered bootstrap); None as in `SuiteMean`.
        p_value: exact McNemar, two-sided.
        flips: share of pairs that disagree. For the same thing run twice this is the flip rate.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    rate_a: Rate
    rate_b: Rate
    difference: float
    interval: Interval
    over_tasks: Interval | None
    p_value: float
    flips: Rate

    @property
    def pairs(self) -> int:
        """Starts from which both ran."""
        return self.both + self.only_a + self.only_b + self.neither


def paired(
    a: Mapping[Start, bool], b: Mapping[Start, bool], *, resamples: int = RESAMPLES, seed: int = 0
) -> Paired:
    """Compare two runs on the starts that they share.

    Args:
        a, b: start → success.

    Raises:
        TutorialError: they share no start.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        raise TutorialError(
            "The two share no (task, init) that ended in success or failure in both, so there is nothing to compare."
        )
    outcomes = np.array([(task, a[task, init], b[task, init]) for task, init in common])
    tasks, first, second = outcomes.T
    won, lost, pairs = int(np.sum(second > first)), int(np.sum(first > second)), len(common)
    both = int(np.sum(first & second))
    change = second - first
    cells = np.array(
        [[np.sum(change[tasks == t] == v) for v in (-1, 0, 1)] for t in np.unique(tasks)]
    )
    return Paired(
        both=both,
        only_a=lost,
        only_b=won,
        neither=pairs - both - lost - won,
        rate_a=rate(both + lost, pairs),
        rate_b=rate(both + won, pairs),
        difference=(won - lost) / pairs,
        interval=newcombe(both, lost, won, pairs - both - lost - won),
        over_tasks=bootstrap_over_tasks(cells, np.array([-1.0, 0.0, 1.0]), resamples, seed),
        p_value=mcnemar(lost, won),
        flips=rate(lost + won, pairs),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p value of McNemar's test: are pairs that disagree as likely to go either way? 1.0 where none disagrees."""
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def newcombe(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """Interval of rate b − rate a for paired outcomes: Newcombe's hybrid score (Statistics in Medicine 17, 2635–2650, 1998, method 10).

    Each run's Wilson interval, joined with the correlation φ of the pairs, which is corrected for continuity where it is positive.
    """
    n = both + only_a + only_b + neither
    a, b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n), wilson(both + only_b, n)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = both * neither - only_a * only_b
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / math.sqrt(margins) if margins else 0.0
    down = _joined(b - low_b, high_a - a, phi)
    up = _joined(high_b - b, a - low_a, phi)
    return Interval(b - a - down, b - a + up)


def _joined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p values adjusted for being many (Holm 1979): those ≤ 0.05 stand together with at most 5 % risk of a single false one."""
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(
        np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    )
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1)
    return tuple(float(p) for p in adjusted)
