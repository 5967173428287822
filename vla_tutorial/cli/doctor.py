"""`vla-tutorial doctor`: is this machine fit?"""

from __future__ import annotations

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import UNHEALTHY, out


def doctor() -> None:
    """Check this machine and installation; exit code 1 when something would silently spoil results (20 s).

    Example: `vla-tutorial doctor`
    """
    from vla_tutorial.doctor import Finding, examine

    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "fail": "[red]FAIL[/]"}
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        out.print(
            f"{marks[finding.verdict]} {finding.check:<16} {escape(finding.detail)}",
            highlight=False,
            soft_wrap=True,
        )
        if finding.remedy:
            out.print(f"     {'':<16} → {escape(finding.remedy)}", highlight=False, soft_wrap=True)
    failed = [f.check for f in findings if f.verdict == "fail"]
    out.print(
        f"[red]Results here would not be comparable: {', '.join(failed)}.[/]"
        if failed
        else "[green]Ready.[/]"
    )
    raise typer.Exit(UNHEALTHY if failed else 0)
