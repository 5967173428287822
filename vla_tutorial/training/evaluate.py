"""Closed-loop figures of a policy: simulators in processes, the policy here, batches of whatever has arrived.

Simulators are built once and kept; a desk hands out one episode after the other. `vla-tutorial train evaluate --help` says how.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_tutorial import prompt
from vla_tutorial.prompt import Prompt
from vla_tutorial.sim import check_task, step_limit
from vla_tutorial.training.desk import Desk
from vla_tutorial.training.plans import SUITE, TASKS, Job, count_episodes, plan_jobs
from vla_tutorial.training.results import Entry, Report, machine
from vla_tutorial.wiring import Wiring

if TYPE_CHECKING:
    from vla_tutorial.policies.model import ModelPolicy


def prompts(jobs: Sequence[Job]) -> list[Prompt]:
    """What the policy will be asked."""
    settings = [(job, *job.settings()) for job in jobs]
    return [prompt.build(wiring, scene.told(check_task(job.suite, job.task).instruction)) for job, wiring, scene in settings]


def left(jobs: Sequence[Job], entries: Sequence[Entry]) -> list[Job]:
    """The jobs without the episodes that have ended."""
    done = {(e["plan"], e["suite"], e["task"], e["named"], e["init"]) for e in entries}
    found = []
    for job in jobs:
        inits = tuple(i for i in job.inits if (job.plan, job.suite, job.task, job.named, i) not in done)
        found += [replace(job, inits=inits)] if inits else []
    return found


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile."""
    before = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def run(
    checkpoint: str | Path,
    out: Path,
    plans: Sequence[str],
    *,
    workers: int,
    device: str | None = None,
    seconds: float = math.inf,
    tasks: Sequence[int] = TASKS,
    inits: Sequence[int] | None = None,
    max_steps: int | None = None,
    render_gpu: int | None = None,
    engine: bool = True,
    resume: bool = False,
    command: str = "",
) -> Report:
    """Everything: simulators, policy, episodes, result files in `out`.

    Args:
        plans: keys of `PLANS`.
        device: as `load_model_policy` takes it.
        seconds: after which no episode is begun.
        inits: None takes each plan's own.
        max_steps: None takes the published limit.
        render_gpu: number of the GPU that renders; None leaves it to EGL.
        engine: False runs the eager reference.
        resume: go on with the episodes in `out`; other weights or another step limit are refused.
        command: what the result files say made them.

    Raises:
        TutorialError: an unknown plan, a folder with episodes, a checkpoint that cannot be used, or no simulator that runs.
    """
    from vla_tutorial.studio import weights_hash  # not above: the workers import this module too
    from vla_tutorial.sweep.serving import warm_up

    started = time.monotonic()
    environment = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # one core a simulator
    if render_gpu is not None:
        environment["MUJOCO_EGL_DEVICE_ID"] = str(render_gpu)
    with _environment(environment):
        jobs = [replace(job, max_steps=max_steps) for job in plan_jobs(plans, tasks, inits)]
        report = Report(out, count_episodes(jobs), resume)
        desk = Desk(left(jobs, report.entries), workers, report.add, report.tick, started + seconds)
    desk.start()
    try:
        policy = _load(checkpoint, device, engine)
        report.belongs_to({"weights": weights_hash(policy), "max_steps": max_steps})
        report.facts = _facts(policy, command, max_steps)
        warm_up(policy, prompts(jobs), workers)
        print(f"{time.monotonic() - started:4.0f} s: the policy answers", flush=True)
        desk.serve(policy)
    finally:
        desk.stop()
        report.write()
        print(report.progress(), flush=True)
    return report


def _load(checkpoint: str | Path, device: str | None, engine: bool) -> ModelPolicy:
    import torch  # not above: the workers import this module too

    from vla_tutorial.policies.model import load_model_policy

    if device and ":" in device and torch.cuda.is_available():
        torch.cuda.set_device(device)  # graphs are captured on the current GPU
    return load_model_policy("mini", checkpoint, device=device, engine=engine)


def _facts(policy: ModelPolicy, command: str, max_steps: int | None) -> dict[str, Any]:
    """What result files say beside the figures."""
    import torch

    limit = max_steps or step_limit(SUITE)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    protocol = {"settle_steps": Wiring.settle_steps, "max_steps": limit, **policy.provenance}
    return {"command": command, "machine": machine(gpus), "protocol": protocol}
