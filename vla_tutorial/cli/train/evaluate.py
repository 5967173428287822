"""`vla-tutorial train evaluate`: the sweeps that say how good a checkpoint of `mini` is."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vla_tutorial.cli import options
from vla_tutorial.cli.sweep import finish, run_with_bar, stoppable
from vla_tutorial.cli.terminal import SOME_ERRORS, Interrupt, out, tell
from vla_tutorial.ranges import parse_numbers

if TYPE_CHECKING:
    from vla_tutorial.policies import Policy
    from vla_tutorial.sweep import SweepPlan

CORES = os.cpu_count() or 1
NAMES = (
    "suites, pro, words, conditions or all; one sweep: libero_10, libero_goal_swap, "
    "libero_10_words …; official, swap, named, no_flip, wrong_prompt, wrong_unnorm_key, practice"
)


def evaluate(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the sweeps, one for each plan.")
    ],
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint folder. Default: the packaged mini.")
    ] = None,
    plan: Annotated[list[str] | None, typer.Option(help=f"{NAMES}. Repeatable.")] = None,
    policy: Annotated[str, typer.Option(help="mini or mini-narrow.")] = "mini",
    tasks: options.Tasks = "0-9",
    inits: Annotated[
        str | None,
        typer.Option(
            help="Initial states for small runs, for example 0-4. Default: each plan's own."
        ),
    ] = None,
    workers: options.Workers = CORES,
    device: options.Device = None,
    seconds: Annotated[
        float, typer.Option(help="Seconds after which no new episode starts.", show_default=False)
    ] = math.inf,
    max_steps: options.MaxSteps = None,
    render_gpu: Annotated[
        int | None, typer.Option(help="Number of the EGL device that renders; doctor lists them.")
    ] = None,
    engine: Annotated[
        bool, typer.Option(help="Use the fast path. --no-engine runs the eager reference.")
    ] = True,
    retry_errors: options.RetryErrors = False,
    _resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
) -> None:
    """Measure closed-loop success, in one sweep for each plan: OUT/official, OUT/swap and so on.

    If it is interrupted, or stopped by `--seconds`, run the same command again to resume. `suites`
    has 2,000 episodes, `pro` 1,600, `words` 400 and `conditions` about 1,500. With a GPU and 32
    CPU cores, 500 episodes take 5 minutes. On two cores without a GPU, an episode takes 20 seconds.
    `vla-tutorial train table OUT` then prints the figures.

    Example: `vla-tutorial train evaluate --checkpoint run/mini --plan official --plan swap
    --workers 40 --out measured`
    """
    from vla_tutorial.sweep.evaluation import chosen_plans

    deadline = time.monotonic() + seconds
    chosen = plan or ["official"]
    numbers = None if inits is None else parse_numbers(inits)
    shared = {"checkpoint": checkpoint, "device": device, "max_steps": max_steps}
    # In a fixed order, so that a run which is cut off has the first of them.
    plans = chosen_plans(chosen, policy, parse_numbers(tasks), numbers, **shared)
    if render_gpu is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(render_gpu)
    with stoppable() as stop:
        broken = _run(plans, out_dir, workers, engine, stop, retry_errors, deadline)
    if broken:
        tell(out, f"[red]Errors[/] in: {', '.join(broken)}.")
        raise typer.Exit(SOME_ERRORS)


def _run(
    plans: Mapping[str, SweepPlan],
    out_dir: Path,
    workers: int,
    fast: bool,
    stop: Interrupt,
    retry_errors: bool,
    deadline: float,
) -> list[str]:
    """Run the plans until time is up → names of those in which episodes ended in errors."""
    from vla_tutorial.policies import warn_of_suite
    from vla_tutorial.provenance import weights_hash
    from vla_tutorial.sweep import LocalEngine, check_sweep_folder, prompts_of, warm_up
    from vla_tutorial.sweep.policy_server import check_statistics

    for name, plan in plans.items():
        plan.check()
        check_sweep_folder(out_dir / name, plan.entry())
    policy = _load(next(iter(plans.values())), fast)
    weights = weights_hash(policy)
    broken = []

    def time_is_up() -> bool:
        return time.monotonic() > deadline

    for name, plan in plans.items():
        if time_is_up():
            break
        warn_of_suite(policy, plan.spec.suite)
        check_statistics(plan, policy)
        engine = LocalEngine(policy, workers, partial(warm_up, policy, prompts_of(plan), workers))
        tell(out, f"[bold]{name}[/]")
        folder = out_dir / name
        how = (weights, workers, stop, retry_errors, time_is_up)
        progress = run_with_bar(plan, folder, engine, *how)
        if finish(progress, folder, stop):
            broken.append(name)
    return broken


def _load(plan: SweepPlan, fast: bool) -> Policy:
    import torch

    from vla_tutorial.policies import load_policy
    from vla_tutorial.policies.device import choose_device

    spec = plan.spec
    if spec.device and ":" in spec.device:
        # CUDA graphs are captured on the current GPU.
        torch.cuda.set_device(choose_device(spec.device))
    return load_policy(spec.policy, spec.checkpoint, device=spec.device, engine=fast)
