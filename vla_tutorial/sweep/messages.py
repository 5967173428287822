"""What an engine does for the scheduler, and what the workers and the scheduler tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.policies.base import Policy
from vla_tutorial.scene import OwnScene
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.plan import Video

if TYPE_CHECKING:
    from vla_tutorial.record import Result

SimulatorKey = tuple[str, int, int, OwnScene | None]
"""What a simulator is built for: suite, task, camera size in pixels, and an own scene if any."""


@dataclass(frozen=True)
class PolicyInfo:
    """The policy as workers and records have to know it.

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
    """To a worker: run this episode."""

    spec: EpisodeSpec
    video: Video
    staging_dir: Path  # where the record is written; the scheduler then moves it to its place
    simulator_key: SimulatorKey  # what it needs; a worker keeps the simulator that it has


@dataclass(frozen=True)
class Ready:
    """From a worker: it waits for its first request."""


@dataclass(frozen=True)
class Alive:
    """From a worker: a heartbeat."""

    steps: int = 0  # control steps since the last heartbeat
    building: bool = False  # a simulator is being built, so the next message may take minutes


@dataclass(frozen=True)
class Ended:
    """From a worker: the episode came to its end. `Episode` says what the fields mean."""

    result: Result
    travel: float
    own_target: bool | None = None
    stages: tuple[tuple[str, int], ...] | None = None
    steps: int = 0  # control steps since the last heartbeat
    # The record, name → content, where it is not in the request's `staging_dir`.
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """From a worker: the episode raised an error."""

    # What failed: an "episode" or "building" a simulator for it, which is retried, or the "policy"
    # or a full "disk", which stops the sweep.
    blame: Literal["episode", "building", "policy", "disk"]
    text: str


@dataclass(frozen=True)
class Lost:
    """From an engine: the worker is gone."""

    why: str


Message = Ready | Alive | Ended | Failed | Lost


class Engine(Protocol):
    """Starts workers, sends them episodes and serves their policy requests."""

    policy_info: PolicyInfo
    serving: Mapping[str, Any]  # how the policy answers, for `sweep.json`

    def start_worker(self) -> int:
        """Start a worker and return its number; it says `Ready` when it can take a request."""

    def send(self, worker: int, request: EpisodeRequest | None) -> None:
        """Send a worker its next episode; None ends it."""

    def poll(self, seconds: float) -> list[tuple[int, Message]]:
        """What workers have said, after at most `seconds`: (worker, message), first come first."""

    def kill(self, worker: int) -> None:
        """End a worker at once; `Lost` follows."""

    def close(self) -> None:
        """End every worker; safe to call twice."""
