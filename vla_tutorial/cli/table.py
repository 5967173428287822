"""`vla-tutorial train table`: what evaluations measured, a row a condition, as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vla_tutorial.cli.terminal import out
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.report import Report

_HEAD = ("sweep", "suite", "policy", "condition", "succeed", "%", "95 % over tasks", "errors")


def table(
    folders: Annotated[
        list[Path],
        typer.Argument(help="What `train evaluate --out` was given; several for several policies."),
    ],
) -> None:
    """Print one table of all sweeps in folders of evaluations (3 s).

    The interval is a bootstrap over tasks. `vla-tutorial report` says more of each sweep, and the
    stages of libero_10.

    Example: `vla-tutorial train table measured measured_narrow`
    """
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.report import build_report

    found = [path.parent for folder in folders for path in sorted(folder.glob("*/sweep.json"))]
    if not found:
        listed = ", ".join(map(str, folders))
        raise TutorialError(
            f"No sweep in {listed}: expected folders with a sweep.json, as train evaluate makes."
        )
    report = build_report([read_sweep(folder) for folder in found])
    out.print("\n".join(markdown(report)), markup=False, highlight=False, soft_wrap=True)


def markdown(report: Report) -> list[str]:
    """The lines of the table."""
    from vla_tutorial.report.numbers import dashed, digits

    rows = [_HEAD, ("---",) * len(_HEAD)]
    for sweep in report.sweeps:
        for condition in sweep.conditions:
            rate = condition.rate
            mean = condition.mean
            succeed = f"{rate.successes}/{rate.episodes}" if rate else "0/0"
            interval = mean.interval if mean else None
            row = (
                sweep.name,
                sweep.suite,
                sweep.policy,
                condition.condition,
                succeed,
                digits(rate.rate) if rate else "–",
                dashed(interval) if interval else "–",
                str(condition.errors),
            )
            rows.append(row)
    return [f"| {' | '.join(row)} |" for row in rows]
