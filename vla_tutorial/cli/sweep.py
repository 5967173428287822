"""`vla-tutorial sweep`."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vla_tutorial.errors import TutorialError
from vla_tutorial.ranges import parse_numbers

if TYPE_CHECKING:
    from vla_tutorial.sweep.engine import Engine, SweepProgress
    from vla_tutorial.sweep.plan import Sweep

err = Console(stderr=True)
out = Console()

INTERRUPTED = 130


class _Stop:
    """Ctrl-C once: nothing more is begun. Twice: everything ends now, wherever the program is."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, _signal: int, _frame: object) -> None:
        self.asked += 1
        if self.asked > 1:
            raise KeyboardInterrupt
        err.print(
            "[yellow]Ctrl-C:[/] the episodes in flight end and are recorded. Once more stops now."
        )

    def check(self, _progress: object = None) -> None:
        """Raise if Ctrl-C came twice: an exception raised in a destructor gets lost."""
        if self.asked > 1:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _ctrl_c() -> Iterator[_Stop]:
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def sweep(
    suite: Annotated[str, typer.Option(help="LIBERO suite, for example libero_object.")],
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder of the sweep; the same command goes on with what is in it."
        ),
    ],
    tasks: Annotated[str, typer.Option(help="Task numbers.")] = "0-9",
    inits: Annotated[str, typer.Option(help="Numbers of the saved initial states.")] = "0-49",
    policy: Annotated[
        str, typer.Option(help="Which policy acts: mini, openvla or expert.")
    ] = "mini",
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint of the policy: a hub id or a folder.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a checkpoint on the hub.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where a model runs, for example cuda:0 or cpu; by default the first GPU."
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help='A condition, several joined with +, or "published" for none; may be given several times.'
        ),
    ] = None,
    unnorm_key: Annotated[
        str | None,
        typer.Option(help="Whose action statistics to use; by default those of the suite."),
    ] = None,
    embedded_statistics: Annotated[
        bool,
        typer.Option(
            help="Allow statistics that this package ships in place of the checkpoint's own."
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(help="Simulators at a time; each takes a core and most of a gigabyte.", min=1),
    ] = 2,
    engine: Annotated[
        str,
        typer.Option(help="local: processes of this machine. ray: a Ray cluster (RAY_ADDRESS)."),
    ] = "local",
    video: Annotated[
        str, typer.Option(help="Episodes that keep pictures and a video: none, failures or all.")
    ] = "none",
    max_steps: Annotated[
        int | None, typer.Option(help="Step limit; by default the published one of the suite.")
    ] = None,
) -> None:
    """Run every (condition, task, initial state) once, in parallel; whatever stops it, the same command goes on where it stood.

    Example: `vla-tutorial sweep --suite libero_object --inits 0-4 --condition published --condition no_flip --workers 2 --out out/sweep`
    """
    from vla_tutorial.conditions import PUBLISHED
    from vla_tutorial.sweep.journal import check
    from vla_tutorial.sweep.plan import Sweep

    plan = Sweep(
        suite,
        parse_numbers(tasks),
        parse_numbers(inits),
        tuple(condition or [PUBLISHED]),
        policy,
        checkpoint,
        revision,
        device,
        unnorm_key,
        embedded_statistics,
        max_steps,
        _video(video),
    )
    plan.check()
    check(out_dir, plan.entry())  # before a checkpoint is loaded
    with _ctrl_c() as stop:
        try:
            progress = _run(plan, out_dir, engine, workers, stop)
        except KeyboardInterrupt:
            err.print(
                "[yellow]Stopped now.[/] What has ended is kept; the same command goes on from there."
            )
            raise typer.Exit(INTERRUPTED) from None
    _conclude(progress, out_dir)


def _video(text: str) -> Literal["none", "failures", "all"]:
    return text  # type: ignore[return-value]  # `Sweep` says what is wrong with it


def _run(plan: Sweep, out_dir: Path, engine_name: str, workers: int, stop: _Stop) -> SweepProgress:
    from vla_tutorial.sweep.run import run

    engine, weights = _engine(plan, engine_name, workers)
    with _Bar(len(plan.jobs())) as bar:

        def watch(progress: SweepProgress) -> None:
            bar.show(progress)
            stop.check()

        return run(
            plan,
            out_dir,
            engine,
            workers,
            weights=weights,
            command=shlex.join(["vla-tutorial", *sys.argv[1:]]),
            stopping=lambda: stop.asked > 0,
            watch=watch,
            say=lambda words: err.print(escape(words), highlight=False, soft_wrap=True),
        )


def _engine(plan: Sweep, name: str, workers: int) -> tuple[Engine, str]:
    """The engine with its policy loaded, and the hash of the policy's weights."""
    if name == "ray":
        try:
            from vla_tutorial.sweep.ray_engine import RayEngine
        except ModuleNotFoundError as e:
            raise TutorialError(
                f"The engine 'ray' needs Ray ({e}). Install it: pip install 'vla-tutorial[ray]'"
            ) from e
        cluster = RayEngine(plan, workers)
        return cluster, cluster.weights
    if name != "local":
        raise TutorialError(f"Unknown engine {name!r}. Known: local, ray.")
    from vla_tutorial.sweep.local_engine import LocalEngine
    from vla_tutorial.sweep.policy_server import load, prompts, warm_up

    policy, weights = load(plan)
    return LocalEngine(policy, workers, lambda: warm_up(policy, prompts(plan), workers)), weights


class _Bar:
    """The live line: episodes, success so far, errors, control steps a second, time left."""

    def __init__(self, total: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=err)
        self._bar = self._progress.add_task("starting", total=total)

    def show(self, progress: SweepProgress) -> None:
        """Put the present numbers into words."""
        self._progress.update(self._bar, description=words(progress), completed=progress.done)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()


def words(progress: SweepProgress) -> str:
    """Success so far, errors apart, speed, and the time left by the episodes of this run."""
    successes, ended = (
        progress.outcomes["success"],
        progress.outcomes["success"] + progress.outcomes["failure"],
    )
    parts = [
        f"{successes} of {ended} succeeded ({successes / ended:.0%})"
        if ended
        else "no episode has ended yet"
    ]
    if errors := progress.outcomes["error"]:
        parts.append(f"errors: {errors}")
    if progress.seconds > 0 and progress.steps:
        parts.append(f"{progress.steps / progress.seconds:.1f} steps/s")
    if progress.here:
        left = round((progress.total - progress.done) * progress.seconds / progress.here)
        parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
    return " · ".join(parts)


def _conclude(progress: SweepProgress, out_dir: Path) -> None:
    successes, failures, errors = (
        progress.outcomes[key] for key in ("success", "failure", "error")
    )
    share = (
        f" ({successes / (successes + failures):.1%} of those that ended)"
        if successes + failures
        else ""
    )
    apart = f"; errors, which count as neither: {errors}" if errors else "; no errors"
    out.print(
        f"{progress.done} of {progress.total} episodes: {successes} successes, {failures} failures{share}{apart}.",
        highlight=False,
        soft_wrap=True,
    )
    if progress.done < progress.total:
        out.print(
            "Stopped as asked; the same command goes on with the rest.",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED)
    out.print(
        f"Next: [bold]vla-tutorial report {escape(str(out_dir))}[/]",
        highlight=False,
        soft_wrap=True,
    )
