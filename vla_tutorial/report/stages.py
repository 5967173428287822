"""How far episodes came on tasks whose goal has several predicates, and in what order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vla_tutorial.episodes import Episode
from vla_tutorial.errors import TutorialError
from vla_tutorial.stats import Interval, bootstrap_over_tasks


@dataclass(frozen=True)
class StageCount:
    """Episodes of one task in which the same predicates came to hold, in the same order."""

    task: int  # number within the suite
    held: tuple[str, ...]  # predicates in the order in which they first held; () for none
    episodes: int
    successes: int  # a predicate may cease to hold again, so that all is not yet success


@dataclass(frozen=True)
class TaskCredit:
    """How many of a goal's predicates came to hold in the episodes of one task."""

    task: int
    predicates: int  # of the goal
    held: tuple[int, ...]  # episodes in which 0, 1, … and all predicates held at some time
    successes: int
    credit: float  # mean share of the predicates that held at some time, in [0, 1]

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return sum(self.held)


@dataclass(frozen=True)
class StageCredit:
    """The credit for stages under one condition, beside which success counts only the whole."""

    tasks: tuple[TaskCredit, ...]
    mean: float  # over tasks, each with the same weight
    interval: Interval | None  # `bootstrap_over_tasks`


def stage_counts(episodes: Sequence[Episode]) -> tuple[StageCount, ...]:
    """The ways that episodes went, by task and then the most frequent first.

    Episodes without `stages` (one predicate, an error, or an older sweep) are left out.
    """
    known = [episode for episode in episodes if episode.stages is not None]
    ways = Counter((e.task, tuple(name for name, _ in e.stages or ())) for e in known)
    won = Counter((e.task, tuple(name for name, _ in e.stages or ())) for e in known if e.success)
    counts = [StageCount(*way, number, won[way]) for way, number in ways.items()]
    return tuple(sorted(counts, key=lambda count: (count.task, -count.episodes, count.held)))


def goal_sizes(counts: Sequence[StageCount], suite: str) -> dict[int, int]:
    """Task → number of its goal's predicates.

    A success says it, since all of them hold then. Else LIBERO is asked. Tasks of which neither
    knows are left out.
    """
    sizes = {count.task: len(count.held) for count in counts if count.successes}
    for task in {count.task for count in counts} - sizes.keys():
        if size := _ask_libero(suite, task):
            sizes[task] = size
    return sizes


def _ask_libero(suite: str, task: int) -> int:
    """Number of predicates of a task's goal; 0 where LIBERO has no such task."""
    # Not above: LIBERO takes two seconds to import.
    from vla_tutorial.sim import check_task, libero

    try:
        definition = check_task(suite, task).bddl
    except TutorialError:
        return 0
    parse = libero.load().envs.bddl_utils.robosuite_parse_problem
    return len(parse(str(definition))["goal_state"])


def stage_credit(counts: Sequence[StageCount], sizes: Mapping[int, int]) -> StageCredit | None:
    """What the ways say together; None where no task has a known goal.

    Args:
        counts: as `stage_counts` gives them.
        sizes: as `goal_sizes`.
    """
    tasks = []
    for task, size in sorted(sizes.items()):
        own = [count for count in counts if count.task == task]
        held = [0] * (size + 1)
        for count in own:
            held[min(len(count.held), size)] += count.episodes
        credit = float(np.average(np.arange(size + 1) / size, weights=held))
        won = sum(count.successes for count in own)
        tasks.append(TaskCredit(task, size, tuple(held), won, credit))
    if not tasks:
        return None
    mean = float(np.mean([task.credit for task in tasks]))
    return StageCredit(tuple(tasks), mean, _interval(tasks))


def _interval(tasks: Sequence[TaskCredit]) -> Interval | None:
    shares = sorted({n / task.predicates for task in tasks for n in range(task.predicates + 1)})
    cells = np.zeros((len(tasks), len(shares)), np.int64)
    for row, task in enumerate(tasks):
        for number, episodes in enumerate(task.held):
            cells[row, shares.index(number / task.predicates)] += episodes
    return bootstrap_over_tasks(cells, np.array(shares))
