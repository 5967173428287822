"""`vla-tutorial train table`: what evaluations measured, a row a condition, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import err, out, tell
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.episodes import Sweep
    from vla_tutorial.report import Report
    from vla_tutorial.report.build import ConditionReport, SweepReport

_HEAD = ("sweep", "suite", "policy", "condition", "succeed", "%", "95 % over tasks", "errors")


def table(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders that `train evaluate --out` wrote, one for each policy."),
    ],
) -> None:
    """Print one table of all sweeps in folders of evaluations (3 s).

    The interval is over tasks, by a bootstrap. If every episode ended alike (*), each task
    counts once. A sweep that cannot be read, or has no episode yet, is left out with a note.
    `vla-tutorial report` says more about each sweep, and has the stages of libero_10.

    Example: `vla-tutorial train table measured measured_narrow`
    """
    from vla_tutorial.report import build_report

    found = [path.parent for folder in folders for path in sorted(folder.glob("*/sweep.json"))]
    if not found:
        listed = ", ".join(map(str, folders))
        raise TutorialError(
            f"No sweep in {listed}: expected folders with a sweep.json, as train evaluate makes."
        )
    report = build_report(list(_readable(found)))
    out.print("\n".join(markdown(report)), markup=False, highlight=False, soft_wrap=True)


def _readable(folders: Iterable[Path]) -> Iterator[Sweep]:
    from vla_tutorial.episodes import read_sweep

    for folder in folders:
        try:
            yield read_sweep(folder)
        except TutorialError as e:
            tell(err, f"[yellow]Left out:[/] {escape(str(e))}")


def markdown(report: Report) -> list[str]:
    """The lines of the table."""
    rows = [_HEAD, ("---",) * len(_HEAD)]
    for sweep in report.sweeps:
        rows += [_row(sweep, condition) for condition in sweep.conditions]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(sweep: SweepReport, condition: ConditionReport) -> tuple[str, ...]:
    from vla_tutorial.report.numbers import dashed, digits

    rate = condition.rate
    mean = condition.mean
    interval = "–"
    if mean and mean.interval:
        interval = dashed(mean.interval) + "*" * mean.alike
    return (
        sweep.name,
        sweep.suite,
        sweep.policy,
        condition.condition,
        f"{rate.successes}/{rate.episodes}" if rate else "0/0",
        digits(rate.rate) if rate else "–",
        interval,
        str(condition.errors),
    )
