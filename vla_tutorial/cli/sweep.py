"""`vla-tutorial sweep`: many episodes in parallel, in a folder that can be resumed."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import INTERRUPTED, Interrupt, err, out, progress_bar, tell
from vla_tutorial.errors import TutorialError
from vla_tutorial.ranges import parse_numbers

if TYPE_CHECKING:
    from vla_tutorial.sweep import Engine, SweepPlan, SweepProgress


def sweep(
    suite: options.Suite,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the sweep; the same command resumes it.")
    ],
    tasks: options.Tasks = "0-9",
    inits: Annotated[
        str | None, typer.Option(help="Numbers of the saved initial states. Default: 0-49.")
    ] = None,
    layouts: Annotated[
        str | None,
        typer.Option(help="Seeds of random layouts, in place of --inits. For libero_object."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help='Another object to ask for: its name (milk_1), or "others" for each. Repeatable.'
        ),
    ] = None,
    policy: options.PolicyName = "mini",
    checkpoint: options.Checkpoint = None,
    revision: options.Revision = None,
    device: options.Device = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help='One, several joined with +, or "published" for none; repeatable.'),
    ] = None,
    unnorm_key: options.UnnormKey = None,
    embedded_statistics: options.EmbeddedStatistics = False,
    workers: options.Workers = 2,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: processes of this machine. ray: a Ray cluster (RAY_ADDRESS)."),
    ] = "local",
    video: Annotated[
        Literal["none", "failures", "all"],
        typer.Option(help="Episodes that keep pictures and a video."),
    ] = "none",
    max_steps: options.MaxSteps = None,
) -> None:
    """Run each combination of condition, task and initial state once, in parallel.

    If it is interrupted, run the same command again to resume.

    Example: `vla-tutorial sweep --suite libero_object --inits 0-4 --condition published
    --condition no_flip --workers 2 --out out/sweep`
    """
    from vla_tutorial.conditions import PUBLISHED
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.sweep import SweepPlan, check_sweep_folder, find_targets

    if layouts is not None and inits is not None:
        raise TutorialError("--layouts and --inits exclude each other. Give one of them.")
    spec = EpisodeSpec(
        suite,
        policy=policy,
        checkpoint=checkpoint,
        revision=revision,
        device=device,
        unnorm_key=unnorm_key,
        embedded_statistics=embedded_statistics,
        max_steps=max_steps,
    )
    numbers = parse_numbers(tasks)
    states = parse_numbers("0-49" if inits is None else inits)
    targets = find_targets(suite, numbers, target or ())
    plan = SweepPlan(spec, numbers, states, tuple(condition or [PUBLISHED]), video, targets)
    if layouts is not None:
        plan = replace(plan, inits=parse_numbers(layouts), starts="layouts")
    plan.check()
    # Before a checkpoint is loaded, which takes long.
    check_sweep_folder(out_dir, plan.entry())
    with stoppable() as stop:
        found, weights = _load_engine(plan, engine, workers)
        run_with_bar(plan, out_dir, found, weights, workers, stop)


def _load_engine(plan: SweepPlan, name: str, workers: int) -> tuple[Engine, str]:
    """The engine with its policy loaded, and the hash of the policy's weights."""
    if name == "ray":
        try:
            from vla_tutorial.sweep.ray_engine import RayEngine
        except ModuleNotFoundError as e:
            remedy = "Install it: pip install 'vla-tutorial[ray]'"
            raise TutorialError(f"The engine 'ray' needs Ray ({e}). {remedy}") from e
        cluster = RayEngine(plan, workers)
        return cluster, cluster.weights
    from vla_tutorial.sweep import LocalEngine, load_policy_for, prompts_of, warm_up

    policy, weights = load_policy_for(plan)
    return LocalEngine(policy, workers, lambda: warm_up(policy, prompts_of(plan), workers)), weights


@contextlib.contextmanager
def stoppable() -> Iterator[Interrupt]:
    """Ctrl-C once lets the episodes in flight end; twice stops at once, with exit code 130."""
    with Interrupt(graceful=True) as stop:
        try:
            yield stop
        except KeyboardInterrupt:
            tell(err, "[yellow]Stopped now.[/] What has ended is kept; the same command resumes.")
            raise typer.Exit(INTERRUPTED) from None


def run_with_bar(
    plan: SweepPlan,
    out_dir: Path,
    engine: Engine,
    weights: str,
    workers: int,
    stop: Interrupt,
    time_is_up: Callable[[], bool] = lambda: False,
) -> None:
    """Run a sweep with a live line, and print how it ended; typer.Exit if Ctrl-C stopped it.

    Args:
        time_is_up: once it is true, as once Ctrl-C was pressed, no new episode starts.
    """
    from vla_tutorial.sweep import run_sweep

    with progress_bar() as bar:
        line = bar.add_task("starting", total=None)

        def watch(progress: SweepProgress) -> None:
            text = describe_progress(progress)
            bar.update(
                line,
                description=text,
                completed=progress.done,
                total=progress.total,
            )
            stop.check()

        progress = run_sweep(
            plan,
            out_dir,
            engine,
            workers,
            weights=weights,
            command=shlex.join(["vla-tutorial", *sys.argv[1:]]),
            stopping=lambda: stop.asked or time_is_up(),
            watch=watch,
            say=lambda sentence: tell(err, escape(sentence)),
        )
    tell(out, describe_result(progress))
    if progress.done < progress.total and stop.asked:
        tell(out, "Stopped as asked. To resume, run the same command again.")
        raise typer.Exit(INTERRUPTED)
    tell(out, f"Next: [bold]vla-tutorial report {escape(str(out_dir))}[/]")


def describe_progress(progress: SweepProgress) -> str:
    """Success so far, errors apart, speed, and the time left by the episodes of this run."""
    successes = progress.outcomes["success"]
    errors = progress.outcomes["error"]
    ended = progress.done - errors
    parts = ["no episode has ended yet"]
    if ended:
        parts = [f"{successes} of {ended} succeeded ({successes / ended:.0%})"]
    if errors:
        parts.append(f"errors: {errors}")
    if progress.seconds > 0 and progress.steps:
        parts.append(f"{progress.steps / progress.seconds:.1f} steps/s")
    if progress.here:
        left = round((progress.total - progress.done) * progress.seconds / progress.here)
        parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
    return " · ".join(parts)


def describe_result(progress: SweepProgress) -> str:
    """How many episodes succeeded, failed, and ended as errors."""
    successes = progress.outcomes["success"]
    failures = progress.outcomes["failure"]
    errors = progress.outcomes["error"]
    ended = successes + failures
    share = f" ({successes / ended:.1%} of those that ended)" if ended else ""
    apart = f"errors, which count as neither: {errors}" if errors else "no errors"
    counts = f"{successes} successes, {failures} failures{share}; {apart}"
    return f"{progress.done} of {progress.total} episodes: {counts}."
