"""What a sweep runs: every (condition, task, initial state) once, and the configuration that a folder belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

from vla_tutorial.conditions import PUBLISHED, apply
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.policies import native_key
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

Video = Literal["none", "failures", "all"]
"""Which episodes keep pictures (agentview.png, gripper.png) and a video beside steps.jsonl and episode.json."""


def names(condition: str) -> tuple[str, ...]:
    """The conditions that a name joins: "no_flip+wrong_prompt" → ("no_flip", "wrong_prompt"), "published" → ()."""
    return () if condition == PUBLISHED else tuple(condition.split("+"))


@dataclass(frozen=True)
class Job:
    """One episode of a sweep."""

    condition: str
    task: int
    init: int

    @property
    def folder(self) -> str:
        """Where its record lies within the sweep's folder."""
        return f"episodes/{self.condition}/{self.task}_{self.init}"


@dataclass(frozen=True)
class Sweep:
    """The configuration of a sweep; numbers are sorted and everything is there once.

    Attributes:
        suite: for example "libero_object".
        tasks, inits: numbers within the suite, and of the saved initial states.
        conditions: names; several are joined with "+" in the order in which they apply; "published" is none.
        policy, checkpoint, revision, device: as `load_policy` takes them.
        unnorm_key: whose action statistics to use; None takes those of the suite.
        embedded_statistics: as in `Wiring`.
        max_steps: None takes the published limit of the suite.
        video: which episodes keep pictures and a video.
    """

    suite: str
    tasks: tuple[int, ...]
    inits: tuple[int, ...]
    conditions: tuple[str, ...] = (PUBLISHED,)
    policy: str = "mini"
    checkpoint: str | None = None
    revision: str | None = None
    device: str | None = None
    unnorm_key: str | None = None
    embedded_statistics: bool = False
    max_steps: int | None = None
    video: Video = "none"

    def __post_init__(self) -> None:
        """Put everything in order and refuse an empty set."""
        for field, ordered in (("tasks", True), ("inits", True), ("conditions", False)):
            values = _once(getattr(self, field), ordered)
            if not values:
                raise TutorialError(
                    f"A sweep without {field} has no episodes. Name at least one, for example 0-9 or {PUBLISHED!r}."
                )
            object.__setattr__(self, field, values)
        if self.video not in get_args(Video):
            raise unknown("choice of videos", self.video, get_args(Video))

    def jobs(self) -> tuple[Job, ...]:
        """Every episode once: condition by condition, task by task."""
        return tuple(Job(*key) for key in product(self.conditions, self.tasks, self.inits))

    def settings(self, job: Job) -> tuple[Wiring, Scene]:
        """The wiring and scene of one episode.

        Raises:
            TutorialError: a condition is unknown, or two contradict each other.
        """
        key = self.unnorm_key or native_key(self.policy, self.suite)
        wiring = Wiring(key, embedded_statistics=self.embedded_statistics, max_steps=self.max_steps)
        return apply(names(job.condition), wiring, Scene(self.suite, job.task, job.init))

    def check(self) -> None:
        """Raise a TutorialError if a suite, task, initial state, condition or policy does not exist; imports LIBERO (2 s)."""
        from vla_tutorial.policies import POLICIES
        from vla_tutorial.sim import check_task, step_limit

        if self.policy not in POLICIES:
            raise unknown("policy", self.policy, POLICIES)
        for job in self.jobs():
            check_task(self.suite, job.task, job.init)
        for condition in self.conditions:
            wiring, scene = self.settings(Job(condition, self.tasks[0], self.inits[0]))
            check_task(scene.suite, scene.task, scene.init)
            if wiring.max_steps is None:
                step_limit(scene.suite)

    def entry(self) -> dict[str, Any]:
        """What `sweep.json` says of the plan."""
        return {
            "suite": self.suite,
            "tasks": list(self.tasks),
            "inits": list(self.inits),
            "conditions": list(self.conditions),
            "wiring": {
                "unnorm_key": self.unnorm_key,
                "embedded_statistics": self.embedded_statistics,
            },
            "max_steps": self.max_steps,
            "video": self.video,
        }


def _once(values: Iterable[Any], ordered: bool) -> tuple[Any, ...]:
    found: Sequence[Any] = tuple(dict.fromkeys(values))
    return tuple(sorted(found)) if ordered else tuple(found)
