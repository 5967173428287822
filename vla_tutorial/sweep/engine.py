"""What every engine is to the driver, how long the driver waits, and how a sweep stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from vla_tutorial.sweep.messages import EpisodeRequest, Message, PolicyInfo


@dataclass(frozen=True)
class Timeouts:
    """Seconds without a sign of life after which a worker counts as hanging.

    Attributes:
        step: within an episode.
        build: while it starts or builds a simulator, which takes 2–15 s on an idle machine.
    """

    step: float = 120.0
    build: float = 300.0


DEFAULT_TIMEOUTS = Timeouts()


class Engine(Protocol):
    """An engine: workers that live somewhere, and a policy that is asked there. `LocalEngine` says what each method does."""

    policy_info: PolicyInfo
    serving: dict[str, Any]

    def start_worker(self) -> int: ...  # noqa: D102
    def send(self, worker: int, order: EpisodeRequest | None) -> None: ...  # noqa: D102
    def poll(self, seconds: float) -> list[tuple[int, Message]]: ...  # noqa: D102
    def kill(self, worker: int) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


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
