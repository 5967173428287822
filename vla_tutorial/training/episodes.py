"""One episode of an evaluation, and the life of the process that runs many. PyTorch is left out: it would cost each of them seconds and half a GB."""

from __future__ import annotations

import os
import signal
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from vla_tutorial.loop import rollout
from vla_tutorial.policies.base import Policy
from vla_tutorial.scene import UNPERTURBED, Perturbation
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.gl import renderer_name
from vla_tutorial.sweep.batching import RemotePolicy
from vla_tutorial.training.plans import Job
from vla_tutorial.training.results import Entry

REGION = "basket_1_contain_region"

PRACTICE_SEED = 20_000
"""Layouts drawn from this seed are never trained on: demonstrations take seeds below."""

NICENESS = 5
"""Workers give way to the process that answers all of them."""


class Wrapper:
    """Something with a method or two changed; the rest is its own."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Practice(Wrapper):
    """Starts from a random layout of the task's own target."""

    def __init__(self, simulator: Simulator, seed: int) -> None:
        from vla_tutorial.training.layouts import random_layout

        super().__init__(simulator)
        rng = np.random.default_rng([PRACTICE_SEED, simulator.task.index, seed])
        self._layout = random_layout(simulator, rng)
        while self._layout.target != simulator.targets[0]:
            self._layout = random_layout(simulator, rng)

    def reset(self, _init: int, _settle_steps: int, perturbation: Perturbation = UNPERTURBED) -> Any:
        return self._inner.reset(self._layout.state, self._layout.settle_steps, perturbation)


class _Named(Wrapper):
    """Is done when another object is in the basket; `own` says whether the task's own target ever was."""

    def __init__(self, simulator: Simulator, name: str) -> None:
        super().__init__(simulator)
        self._name, self.own = name, False

    def step(self, action: Any) -> tuple[Any, float, bool]:
        observation, _, own = self._inner.step(action)
        self.own |= own
        done = self._inner.inside(self._name, REGION)
        return observation, float(done), done


def run_episode(job: Job, policy: Policy, simulator: Simulator) -> Entry:
    """Run the first episode of a job and say how it went; the keys are `Job.label`'s and those below (metres, steps)."""
    wiring, scene = job.settings()
    stage: Any = _Named(simulator, job.named) if job.named else _Practice(simulator, job.inits[0]) if job.practice else simulator
    commands, hand, done = [-1.0], [], False  # the gripper is open while objects settle; pictures are not kept, for they are large
    for step in rollout(policy, stage, wiring, scene):
        commands.append(float(step.action[6]))
        hand.append(step.observation.eef_pos)
        done = step.done
    closes = np.flatnonzero(np.diff(np.sign(commands)) > 0)
    return {
        **job.label(),
        "task_instruction": simulator.task.instruction,
        "instruction": scene.told(simulator.task.instruction),
        "success": done,
        "steps": len(hand),
        "first_close": int(closes[0]) if len(closes) else None,
        "closes": len(closes),
        "farthest_m": round(float(np.linalg.norm(np.array(hand) - hand[0], axis=1).max()), 4),
        "lowest_m": round(float(np.array(hand)[:, 2].min()), 4),
        "own_target": stage.own if job.named else done,
        "renderer": renderer_name(),
    }


class _Bench:
    """The simulator that a worker has at present; None before it is built, and when building fails."""

    simulator: Simulator | None = None

    def get(self, suite: str, task: int) -> Simulator:
        here = self.simulator
        if here is None or (here.task.suite, here.task.index) != (suite, task):
            self.close()
            self.simulator = here = Simulator(suite, task)
        return here

    def close(self) -> None:
        if self.simulator is not None:
            self.simulator.close()
        self.simulator = None


def work(asks: Connection, desk: Connection) -> None:
    """A worker's life: ask at the desk for an episode, run it, report it; None sends it home."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business, which then ends this one
    os.nice(NICENESS)
    bench, policy, entry = _Bench(), None, None
    while True:
        desk.send(entry)
        if (entry is not None and bench.simulator is None) or (job := desk.recv()) is None:
            break  # where no simulator can be built, more tries would only use the episodes up
        try:
            simulator = bench.get(job.suite, job.task)
            policy = policy or RemotePolicy(asks, **asks.recv(), provenance={})
            entry = run_episode(job, policy, simulator)
        except (EOFError, ConnectionError):  # the main process has gone
            break
        except Exception:
            entry = {**job.label(), "error": traceback.format_exc(limit=-3)}
    bench.close()
