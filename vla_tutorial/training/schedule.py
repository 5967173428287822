"""Which task is practised next: those that fail get more simulators."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from vla_tutorial.training.chunks import TaskKey
from vla_tutorial.training.simulator_worker import Practised

RECENT = 16
"""Episodes of a task's scene over which its success is measured, of the policy alone."""

LEAST_NEED = 0.15
"""What a task that always succeeds gets, beside 1 for one that always fails."""

OVERDUE = 2
"""A task without a simulator is next when this many times the number of tasks were given out."""


@dataclass
class Schedule:
    """How the policy does in each of `tasks`, and how many simulators practise each now.

    Tasks are named by their number among `tasks`.
    """

    tasks: Sequence[TaskKey]
    _recent: list[deque[Practised]] = field(default_factory=list)
    _midway: list[deque[Practised]] = field(default_factory=list)
    _at_work: list[int] = field(default_factory=list)
    _given_at: list[int] = field(default_factory=list)
    _given: int = 0
    _hopeless: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._recent = [deque(maxlen=RECENT) for _ in self.tasks]
        self._midway = [deque(maxlen=RECENT) for _ in self.tasks]
        self._at_work = [0] * len(self.tasks)
        self._given_at = [0] * len(self.tasks)

    def note(self, episode: Practised) -> None:
        """Take an episode into account; only the policy's own tell how it does.

        Those that began in the middle of a task are easier, and are counted apart.
        """
        if episode.free:
            which = self._midway if episode.midway else self._recent
            which[episode.scene].append(episode)

    def next_scene(self, present: int | None) -> int:
        """The task for a simulator that practised `present` (None at first): the neediest one.

        Of tasks that need the same, the one with the fewest simulators. A simulator stays where it
        is while no other task is more than a little worse off, as a change costs seconds. A task
        that nobody has practised for long goes first, however well it went (`OVERDUE`).
        """
        self.leave(present)
        worth = [self._need(k) / (self._at_work[k] + 1) for k in range(len(self.tasks))]
        best = max(range(len(self.tasks)), key=worth.__getitem__)
        if present is not None and worth[best] < 1.5 * worth[present]:
            best = present
        best = self._overdue(best)
        self._given += 1
        self._given_at[best] = self._given
        self._at_work[best] += 1
        return best

    def leave(self, present: int | None) -> None:
        """A simulator no longer practises `present` (None: it has not begun): it died, or asks."""
        if present is not None:
            self._at_work[present] -= 1

    def give_up(self, scene: int) -> bool:
        """No layout of a task can be built: nobody is sent there again. False if that was known."""
        known = scene in self._hopeless
        self._hopeless.add(scene)
        return not known

    @property
    def hopeless(self) -> bool:
        """Whether every task was given up."""
        return len(self._hopeless) == len(self.tasks)

    def _overdue(self, otherwise: int) -> int:
        """The task without a simulator that waits longest, if that is too long."""
        idle = [k for k, count in enumerate(self._at_work) if not count]
        waiting = [k for k in idle if k not in self._hopeless]
        if not waiting:
            return otherwise
        longest = min(waiting, key=self._given_at.__getitem__)
        late = self._given - self._given_at[longest] >= OVERDUE * len(self.tasks)
        return longest if late else otherwise

    def _need(self, scene: int) -> float:
        if scene in self._hopeless:
            return 0.0
        share = self.success_of(scene)
        return 1.0 if math.isnan(share) else max(LEAST_NEED, 1 - share)

    def success_of(self, scene: int, midway: bool = False) -> float:
        """Share of successes of the policy alone in a task's scene.

        Args:
            scene: number of the task.
            midway: whether of episodes that began in the middle of the task, else of the others.

        Returns:
            0 … 1; NaN before there are any.
        """
        which = self._midway if midway else self._recent
        recent = [episode.success for episode in list(which[scene])]
        return sum(recent) / len(recent) if recent else math.nan

    def success(self, midway: bool = False) -> dict[str, float]:
        """Each suite's mean of its tasks' shares (`success_of`); NaN before there are any."""
        by_suite: dict[str, list[float]] = {}
        for scene, (suite, _) in enumerate(self.tasks):
            share = self.success_of(scene, midway)
            if not math.isnan(share):
                by_suite.setdefault(suite, []).append(share)
        suites = dict.fromkeys(suite for suite, _ in self.tasks)
        means = {}
        for suite in suites:
            shares = by_suite.get(suite, [])
            means[suite] = sum(shares) / len(shares) if shares else math.nan
        return means

    def recent(self) -> list[Practised]:
        """The last episodes of the policy alone, by task; those that began midway come last."""
        found: list[Practised] = []
        for episodes in (*self._recent, *self._midway):
            found += episodes
        return found
