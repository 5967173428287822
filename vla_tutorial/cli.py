"""The command line: `vla-tutorial --help`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
from rich.markup import escape
from rich.progress import Progress, TaskID

import vla_tutorial
from vla_tutorial import measure_commands
from vla_tutorial.clips_command import clips
from vla_tutorial.diagnose_commands import diagnose
from vla_tutorial.errors import TutorialError
from vla_tutorial.sweep.commands import sweep
from vla_tutorial.sweep.join_command import join
from vla_tutorial.terminal import err, interrupt, out, progress_bar
from vla_tutorial.training.commands import app as training

if TYPE_CHECKING:
    from vla_tutorial.conditions import Condition
    from vla_tutorial.loop import Step

BAD_INPUT, INTERRUPTED, UNHEALTHY = 2, 130, 1
"""Exit codes: a mistake that the user can mend; Ctrl-C; something that the doctor found."""


class _Commands(typer.core.TyperGroup):
    """Tells errors in words and turns them into exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)
        try:
            return super().invoke(ctx)
        except TutorialError as e:
            err.print(f"[red]Error:[/] {escape(str(e))}", highlight=False, soft_wrap=True)
            raise typer.Exit(BAD_INPUT) from e
        except KeyboardInterrupt as e:
            err.print("[yellow]Stopped.[/] What was recorded is kept and marked incomplete.")
            raise typer.Exit(INTERRUPTED) from e


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help=vla_tutorial.__doc__)


app.add_typer(training, name="train")
app.command()(sweep)
app.command()(join)
app.command()(diagnose)


@app.command()
def doctor() -> None:
    """Check this machine and installation; exit code 1 when something would silently spoil results (20 s).

    Example: `vla-tutorial doctor`
    """
    from vla_tutorial.doctor import Finding, examine

    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "fail": "[red]FAIL[/]"}
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        out.print(f"{marks[finding.verdict]} {finding.check:<16} {escape(finding.detail)}", highlight=False, soft_wrap=True)
        if finding.remedy:
            out.print(f"     {'':<16} → {escape(finding.remedy)}", highlight=False, soft_wrap=True)
    failed = [f.check for f in findings if f.verdict == "fail"]
    out.print(f"[red]Results here would not be comparable: {', '.join(failed)}.[/]" if failed else "[green]Ready.[/]")
    raise typer.Exit(UNHEALTHY if failed else 0)


@app.command()
def conditions(
    boundary: Annotated[str | None, typer.Option(help="Only those of one boundary, with what each one changes.")] = None,
) -> None:
    """List the conditions by the boundary that they touch; with --boundary, what each one changes and who got it wrong.

    Example: `vla-tutorial conditions --boundary motion`
    """
    from vla_tutorial.conditions import BOUNDARIES, families
    from vla_tutorial.errors import unknown

    if boundary is not None and boundary not in BOUNDARIES:
        raise unknown("boundary", boundary, BOUNDARIES)
    for name, about in BOUNDARIES.items():
        if boundary in (None, name):
            out.print(f"[bold]{name}[/] · {about}", highlight=False, soft_wrap=True)
            for members in families(name).values():
                _tell_conditions(members, details=boundary is not None)


def _tell_conditions(members: list[Condition], details: bool) -> None:
    """One line for conditions that differ in level only, or everything about them."""
    from vla_tutorial.conditions import changed_settings
    from vla_tutorial.demo import SCENE, WIRING

    alike = len({c.teaches for c in members}) == 1
    others = [c.name.removeprefix(c.family) for c in members[1:]]
    names = f"{members[0].name} … {others[-1]}" if len(members) > 4 else ", ".join([members[0].name, *others])
    what = members[0].teaches if alike else f"{members[0].teaches.partition(':')[0]}, each in its own way."
    if not details:
        out.print(f"  {names:<24} {escape(what)}", highlight=False, soft_wrap=True)
        return
    for c in members:
        out.print(f"  [bold]{c.name}[/]  {escape(c.teaches)}", highlight=False, soft_wrap=True)
        for setting, (before, after) in changed_settings(c, WIRING, SCENE).items():
            out.print(f"    [dim]{setting}: {escape(repr(before))} → {escape(repr(after))}[/]", highlight=False, soft_wrap=True)
        if c.claims:
            out.print(f"    [dim]the chapter: {escape(c.claims)}[/]", highlight=False, soft_wrap=True)
        if c.seen_in:
            out.print(f"    [dim]seen in: {escape(', '.join(c.seen_in))}[/]", highlight=False, soft_wrap=True)


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the two episodes and index.html.")] = Path("demo"),
    policy: Annotated[str, typer.Option(help="Which policy acts: mini, openvla or expert.")] = "mini",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a demonstration that is there already.")] = False,
) -> None:
    """See one task succeed and then fail through one wrong setting: two videos and plots on one page (about two minutes on two cores).

    Example: `vla-tutorial demo --out demo`
    """
    from vla_tutorial import demo as demonstration
    from vla_tutorial.policies import load_policy
    from vla_tutorial.sim import step_limit

    acting = load_policy(policy)
    with progress_bar() as progress:
        limit = step_limit(demonstration.SCENE.suite)
        bar = progress.add_task("building the simulator", total=None)
        report = demonstration.run(
            acting,
            out_dir,
            overwrite=overwrite,
            on_step=lambda name, step: _advance(progress, bar, name, step, limit),
        )
    for name, result in report.results.items():
        out.print(f"{name:<18} {_sentence(result.success, result.steps, result.first_close)}", highlight=False)
    out.print(f"Open [bold]{escape(str(report.page))}[/] in a browser. ({report.seconds:.0f} s)", highlight=False, soft_wrap=True)


@app.command()
def rollout(
    suite: Annotated[str, typer.Option(help="LIBERO suite, for example libero_object.")],
    task: Annotated[int, typer.Option(help="Task number in the suite.")],
    init: Annotated[int, typer.Option(help="Number of the saved initial state.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the episode.")],
    policy: Annotated[str, typer.Option(help="Which policy acts: mini, openvla or expert.")] = "mini",
    condition: Annotated[list[str] | None, typer.Option(help="A condition by name; may be given several times.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint of the policy: a hub id or a folder.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a checkpoint on the hub.")] = None,
    device: Annotated[str | None, typer.Option(help="Where a model runs, for example cuda:0 or cpu; by default the first GPU.")] = None,
    unnorm_key: Annotated[
        str | None, typer.Option(help="Whose action statistics to use; by default those that the policy was made for.")
    ] = None,
    embedded_statistics: Annotated[
        bool, typer.Option(help="Allow statistics that this package ships in place of the checkpoint's own.")
    ] = False,
    max_steps: Annotated[int | None, typer.Option(help="Step limit; by default the published one of the suite.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an episode that is in the folder already.")] = False,
) -> None:
    """Run one episode and record it: steps.jsonl, episode.json, agentview.png, episode.mp4 and gripper.png.

    Example: `vla-tutorial rollout --suite libero_object --task 0 --init 0 --condition no_flip --out out/no_flip`
    """
    from vla_tutorial.choice import native_key
    from vla_tutorial.conditions import apply
    from vla_tutorial.loop import statistics_for
    from vla_tutorial.policies import load_policy
    from vla_tutorial.record import check_folder, record_episode
    from vla_tutorial.scene import Scene
    from vla_tutorial.sim import Simulator, check_task, step_limit
    from vla_tutorial.wiring import Wiring

    names = condition or []
    check_task(suite, task, init)
    wiring = Wiring(unnorm_key=unnorm_key or native_key(policy, suite), embedded_statistics=embedded_statistics, max_steps=max_steps)
    wiring, scene = apply(names, wiring, Scene(suite, task, init))
    limit = wiring.max_steps or step_limit(suite)
    check_folder(out_dir, overwrite)
    given = {key: value for key, value in {"revision": revision, "device": device}.items() if value is not None}
    acting = load_policy(policy, checkpoint, **given)
    statistics_for(acting, wiring)
    _warn_of_other_mujoco()
    with progress_bar() as progress:
        bar = progress.add_task("building the simulator", total=None)
        with Simulator(suite, task, wiring.camera_size) as simulator:
            result = record_episode(
                acting,
                simulator,
                wiring,
                scene,
                out_dir,
                names,
                overwrite=overwrite,
                on_step=lambda step: _advance(progress, bar, "control step", step, limit),
            )
    out.print(
        f"{_sentence(result.success, result.steps, result.first_close)} Recorded in [bold]{escape(str(out_dir))}[/].",
        highlight=False,
        soft_wrap=True,
    )


def _advance(progress: Progress, bar: TaskID, what: str, step: Step, limit: int) -> None:
    """Move the bar, and stop where Ctrl-C got lost."""
    progress.update(bar, description=what, completed=step.step + 1, total=step.step + 1 if step.done else limit)
    interrupt.check()


def _sentence(success: bool | None, steps: int, first_close: int | None) -> str:
    verdict = {True: "[green]success[/]", False: "[red]failure[/]", None: "[yellow]incomplete[/]"}[success]
    closed = "gripper never closed" if first_close is None else f"first gripper close at step {first_close}"
    return f"{verdict} after {steps} steps, {closed}."


def _warn_of_other_mujoco() -> None:
    from vla_tutorial.doctor import check_mujoco

    finding = check_mujoco()
    if finding.verdict == "fail":
        err.print(
            f"[yellow]Warning:[/] MuJoCo {escape(finding.detail)}; the episode's record says so. {escape(finding.remedy)}", highlight=False
        )


app.command()(clips)
app.command()(measure_commands.report)
app.command()(measure_commands.compare)


def main() -> None:
    """Entry point of `vla-tutorial`."""
    app()


if __name__ == "__main__":
    main()
