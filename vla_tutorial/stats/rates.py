"""Success rates with 95 % intervals, and the mean over a suite's tasks.

Outcomes are True or False. An episode that ended in an error has none and is not counted here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.errors import TutorialError

LEVEL = 0.95
"""Confidence of every interval."""

RESAMPLES = 10_000
"""Of a bootstrap: from seed to seed an interval's end then varies by 1 % of its width (s.d.)."""

FEWEST_TASKS = 5
"""With fewer tasks there is no bootstrap over tasks. In 600 simulated sweeps each (50 episodes a
task, tasks' true rates spread as Beta(18, 2), (4.5, 0.5), (2, 2) and (900, 100)) the interval held
the truth in 89 to 98 % of cases with ten tasks, 86 to 98 % with five, down to 67 % with two."""


class Interval(NamedTuple):
    """A 95 % interval, of a share in [0, 1] or of a difference in [−1, 1]."""

    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A success rate.

    Attributes:
        rate: successes / episodes, a share in [0, 1].
        standard_error: √(p(1 − p)/n), as §2.4 reports it. It is zero where every episode ends
            alike, so read the interval there.
        interval: Wilson's.
    """

    successes: int
    episodes: int
    rate: float
    standard_error: float
    interval: Interval


def wilson(successes: int, episodes: int) -> Interval:
    """Wilson's interval of a share (Wilson 1927): stays in [0, 1] and works for few episodes.

    Raises:
        TutorialError: there is no episode, or `successes` is not in 0 … `episodes`.
    """
    if episodes < 1:
        expected = "Expected at least one that ended in success or failure."
        raise TutorialError(f"There is no success rate from {episodes} episodes. {expected}")
    if not 0 <= successes <= episodes:
        raise TutorialError(f"successes must be between 0 and {episodes}, got {successes}.")
    found = binomtest(successes, episodes).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def standard_error(rate: float, episodes: float) -> float:
    """√(p(1 − p)/n), the standard error of §2.4, of a rate p in [0, 1] of n episodes."""
    return math.sqrt(rate * (1 - rate) / episodes)


def rate(successes: int, episodes: int) -> Rate:
    """A success rate with its standard error and interval.

    Raises:
        TutorialError: as `wilson`.
    """
    interval = wilson(successes, episodes)
    share = successes / episodes
    return Rate(successes, episodes, share, standard_error(share, episodes), interval)


@dataclass(frozen=True)
class SuiteMean:
    """The mean over a suite's tasks, each task with the same weight.

    Attributes:
        mean: a share in [0, 1]; it equals the rate of all episodes where each task has as many.
        tasks: how many there are.
        interval: for other tasks of the kind, so it is wide where tasks differ. None with fewer
            than `FEWEST_TASKS` tasks.
        alike: whether every episode ended alike, so that resampling cannot tell. The interval is
            then Wilson's with one episode for each task. One drawn of each is as good as a draw
            from all tasks of the kind, so this holds, and it is wide.
        resamples, seed: of the bootstrap, so that the interval can be computed again.
    """

    mean: float
    tasks: int
    interval: Interval | None
    alike: bool
    resamples: int
    seed: int


def suite_mean(
    counts: Mapping[int, tuple[int, int]], *, resamples: int = RESAMPLES, seed: int = 0
) -> SuiteMean:
    """Mean over tasks, with an interval from a bootstrap that is clustered by task.

    It resamples tasks, then each one's episodes (Davison and Hinkley 1997, §3.8).

    Args:
        counts: task → (successes, episodes).

    Raises:
        TutorialError: there is no task, or a task without episodes.
    """
    empty = [task for task, (_, episodes) in counts.items() if episodes < 1]
    if not counts or empty:
        raise TutorialError(
            "A suite's mean needs tasks, each with an episode that ended in success or failure. "
            f"Got {len(counts)} tasks, of which {empty} have none."
        )
    cells = np.array([(n - k, k) for k, n in counts.values()])
    tasks = len(cells)
    mean = float(np.mean(cells[:, 1] / cells.sum(axis=1)))
    alike = mean in (0, 1)
    interval = bootstrap_over_tasks(cells, np.array([0.0, 1.0]), resamples, seed)
    if alike and tasks >= FEWEST_TASKS:
        interval = wilson(round(mean * tasks), tasks)
    return SuiteMean(
        mean=mean,
        tasks=tasks,
        interval=interval,
        alike=alike,
        resamples=resamples,
        seed=seed,
    )


def bootstrap_over_tasks(
    cells: Ints,
    values: Floats,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of the mean over tasks of a score, from a two-stage bootstrap.

    It is None with fewer than `FEWEST_TASKS` tasks, or where every episode has the same score.

    Args:
        cells: (tasks, K) int64, number of a task's episodes with each score.
        values: (K,) the scores.
    """
    tasks = len(cells)
    if tasks < FEWEST_TASKS or np.count_nonzero(cells.sum(axis=0)) < 2:
        return None
    random = np.random.default_rng(seed)
    chosen = cells[random.integers(tasks, size=(resamples, tasks))]
    episodes = chosen.sum(axis=-1)
    # A task's n episodes, drawn with replacement, have counts that are multinomial (n, observed
    # shares). Drawing the counts is much faster than drawing the episodes.
    drawn = random.multinomial(episodes, chosen / episodes[..., None])
    means = (drawn @ values / episodes).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
