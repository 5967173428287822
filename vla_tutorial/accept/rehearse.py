"""The first actions: how fast this machine is, and real pictures for the checks."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

from vla_tutorial.accept.budget import Pace
from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.loop import rollout
from vla_tutorial.policies import Policy, PolicyInput
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.policy_server import MAX_BATCH
from vla_tutorial.sweep.worker import build_simulator

ACTIONS = 20
"""Measured actions, half of them in each of two tasks."""

TASKS = (0, 5)

WARM = 2
"""Actions of each task before those: the first ones compile kernels and capture graphs."""


class _Watched:
    """A policy that keeps what it was asked, and how long each answer took."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.asked: list[PolicyInput] = []
        self.seconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def predict(self, batch: Sequence[PolicyInput]) -> Ints | Floats:
        """As the policy."""
        began = time.perf_counter()
        found = self._policy.predict(batch)
        self.seconds.append(time.perf_counter() - began)
        self.asked += batch
        return found


@dataclass(frozen=True)
class Rehearsal:
    """What the first actions showed.

    Attributes:
        inputs: the pictures and prompts that the policy was asked, one a measured step.
    """

    pace: Pace
    inputs: Sequence[PolicyInput]


def rehearse(
    policy: Policy,
    spec: EpisodeSpec,
    workers: int,
    tasks: Sequence[int] = TASKS,
    actions: int = ACTIONS,
) -> Rehearsal:
    """Take the first control steps of published episodes and time them.

    Args:
        spec: who acts, in which suite.
        workers: simulators at a time in the rounds to come.
        tasks: each gives as many of the steps.
        actions: control steps that are measured.
    """
    watched = _Watched(policy)
    build: list[float] = []
    answers: list[float] = []
    rests: list[float] = []
    asked: list[PolicyInput] = []
    for task in tasks:
        began = time.perf_counter()
        episode = replace(spec, task=task, conditions=())
        whole = _take(watched, episode, WARM + actions // len(tasks), build, began)
        own = watched.seconds[-len(whole) :]
        answers += own[WARM:]
        rests += [a - b for a, b in zip(whole, own, strict=True)][WARM:]
        asked += watched.asked[-len(whole) :][WARM:]
    action = median(answers)
    pace = Pace(
        build=max(build),
        simulator=median(rests),
        action=action,
        batch=_batch(policy, asked[0], workers, action),
        workers=workers,
        cores=os.cpu_count() or 1,
    )
    return Rehearsal(pace, asked)


def _take(
    policy: _Watched, spec: EpisodeSpec, steps: int, build: list[float], began: float
) -> list[float]:
    """Seconds of each control step; those until the simulator stands go to `build`."""
    wiring, scene = spec.settings()
    taken = []
    with contextlib.closing(
        build_simulator(spec.suite, spec.task, wiring.camera_size)
    ) as simulator:
        build.append(time.perf_counter() - began)
        before = None
        for _ in islice(rollout(policy, simulator, wiring, scene), steps):
            now = time.perf_counter()
            # The first step has the simulator's start in it.
            taken.append(policy.seconds[-1] if before is None else now - before)
            before = now
    return taken


def _batch(policy: Policy, item: PolicyInput, workers: int, action: float) -> float:
    """Seconds until all workers have an answer."""
    if policy.provenance.get("device") == "cpu" or workers == 1:
        return workers * action
    rows = min(workers, MAX_BATCH)
    policy.predict([item] * rows)
    began = time.perf_counter()
    policy.predict([item] * rows)
    return (time.perf_counter() - began) * workers / rows
