"""What the main process and its workers say to each other, whatever carries it (a pipe, or Ray)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.policies.base import Policy
from vla_tutorial.scene import Scene
from vla_tutorial.sweep.plan import Job, Video
from vla_tutorial.wiring import Wiring


@dataclass(frozen=True)
class PolicyInfo:
    """The policy as a worker has to know it.

    Attributes:
        privileged: it reads the simulator's state, so each worker has its own; otherwise workers ask the one that is served.
    """

    name: str
    privileged: bool
    statistics: Mapping[str, ActionStatistics]
    provenance: Mapping[str, Any]

    @classmethod
    def of(cls, policy: Policy) -> PolicyInfo:
        """What is to be known of `policy`."""
        return cls(policy.name, policy.privileged, dict(policy.statistics), dict(policy.provenance))


@dataclass(frozen=True)
class EpisodeRequest:
    """To a worker: run this episode and record it in `part`.

    Attributes:
        part: a folder of its own for the record, moved to its place when the episode has ended.
    """

    job: Job
    wiring: Wiring
    scene: Scene
    video: Video
    part: Path

    @property
    def place(self) -> tuple[str, int, int]:
        """The simulator that it needs; a worker keeps the one that it has."""
        return (self.scene.suite, self.scene.task, self.wiring.camera_size)


@dataclass(frozen=True)
class Ready:
    """From a worker: it waits for its first order."""


@dataclass(frozen=True)
class Alive:
    """From a worker: it goes on. `steps` since it last said so; `building`: the next word may take as long as building a simulator."""

    steps: int = 0
    building: bool = False


@dataclass(frozen=True)
class Ended:
    """From a worker: the episode came to its end.

    Attributes:
        outcome: the line's keys that the episode decides: success, steps, first_close, closes, seconds.
        steps: control steps since it was last `Alive`.
        files: the record where it does not lie in the order's `part`: name → content.
    """

    outcome: Mapping[str, Any]
    steps: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """From a worker: the episode raised an error. `blame`: the episode is retried; a policy's error or a full disk stops the sweep."""

    blame: Literal["episode", "policy", "disk"]
    text: str


@dataclass(frozen=True)
class Lost:
    """From whoever watches a worker: it is gone."""

    why: str


Message = Ready | Alive | Ended | Failed | Lost
