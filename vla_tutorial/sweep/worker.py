"""The life of a simulator's process: take an order, run the ordinary loop, record it, say how it ended.

PyTorch is left out: it would cost every process seconds and half a gigabyte.
"""

from __future__ import annotations

import gc
import importlib
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vla_tutorial.loop import Step
from vla_tutorial.policies import Policy, load_policy
from vla_tutorial.record import Result, record_episode
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.memory import page_out
from vla_tutorial.sweep.journal import is_full
from vla_tutorial.sweep.messages import Alive, Ended, EpisodeRequest, Failed, Message, PolicyInfo
from vla_tutorial.sweep.plan import names
from vla_tutorial.sweep.remote_policy import ErrorTaggingPolicy, PolicyError

SIMULATOR = "VLA_TUTORIAL_SIMULATOR"
"""Environment variable for tests: "module:callable" that stands in for `Simulator(suite, task, camera_size)`."""

BEAT = 1.0
"""Seconds between two signs of life."""


def build(suite: str, task: int, camera_size: int) -> Simulator:
    """A simulator that takes little memory, or what the tests' variable names in its place."""
    if stand_in := os.environ.get(SIMULATOR):
        module, _, name = stand_in.partition(":")
        return getattr(importlib.import_module(module), name)(suite, task, camera_size)  # type: ignore[no-any-return]
    simulator = Simulator(suite, task, camera_size)
    page_out(simulator.model)
    return simulator


@dataclass
class _Watch:
    """Looks on while an episode runs: signs of life, and closes of the gripper (commands > 0 after ≤ 0; it is open while objects settle)."""

    tell: Callable[[Message], None]
    steps: int = 0
    closes: int = 0
    _closed: bool = False
    _told: float = field(default_factory=time.monotonic)

    def __call__(self, step: Step) -> None:
        closed = bool(step.action[6] > 0)
        self.closes += closed and not self._closed
        self._closed, self.steps = closed, self.steps + 1
        if time.monotonic() - self._told > BEAT:
            self.tell(Alive(self.steps))
            self.steps, self._told = 0, time.monotonic()


class Worker:
    """A worker's place: its policy (a privileged one of its own, or one that asks over some connection) and the simulator of its last order."""

    def __init__(
        self,
        policy_info: PolicyInfo,
        asking: Callable[[PolicyInfo], Policy],
        tell: Callable[[Message], None],
    ) -> None:
        """Make the policy ready.

        Args:
            asking: makes the policy that asks the served one.
            tell: sends a message to the main process.
        """
        self.policy: Any = ErrorTaggingPolicy(
            load_policy(policy_info.name) if policy_info.privileged else asking(policy_info)
        )
        self.tell = tell
        self._simulator: Simulator | None = None
        self._place: tuple[str, int, int] | None = None

    def run(self, order: EpisodeRequest) -> Ended | Failed:
        """One episode, recorded in `order.part`."""
        try:
            return self._episode(order)
        except (EOFError, ConnectionError):  # the main process or its connection has gone
            raise
        except PolicyError as e:
            return Failed("policy", str(e))
        except Exception as e:
            self.close()  # whatever state it is in: the next episode gets a new one
            full = isinstance(e, OSError) and is_full(e, order.part.parent)
            return Failed(
                "disk" if full else "episode", str(e) if full else traceback.format_exc(limit=-3)
            )

    def _episode(self, order: EpisodeRequest) -> Ended:
        simulator, watch = self._get(order.place), _Watch(self.tell)
        result = record_episode(
            self.policy,
            simulator,
            order.wiring,
            order.scene,
            order.part,
            names(order.job.condition),
            video=order.video != "none",
            pictures=order.video != "none",
            on_step=watch,
        )
        if order.video == "failures" and result.success:
            for name in ("agentview.png", "gripper.png", "episode.mp4"):
                (order.part / name).unlink(missing_ok=True)
        return Ended(_outcome(result, watch.closes), watch.steps)

    def _get(self, place: tuple[str, int, int]) -> Simulator:
        if self._simulator is None or self._place != place:
            self.close()
            self.tell(Alive(building=True))
            self._simulator, self._place = build(*place), place
            self.tell(Alive())
        return self._simulator

    def close(self) -> None:
        """Release the simulator, and its memory before the next one is built."""
        if self._simulator is None:
            return
        self._simulator.close()
        self._simulator = None
        gc.collect()  # robosuite's objects know each other, so nothing else frees the model


def _outcome(result: Result, closes: int) -> dict[str, Any]:
    return {
        "success": result.success,
        "steps": result.steps,
        "first_close": result.first_close,
        "closes": closes,
        "seconds": result.seconds,
    }
