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


@dataclass
class Schedule:
    """How the policy does in each of `tasks`, and how many simulators practise each now."""

    tasks: Sequence[TaskKey]
    _recent: list[deque[Practised]] = field(default_factory=list)
    _at_work: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._recent = [deque(maxlen=RECENT) for _ in self.tasks]
        self._at_work = [0] * len(self.tasks)

    def note(self, episode: Practised) -> None:
        """Take an episode into account; only the policy's own tell how it does."""
        if episode.free:
            self._recent[episode.scene].append(episode)

    def next_scene(self, present: int | None) -> int:
        """The task for a simulator that practised `present` (None at first): the neediest one.

        Of tasks that need the same, the one with the fewest simulators. A simulator stays where it
        is while no other task is more than a little worse off, as a change costs seconds.
        """
        if present is not None:
            self._at_work[present] -= 1
        worth = [self._need(k) / (self._at_work[k] + 1) for k in range(len(self.tasks))]
        best = max(range(len(self.tasks)), key=worth.__getitem__)
        if present is not None and worth[best] < 1.5 * worth[present]:
            best = present
        self._at_work[best] += 1
        return best

    def _need(self, scene: int) -> float:
        share = self.success_of(scene)
        return 1.0 if math.isnan(share) else max(LEAST_NEED, 1 - share)

    def success_of(self, scene: int) -> float:
        """Share of successes of the policy alone in a task's scene; NaN before there are any."""
        recent = [episode.success for episode in list(self._recent[scene])]
        return sum(recent) / len(recent) if recent else math.nan

    def success(self) -> dict[str, float]:
        """Each suite's mean of its tasks' shares; NaN before there are any."""
        by_suite: dict[str, list[float]] = {}
        for scene, (suite, _) in enumerate(self.tasks):
            share = self.success_of(scene)
            if not math.isnan(share):
                by_suite.setdefault(suite, []).append(share)
        suites = dict.fromkeys(suite for suite, _ in self.tasks)
        means = {}
        for suite in suites:
            shares = by_suite.get(suite, [])
            means[suite] = sum(shares) / len(shares) if shares else math.nan
        return means

    def recent(self) -> list[Practised]:
        """The last episodes of the policy alone, by task."""
        return [episode for episodes in self._recent for episode in list(episodes)]
