"""A simulator's process: take a request, run the ordinary loop, record it, say how it ended.

PyTorch is left out: it would cost every process seconds and half a gigabyte.
"""

from __future__ import annotations

import importlib
import math
import os
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.files import DiskFull
from vla_tutorial.loop import Step
from vla_tutorial.policies import Policy, load_policy
from vla_tutorial.record import record_episode
from vla_tutorial.scene import OwnScene
from vla_tutorial.sim import KeptSimulator, Simulator
from vla_tutorial.sim.memory import page_out
from vla_tutorial.sweep.messages import Alive, Ended, EpisodeRequest, Failed, Message, PolicyInfo
from vla_tutorial.sweep.remote_policy import Ask, AskingPolicy, ErrorTaggingPolicy, PolicyError

SIMULATOR = "VLA_TUTORIAL_SIMULATOR"
"""Environment variable for tests: "module:callable" in place of `Simulator`."""

HEARTBEAT_SECONDS = 1.0
"""Time between two heartbeats."""

PICTURES = ("camera.png", "agentview.png", "gripper.png", "episode.mp4")


def build_simulator(
    suite: str, task: int, camera_size: int, own: OwnScene | None = None
) -> Simulator:
    """A simulator that takes little memory, or the tests' stand-in for one."""
    stand_in = os.environ.get(SIMULATOR)
    if stand_in:
        module, _, name = stand_in.partition(":")
        return getattr(importlib.import_module(module), name)(suite, task, camera_size)  # type: ignore[no-any-return]
    simulator = Simulator(suite, task, camera_size, own=own)
    page_out(simulator.model)
    return simulator


class _Watch:
    """Looks on while an episode runs: sends heartbeats and measures the hand's way.

    Attributes:
        steps: control steps since the last heartbeat.
        travel: metres that the hand got at most from its start.
        stages: as `Episode.stages`; empty at first.
    """

    def __init__(self, tell: Callable[[Message], None], simulator: Simulator) -> None:
        self.steps = 0
        self.stages: list[tuple[str, int]] = []
        self._simulator = simulator
        self.travel = 0.0
        self._tell = tell
        self._start: Floats | None = None
        # The first step is told at once: from then on the machine can run episodes.
        self._last_heartbeat = -math.inf

    def __call__(self, step: Step) -> None:
        self.steps += 1
        hand = step.observation.eef_pos
        if self._start is None:
            self._start = hand.copy()
        self.travel = max(self.travel, float(np.linalg.norm(hand - self._start)))
        self._look_for_stages(step.step)
        if time.monotonic() - self._last_heartbeat > HEARTBEAT_SECONDS:
            self._tell(Alive(self.steps))
            self.steps = 0
            self._last_heartbeat = time.monotonic()

    def _look_for_stages(self, step: int) -> None:
        goal = self._simulator.asked
        if len(goal) < 2:
            return
        seen = [name for name, _ in self.stages]
        for predicate in goal:
            name = " ".join(predicate)
            if name not in seen and self._simulator.holds(predicate):
                self.stages.append((name, step))


class Worker:
    """A worker's policy, remote unless it is privileged, and its current simulator."""

    def __init__(self, policy_info: PolicyInfo, ask: Ask, tell: Callable[[Message], None]) -> None:
        """Make the policy ready.

        Args:
            ask: asks the served policy.
            tell: sends a message to the scheduler.
        """
        policy: Policy = AskingPolicy(policy_info, ask)
        if policy_info.privileged:
            policy = load_policy(policy_info.name)
        self._policy: Any = ErrorTaggingPolicy(policy)
        self._tell = tell
        self._simulator = KeptSimulator(self._build)
        self._building = False

    def _build(
        self, suite: str, task: int, camera_size: int, own: OwnScene | None = None
    ) -> Simulator:
        self._tell(Alive(building=True))
        self._building = True
        simulator = build_simulator(suite, task, camera_size, own)
        self._building = False
        self._tell(Alive())
        return simulator

    def run(self, request: EpisodeRequest) -> Ended | Failed:
        """One episode, recorded in the request's `staging_dir`."""
        try:
            return self._run(request)
        except (EOFError, ConnectionError):
            # The main process or the connection to it has gone.
            raise
        except PolicyError as e:
            return Failed("policy", str(e))
        except DiskFull as e:
            return Failed("disk", e.why)
        except Exception:
            blame: Literal["building", "episode"] = "building" if self._building else "episode"
            self._building = False
            # The simulator may be in any state: the next episode gets a new one.
            self.close()
            return Failed(blame, traceback.format_exc(limit=-3))

    def _run(self, request: EpisodeRequest) -> Ended:
        simulator = self._simulator.get(*request.simulator_key)
        wiring, scene = request.spec.settings()
        watch = _Watch(self._tell, simulator)
        pictures = request.video != "none"
        folder = request.staging_dir
        episode = (self._policy, simulator, wiring, scene, folder, request.spec.conditions)
        result = record_episode(
            *episode,
            video=pictures,
            pictures=pictures,
            on_step=watch,
        )
        own_target = simulator.succeeded() if scene.target else None
        if request.video == "failures" and result.success:
            for name in PICTURES:
                (folder / name).unlink(missing_ok=True)
        several = len(simulator.asked) > 1
        return Ended(
            result,
            travel=round(watch.travel, 4),
            own_target=own_target,
            stages=tuple(watch.stages) if several else None,
            steps=watch.steps,
        )

    def close(self) -> None:
        """Release the simulator."""
        self._simulator.close()
