"""What the scheduler and its workers say to each other, through a pipe or through Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.policies.base import Policy
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.plan import Video

if TYPE_CHECKING:
    from vla_tutorial.record import Result

SimulatorKey = tuple[str, int, int]
"""What a simulator is built for: suite, task and camera size in pixels."""


@dataclass(frozen=True)
class PolicyInfo:
    """The policy as a worker has to know it.

    A privileged policy reads the simulator's state, so each worker has its own. Otherwise workers
    ask the one that is served.
    """

    name: str
    privileged: bool
    statistics: Mapping[str, ActionStatistics]
    provenance: Mapping[str, Any]

    @classmethod
    def of(cls, policy: Policy) -> PolicyInfo:
        """The description of `policy`."""
        return cls(policy.name, policy.privileged, dict(policy.statistics), dict(policy.provenance))


@dataclass(frozen=True)
class EpisodeRequest:
    """To a worker: run this episode.

    Attributes:
        staging_dir: where the record is written; the scheduler then moves it to its place.
        simulator_key: the simulator that it needs; a worker keeps the one that it has.
    """

    spec: EpisodeSpec
    video: Video
    staging_dir: Path
    simulator_key: SimulatorKey


@dataclass(frozen=True)
class Ready:
    """From a worker: it waits for its first request."""


@dataclass(frozen=True)
class Alive:
    """From a worker: a heartbeat.

    Attributes:
        steps: control steps since the last heartbeat.
        building: a simulator is being built, so the next message may take minutes.
    """

    steps: int = 0
    building: bool = False


@dataclass(frozen=True)
class Ended:
    """From a worker: the episode came to its end.

    Attributes:
        travel, own_target: as `Episode` has them.
        steps: control steps since the last heartbeat.
        files: the record, name → content, where it is not in the request's `staging_dir`.
    """

    result: Result
    travel: float
    own_target: bool | None = None
    steps: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """From a worker: the episode raised an error.

    Attributes:
        blame: an "episode" is retried; the error of a "policy" or of a full "disk" stops the sweep.
    """

    blame: Literal["episode", "policy", "disk"]
    text: str


@dataclass(frozen=True)
class Lost:
    """From an engine: the worker is gone."""

    why: str


Message = Ready | Alive | Ended | Failed | Lost
