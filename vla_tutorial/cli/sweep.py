"""`vla-tutorial sweep`: many episodes in parallel, in a folder that can be resumed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import SOME_ERRORS, Interrupt, err, out, progress_bar, tell
from vla_tutorial.errors import TutorialError
from vla_tutorial.ranges import format_numbers, parse_numbers

if TYPE_CHECKING:
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.sweep import Engine, SweepPlan, SweepProgress
    from vla_tutorial.sweep.plan import Starts

SHOWN_CAUSES = 3
"""Causes of errors that the last line names."""


def sweep(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the sweep; the same command resumes it.")
    ],
    suite: options.SuiteOrOwn = None,
    tasks: Annotated[
        str | None, typer.Option(help="Task numbers, for example 0-3,7. Default: 0-9.")
    ] = None,
    inits: Annotated[
        str | None,
        typer.Option(help="Numbers of the saved initial states. Default: 0-49, or all that exist."),
    ] = None,
    layouts: Annotated[
        str | None,
        typer.Option(
            help="Seeds of random layouts, in place of --inits. For libero_object, libero_spatial, "
            "libero_goal and libero_10."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help='Name of another object to ask for (milk_1), or "others" for each. Repeatable.'
        ),
    ] = None,
    policy: options.PolicyName = "mini",
    checkpoint: options.Checkpoint = None,
    url: options.Url = None,
    token: options.Token = None,
    revision: options.Revision = None,
    device: options.Device = None,
    weights: options.Weights = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help='One condition, several joined with +, or "published" for none. Repeatable.'
        ),
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
        typer.Option(help="Which episodes keep pictures and a video."),
    ] = "none",
    max_steps: options.MaxSteps = None,
    realtime: options.Realtime = None,
    while_waiting: options.WhileWaiting = "last",
    bddl: options.Bddl = None,
    init_states: options.InitStates = None,
    retry_errors: options.RetryErrors = False,
) -> None:
    """Run each combination of condition, task and initial state once, in parallel.

    If it is interrupted, run the same command again to resume. The exit code 3 means that some
    episodes ended in errors. The same command runs these once more.

    Example: `vla-tutorial sweep --suite libero_object --inits 0-4 --condition published
    --condition no_flip --workers 2 --out out/sweep`
    """
    from vla_tutorial.conditions import PUBLISHED
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.sweep import SweepPlan, check_sweep_folder, find_targets

    if layouts is not None and inits is not None:
        raise TutorialError("--layouts and --inits exclude each other. Give one of them.")
    others = {"--suite": suite, "--tasks": tasks, "--layouts": layouts, "--target": target}
    own = options.own_scene(bddl, init_states, others)
    if own is not None:
        suite = own.suite
    if suite is None:
        raise TutorialError("Give --suite, or --bddl with a scene of your own.")
    spec = EpisodeSpec(
        suite,
        own=own,
        policy=policy,
        checkpoint=options.served_at(policy, checkpoint, url, token),
        revision=revision,
        device=device,
        weights=weights,
        unnorm_key=unnorm_key,
        embedded_statistics=embedded_statistics,
        max_steps=max_steps,
        realtime=realtime,
        while_waiting=while_waiting,
    )
    numbers = _tasks(spec, tasks, layouts is None)
    states = _inits(spec, numbers, layouts if inits is None else inits)
    targets = find_targets(suite, numbers, target or ())
    conditions = tuple(condition or [PUBLISHED])
    starts: Starts = "saved" if layouts is None else "layouts"
    plan = SweepPlan(spec, numbers, states, conditions, video, targets, starts)
    plan.check()
    # Before a checkpoint is loaded, which takes long.
    check_sweep_folder(out_dir, plan.entry())
    with stoppable() as stop:
        found, weights_hash = _load_engine(plan, engine, workers)
        progress = run_with_bar(plan, out_dir, found, weights_hash, workers, stop, retry_errors)
    if finish(progress, out_dir, stop):
        raise typer.Exit(SOME_ERRORS)


def _tasks(spec: EpisodeSpec, given: str | None, saved: bool) -> tuple[int, ...]:
    """The tasks to run: by default all of the first ten with a saved state, where that is asked."""
    from vla_tutorial.sim import count_tasks
    from vla_tutorial.sweep import DEFAULT_TASKS, tasks_with_states

    suite = spec.suite
    if spec.own is not None:
        return (0,)
    if given is not None:
        return parse_numbers(given)
    first = tuple(range(min(count_tasks(suite), DEFAULT_TASKS)))
    found = tasks_with_states(suite, first)
    if not saved or not found:
        return first
    if len(found) < len(first):
        left_out = format_numbers(set(first).difference(found))
        what = f"Tasks {left_out} of {suite} come with no saved initial states and are left out."
        tell(err, f"[yellow]Note:[/] {escape(what)}")
    return found


def _inits(spec: EpisodeSpec, tasks: Sequence[int], given: str | None) -> tuple[int, ...]:
    """The initial states to start from: by default all that the tasks have.

    An own scene without saved ones takes the first seeds.
    """
    from vla_tutorial.sim import states_of
    from vla_tutorial.sweep import DEFAULT_INITS, common_inits

    if given is not None:
        return parse_numbers(given)
    suite = spec.suite
    if spec.own is None:
        found = common_inits(suite, tasks)
    else:
        states = states_of(spec.own)
        count = DEFAULT_INITS if states is None else min(len(states), DEFAULT_INITS)
        found = tuple(range(count))
    if len(found) < DEFAULT_INITS:
        what = f"{suite} comes with {len(found)} saved initial states a task"
        tell(err, f"[yellow]Note:[/] {escape(what)}: --inits {format_numbers(found)}.")
    return found


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
    """A signal lets the episodes in flight end; a second one stops at once (typer.Exit)."""
    with Interrupt(graceful=True) as stop:
        try:
            yield stop
        except KeyboardInterrupt:
            tell(err, "[yellow]Stopped now.[/] What has ended is kept; the same command resumes.")
            raise typer.Exit(stop.exit_code) from None


def run_with_bar(
    plan: SweepPlan,
    out_dir: Path,
    engine: Engine,
    weights: str,
    workers: int,
    stop: Interrupt,
    retry_errors: bool = False,
    time_is_up: Callable[[], bool] = lambda: False,
) -> SweepProgress:
    """Run a sweep with a live line, and print how it ended.

    Args:
        time_is_up: once it is true, as after a signal, no new episode starts.
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
            command=options.command_line(sys.argv[1:]),
            retry_errors=retry_errors,
            stopping=lambda: stop.asked or time_is_up(),
            watch=watch,
            say=lambda sentence: tell(err, escape(sentence)),
        )
    tell(out, escape(describe_result(progress)))
    return progress


def finish(progress: SweepProgress, out_dir: Path, stop: Interrupt) -> bool:
    """Say what to do next; typer.Exit where a signal has stopped it.

    Returns:
        Whether episodes ended in errors, of which the last line tells.
    """
    if progress.done < progress.total and stop.asked:
        tell(out, "Stopped as asked. To resume, run the same command again.")
        raise typer.Exit(stop.exit_code)
    tell(out, f"Next: [bold]vla-tutorial report {escape(str(out_dir))}[/]")
    if not progress.outcomes["error"]:
        return False
    tell(out, f"[red]Errors:[/] {escape(describe_errors(progress))}")
    return True


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


def describe_errors(progress: SweepProgress) -> str:
    """How many episodes ended in errors, of which causes, and what runs them again."""
    errors = progress.outcomes["error"]
    causes = [f"{count} × {cause}" for cause, count in progress.causes.most_common(SHOWN_CAUSES)]
    if len(progress.causes) > SHOWN_CAUSES:
        causes.append("and others")
    again = "The same command runs them once more."
    if progress.given_up == errors:
        again = "They broke twice; to run them again, add --retry-errors."
    elif progress.given_up:
        broken = f"{progress.given_up} of them, which broke twice, need --retry-errors"
        again = f"The same command runs them once more; {broken}."
    what = f"{errors} of {progress.total} episodes ended in errors"
    return f"{what} ({'; '.join(causes)}). {again}"
