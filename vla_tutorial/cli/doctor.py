"""`vla-tutorial doctor`: is this machine fit?"""

from __future__ import annotations

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import UNHEALTHY, out, tell

_MARKS = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "fail": "[red]FAIL[/]"}


def doctor() -> None:
    """Check this machine and the installation (20 s).

    It lists the devices that can render and says which one does. The exit code is 1 when something
    would silently spoil results or stop a run.

    Example: `vla-tutorial doctor`
    """
    from vla_tutorial.doctor import examine

    failed = []
    for finding in examine():
        mark = _MARKS[finding.verdict]
        tell(out, f"{mark} {finding.check:<16} {escape(finding.detail)}")
        if finding.remedy:
            tell(out, f"     {'':<16} → {escape(finding.remedy)}")
        if finding.verdict == "fail":
            failed.append(finding.check)
    if failed:
        named = ", ".join(failed)
        tell(out, f"[red]Results here would not be comparable, or runs stop: {named}.[/]")
        raise typer.Exit(UNHEALTHY)
    tell(out, "[green]Ready.[/]")
