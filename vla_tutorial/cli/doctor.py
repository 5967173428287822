"""`vla-tutorial doctor`: is this machine fit?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import UNHEALTHY, out, tell

if TYPE_CHECKING:
    from vla_tutorial.doctor import HealthFinding

_MARKS = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "fail": "[red]FAIL[/]"}


def doctor(
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Judge only this PNG: the first agentview of libero_object's task 0, state 0."
        ),
    ] = None,
) -> None:
    """Check this machine and the installation (20 s).

    It lists the devices that can render and says which one does. The exit code is 1 when something
    would silently spoil results or stop a run. With --picture it says whether a
    picture of another set-up has the published floor.

    Example: `vla-tutorial doctor --picture my_agentview.png`
    """
    from vla_tutorial.doctor import check_picture, examine

    findings: Iterable[HealthFinding] = examine() if picture is None else [check_picture(picture)]
    failed = []
    for finding in findings:
        _show(finding)
        if finding.verdict == "fail":
            failed.append(finding.check)
    if failed:
        named = ", ".join(failed)
        tell(out, f"[red]Results here would not be comparable, or runs stop: {named}.[/]")
        raise typer.Exit(UNHEALTHY)
    if picture is None:
        tell(out, "[green]Ready.[/]")


def _show(finding: HealthFinding) -> None:
    mark = _MARKS[finding.verdict]
    tell(out, f"{mark} {finding.check:<16} {escape(finding.detail)}")
    if finding.remedy:
        tell(out, f"     {'':<16} → {escape(finding.remedy)}")
