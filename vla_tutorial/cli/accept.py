"""`vla-tutorial accept`: which claims about a published checkpoint hold, on this machine."""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.sweep import run_with_bar, stoppable
from vla_tutorial.cli.terminal import Interrupt, err, out, tell
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.accept.folder import RunFolder
    from vla_tutorial.accept.run import AcceptRun
    from vla_tutorial.accept.stages import Round
    from vla_tutorial.sweep import LocalEngine, SweepPlan, SweepProgress

WORKERS = min(os.cpu_count() or 1, 32)


def accept(
    checkpoint: Annotated[
        str,
        typer.Option(
            help="A hub id or a folder, for example openvla/openvla-7b-finetuned-libero-object; "
            "mini is the packaged policy."
        ),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the run; the same command resumes it.")
    ],
    budget: Annotated[
        str, typer.Option(help="Time for all calls together: 30m, 2h, 8h. A larger one goes on.")
    ] = "30m",
    long_checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint for libero_10, for example openvla/openvla-7b-finetuned-libero-10."
        ),
    ] = None,
    revision: options.Revision = None,
    device: options.Device = None,
    weights: options.Weights = None,
    workers: options.Workers = WORKERS,
    compare_weights: Annotated[
        bool,
        typer.Option(help="Also measure on real pictures what int8, fp8 and int4 weights change."),
    ] = True,
) -> None:
    """Run a published checkpoint and say which claims of the chapter about it hold.

    It checks the machine, measures its speed, and compares the engine with the eager reference.
    Then it runs episodes, and begins with those that settle most. OUT/index.html says what agrees
    with the paper and what does not. OUT/pack.json is for others. It holds no paths and no names.
    If it is interrupted, the same command resumes. A larger budget continues the run.

    Example: `vla-tutorial accept --checkpoint openvla/openvla-7b-finetuned-libero-object
    --budget 30m --out out/accept`
    """
    from vla_tutorial.accept.actors import Actors, spec_of
    from vla_tutorial.accept.budget import parse_budget
    from vla_tutorial.accept.folder import RunFolder
    from vla_tutorial.accept.run import AcceptRun
    from vla_tutorial.accept.stages import LONG

    seconds = parse_budget(budget)
    folder = RunFolder(out_dir)
    main = spec_of(checkpoint, revision=revision, device=device, weights=weights)
    other = None
    if long_checkpoint:
        other = spec_of(long_checkpoint, LONG, device=device, weights=weights)
    actors = Actors(main, other, _say)
    with stoppable() as stop:
        run = AcceptRun(folder, actors, seconds, workers, compare_weights, _say)
        if folder.state is None:
            _preflight()
        run.prepare()
        _tell_plan(run)
        _run_rounds(run, stop)
        _tell_results(run)
        if stop.asked:
            tell(out, "Stopped as asked. To resume, run the same command again.")
            raise typer.Exit(stop.exit_code)


def _say(sentence: str) -> None:
    tell(err, f"[dim]{time.strftime('%H:%M:%S')}[/] {escape(sentence)}")


def _preflight() -> None:
    """Refuse a machine on which results would not be comparable."""
    from vla_tutorial.doctor import examine

    _say("checking the machine, as vla-tutorial doctor does")
    failed = [finding for finding in examine() if finding.verdict == "fail"]
    if failed:
        first = failed[0]
        raise TutorialError(
            f"This machine is not fit for the run: {first.check}: {first.detail} {first.remedy} "
            "Run vla-tutorial doctor for all findings."
        )


def _tell_plan(run: AcceptRun) -> None:
    from vla_tutorial.accept.budget import in_words
    from vla_tutorial.accept.stages import LONG

    chosen = run.plan()
    rate = f"{run.state.steps_a_second:.1f} control steps a second"
    if not run.remaining():
        tell(out, "Every round has run.")
        return
    if not chosen:
        tell(out, f"No further round fits into the {in_words(max(run.left, 0))} that are left.")
        return
    until = in_words(chosen[-1].until)
    tell(out, f"Plan at {rate}, {run.workers} simulators: done {until} from now, or before.")
    for one in chosen:
        claims = ", ".join(one.round.stage.claims)
        count = f"{one.round.episodes} episodes, all done after {in_words(one.until)}"
        tell(out, escape(f"  {one.round.name}: {one.round.stage.about}: {count} ({claims})"))
    if LONG not in run.suites:
        what = "libero_10 is left out: this checkpoint does not know it"
        tell(out, f"  {what}. Give --long-checkpoint to settle long-rate and second-object.")


def _run_rounds(run: AcceptRun, stop: Interrupt) -> None:
    for one in run.remaining():
        if stop.asked:
            return
        if not run.fits(one):
            continue
        _say(f"{one.name}: {one.stage.about}, {one.episodes} episodes")
        progress = run.run_round(one, partial(_sweep, run=run, stop=stop))
        if progress.done < progress.total:
            return
        run.write_results()


def _sweep(
    plan: SweepPlan,
    folder: RunFolder,
    one: Round,
    engine: LocalEngine,
    weights: str,
    *,
    run: AcceptRun,
    stop: Interrupt,
) -> SweepProgress:
    def time_is_up() -> bool:
        return run.left <= 0

    path = folder.sweep_folder(one)
    return run_with_bar(plan, path, engine, weights, run.workers, stop, False, time_is_up)


def _tell_results(run: AcceptRun) -> None:
    from vla_tutorial.accept.settle import CLAIMS

    pack = run.write_results()
    for name, finding in pack.claims.items():
        tell(
            out,
            f"[bold]{escape(CLAIMS[name].title)}[/] ({finding.verdict}): {escape(finding.text)}",
        )
    counts = Counter(finding.verdict for finding in pack.claims.values())
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    tell(out, f"{len(pack.claims)} claims: {said}.")
    tell(out, f"Page: [bold]{escape(str(run.folder.path / 'index.html'))}[/]")
    tell(out, f"For others: [bold]{escape(str(run.folder.path / 'pack.json'))}[/]")
    for one, ended in run.begun():
        what = f"{one.name} has {ended} of {one.episodes} episodes, which count once all have ended"
        tell(out, f"{what}.")
    if run.remaining():
        tell(out, "A larger --budget with the same --out goes on.")
