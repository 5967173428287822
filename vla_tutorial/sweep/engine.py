"""What an engine does for the scheduler, how long the scheduler waits, and how a sweep stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vla_tutorial.sweep.messages import EpisodeRequest, Message, PolicyInfo


@dataclass(frozen=True)
class Timeouts:
    """Seconds without a heartbeat after which a worker counts as hanging.

    Attributes:
        step: within an episode.
        build: while it starts or builds a simulator, which takes 2–15 s on an idle machine.
    """

    step: float = 120.0
    build: float = 300.0


DEFAULT_TIMEOUTS = Timeouts()


class Engine(Protocol):
    """Starts workers, sends them episodes and serves their policy requests.

    Attributes:
        policy_info: what workers and records have to know of the policy.
        serving: how the policy answers, for `sweep.json`.
    """

    policy_info: PolicyInfo
    serving: Mapping[str, Any]

    def start_worker(self) -> int:
        """Start a worker and return its number; it says `Ready` when it can take a request."""
        ...

    def send(self, worker: int, request: EpisodeRequest | None) -> None:
        """Send a worker its next episode; None ends it."""
        ...

    def poll(self, seconds: float) -> list[tuple[int, Message]]:
        """What workers have said, after at most `seconds`: (worker, message), first come first."""
        ...

    def kill(self, worker: int) -> None:
        """End a worker at once; `Lost` follows."""
        ...

    def close(self) -> None:
        """End every worker; safe to call twice."""
        ...


@dataclass(frozen=True)
class SweepProgress:
    """How a sweep stands.

    Attributes:
        total: episodes of the plan.
        outcomes: episodes that have ended, by "success", "failure" and "error".
        here: episodes that have ended since this process began.
        steps: control steps since this process began.
        seconds: wall time since this process began.
    """

    total: int
    outcomes: Counter[str]
    here: int = 0
    steps: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Episodes that have ended."""
        return self.outcomes.total()
