"""Two runs compared on common initial states: counts of pairs, the difference, and p values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from vla_tutorial.arrays import Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.stats.rates import Interval, Rate, bootstrap_over_tasks, rate, wilson

Start = tuple[int, int] | tuple[int, int, str]
"""(task, init) of an episode, and the object that it asks for where that is not the task's own."""


@dataclass(frozen=True)
class Paired:
    """Two runs, a and b, from the same starts.

    Attributes:
        both, only_a, only_b, neither: number of pairs by who succeeds.
        difference: rate of b minus rate of a, in [−1, 1].
        interval: of the difference, for more episodes of these tasks (`newcombe`).
        over_tasks: of the difference, for other tasks of the kind (a bootstrap clustered by task);
            None as in `bootstrap_over_tasks`.
        p_value: exact McNemar, two-sided.
        flips: share of pairs that disagree. For the same run twice this is the flip rate.
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
        """Number of starts from which both ran."""
        return self.both + self.only_a + self.only_b + self.neither


def paired(a: Mapping[Start, bool], b: Mapping[Start, bool]) -> Paired:
    """Compare two runs on the starts that both have; what only one of them has is left out.

    Args:
        a, b: start → success. An episode that ended in an error has no outcome and is not here.

    Raises:
        TutorialError: they share no start.
    """
    common = check_common(a, b)
    tasks, first, second = np.array([(start[0], a[start], b[start]) for start in common]).T
    pairs = len(common)
    both = int(np.sum(first & second))
    only_a = int(np.sum(first > second))
    only_b = int(np.sum(second > first))
    neither = pairs - both - only_a - only_b
    cells = _changes_by_task(tasks, second - first)
    return Paired(
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        rate_a=rate(both + only_a, pairs),
        rate_b=rate(both + only_b, pairs),
        difference=(only_b - only_a) / pairs,
        interval=newcombe(both, only_a, only_b, neither),
        over_tasks=bootstrap_over_tasks(cells, np.array([-1.0, 0.0, 1.0])),
        p_value=mcnemar(only_a, only_b),
        flips=rate(only_a + only_b, pairs),
    )


def check_common(a: Mapping[Start, bool], b: Mapping[Start, bool]) -> list[Start]:
    """The starts that both runs have, sorted.

    Raises:
        TutorialError: there is none.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        raise TutorialError(
            "The two runs share no initial state whose episode ended in success or failure in "
            "both, so there is nothing to compare."
        )
    return common


def _changes_by_task(tasks: Ints, changes: Ints) -> Ints:
    """(tasks, 3): how many of a task's pairs changed by −1, 0 and +1."""
    _, rows = np.unique(tasks, return_inverse=True)
    cells = np.zeros((rows.max() + 1, 3), np.int64)
    np.add.at(cells, (rows, changes + 1), 1)
    return cells


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p value of McNemar's test: do pairs that disagree go either way alike?

    Args:
        only_a, only_b: number of pairs in which only the one run succeeds. If there is none of
            either, p is 1.
    """
    disagree = only_a + only_b
    if disagree == 0:
        return 1.0
    return float(binomtest(only_a, disagree).pvalue)


def newcombe(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """Newcombe's hybrid score interval of rate b − rate a for paired outcomes (method 10).

    It joins both Wilson intervals by the correlation φ of the pairs, corrected for continuity where
    positive. Statistics in Medicine 17, 2635–2650, 1998. The arguments are numbers of pairs by who
    succeeds, at least one in all.
    """
    n = both + only_a + only_b + neither
    a = (both + only_a) / n
    b = (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n)
    low_b, high_b = wilson(both + only_b, n)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross: float = both * neither - only_a * only_b
    if cross > 0:
        cross = max(cross - n / 2, 0)
    phi = 0.0
    if margins:
        phi = cross / math.sqrt(margins)
    down = _joined(b - low_b, high_a - a, phi)
    up = _joined(high_b - b, a - low_a, phi)
    return Interval(b - a - down, b - a + up)


def _joined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p values adjusted for their number (Holm 1979), in the order given.

    Those that are ≤ 0.05 afterwards stand together: the risk of any false one is at most 5 %.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1)
    return tuple(float(p) for p in adjusted)
