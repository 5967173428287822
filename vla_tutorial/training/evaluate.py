"""Closed-loop success of a policy over many episodes at once: simulators in processes, the policy here, batches of whatever has arrived."""

from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.conditions import apply
from vla_tutorial.loop import rollout
from vla_tutorial.policies.base import Policy
from vla_tutorial.scene import Scene
from vla_tutorial.sweep.batching import RemotePolicy, serve
from vla_tutorial.wiring import Wiring

PRACTICE_SEED = 20_000
"""Layouts drawn from this seed are never trained on: demonstrations take seeds below."""


@dataclass(frozen=True)
class Job:
    """Episodes of one task for one worker.

    Attributes:
        inits: numbers of saved initial states; with `practice`, seeds of random layouts of the task's own target instead.
        practice: measure on random layouts, as one must while training: the saved states are kept for the final figure.
    """

    suite: str
    task: int
    inits: tuple[int, ...]
    conditions: tuple[str, ...] = ()
    unnorm_key: str = "libero_object"
    practice: bool = False


class _Practice:
    """A simulator that starts from a random layout of its own target."""

    def __init__(self, simulator: Any, seed: int) -> None:
        from vla_tutorial.training.layouts import random_layout

        self._simulator = simulator
        rng = np.random.default_rng([PRACTICE_SEED, simulator.task.index, seed])
        self._layout = random_layout(simulator, rng)
        while self._layout.target != simulator.targets[0]:
            self._layout = random_layout(simulator, rng)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._simulator, name)

    def reset(self, _init: int, _settle_steps: int) -> Any:
        return self._simulator.reset(self._layout.state, self._layout.settle_steps)


def run_job(job: Job, policy: Policy) -> list[dict[str, Any]]:
    """Run the episodes of a job one after the other and say how each went."""
    from vla_tutorial.sim import Simulator

    found = []
    with Simulator(job.suite, job.task) as simulator:
        for init in job.inits:
            wiring, scene = apply(job.conditions, Wiring(unnorm_key=job.unnorm_key), Scene(job.suite, job.task, init))
            stage: Any = _Practice(simulator, init) if job.practice else simulator
            steps = list(rollout(policy, stage, wiring, scene))
            gripper = np.sign([-1.0] + [s.action[6] for s in steps])
            closes = np.flatnonzero(np.diff(gripper) > 0)
            nearest = min(float(s.observation.eef_pos[2]) for s in steps)
            found.append(
                {
                    "suite": job.suite,
                    "task": job.task,
                    "init": init,
                    "conditions": list(job.conditions),
                    "success": steps[-1].done,
                    "steps": len(steps),
                    "first_close": int(closes[0]) if len(closes) else None,
                    "closes": len(closes),
                    "lowest_m": round(nearest, 4),
                }
            )
    return found


def _work(jobs: Any, results: Any, connection: Connection, name: str, statistics: Mapping[str, ActionStatistics]) -> None:
    policy = RemotePolicy(connection, name, statistics, {})
    while (job := jobs.get()) is not None:
        results.put(run_job(job, policy))
    policy.close()


def evaluate(policy: Policy, jobs: Sequence[Job], workers: int) -> list[dict[str, Any]]:
    """Run every job on `workers` simulators; returns one dictionary an episode, in order of suite, task and init."""
    context = mp.get_context("spawn")
    queue, results = context.Queue(), context.Queue()
    for job in [*jobs, *[None] * workers]:
        queue.put(job)
    pairs = [context.Pipe() for _ in range(workers)]
    processes = [
        context.Process(target=_work, args=(queue, results, there, policy.name, policy.statistics), daemon=True) for _, there in pairs
    ]
    started = time.perf_counter()
    for process, (_, there) in zip(processes, pairs, strict=True):
        process.start()
        there.close()
    serve(policy, [here for here, _ in pairs])
    found = [episode for _ in jobs for episode in results.get(timeout=60)]
    for process in processes:
        process.join(10)
    print(f"{len(found)} episodes in {time.perf_counter() - started:.0f} s", flush=True)
    return sorted(found, key=lambda e: (e["suite"], e["task"], e["init"]))


def jobs(
    suite: str, tasks: Sequence[int], inits: Sequence[int], size: int = 5, conditions: tuple[str, ...] = (), practice: bool = False
) -> list[Job]:
    """Episodes (tasks × inits) in jobs of at most `size`."""
    parts = [tuple(inits[i : i + size]) for i in range(0, len(inits), size)]
    return [Job(suite, task, part, conditions, practice=practice) for task in tasks for part in parts]
