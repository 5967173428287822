"""A report and a comparison for the terminal: rich tables, with intervals drawn in characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from vla_tutorial.ranges import format_numbers
from vla_tutorial.report import tables
from vla_tutorial.report.build import Report, SweepReport
from vla_tutorial.report.comparison import Comparison, comparison_sentence
from vla_tutorial.report.numbers import (
    about,
    counted,
    p_value,
    percent,
    percents,
    plural,
    points,
    size,
    span,
)
from vla_tutorial.report.tables import DASH, Cell, Table
from vla_tutorial.stats import FEWEST_TASKS, Rate, Start

DRAWN = 21
"""Characters from 0 to 100 % in a drawn interval: one each 5 %."""

WIDE = 100
"""Columns of a terminal from which on intervals are drawn as well."""

MANY = 8
"""Conditions from which on the table of tasks has a row for each condition, to fit the width."""


def report_text(report: Report, width: int = WIDE) -> RenderableType:
    """The whole report, for a terminal of `width` columns."""
    parts: list[RenderableType] = []
    for sweep in report.sweeps:
        parts += [*_sweep(sweep, width), Text()]
    if report.comparisons:
        parts += _table(tables.comparison_table(report.comparisons))
    for matrix in report.matrices:
        parts += _table(tables.matrix_table(matrix))
    return Group(*parts)


def _sweep(sweep: SweepReport, width: int) -> Iterator[RenderableType]:
    yield Text(f"{sweep.name} · {sweep.suite} · {sweep.policy}", style="bold underline")
    yield from _notes(sweep.notes)
    # The terminal is narrow: errors are said below, and the mean mostly equals the rate.
    success = tables.success_table(sweep.conditions).without("mean of tasks", "errors")
    if width >= WIDE:
        rows = [(*row, _drawn(row[1])) for row in success.rows]
        head = "0" + "100 %".rjust(DRAWN - 1)
        success = replace(success, columns=[*success.columns, head], rows=rows)
    yield from _table(success)
    yield from _notes(tables.error_notes(sweep.conditions))
    if sweep.causes:
        yield from _table(tables.cause_table(sweep))
    names = [c.condition for c in sweep.conditions]
    tasks = tables.task_table("Successes by task", sweep.conditions, names)
    if len(names) >= MANY:
        tasks = tasks.turned("condition")
    yield from _table(tasks)
    yield from _table(tables.behaviour_table(sweep.conditions))
    for condition in sweep.conditions:
        if condition.credit:
            yield from _table(tables.credit_table(condition))
        if condition.stages:
            yield from _table(tables.stage_table(condition))


def _notes(notes: Iterable[str]) -> list[Text]:
    return [Text(note, style="yellow") for note in notes]


def _table(table: Table) -> Iterator[RenderableType]:
    """A plain table under its title. The first column is text and may be folded."""
    drawn = RichTable(box=None, pad_edge=False)
    # As texts: names would be read for markup and emoji.
    first, *others = map(Text, table.columns)
    drawn.add_column(first, min_width=12, overflow="fold")
    for column in others:
        drawn.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*map(_text, row))
    yield Text(f"\n{table.title}", style="bold")
    yield drawn
    if table.caption:
        yield Text(table.caption, style="dim")


def _text(cell: Cell) -> Text:
    if isinstance(cell, Rate):
        return Text(f"{cell.successes}/{cell.episodes}")
    return Text(cell)


def _drawn(rate: Cell) -> str:
    """A rate and its interval in `DRAWN` characters."""
    if not isinstance(rate, Rate):
        return DASH
    shares = (rate.interval.low, rate.rate, rate.interval.high)
    low, middle, high = (round(share * (DRAWN - 1)) for share in shares)
    line = ["·"] * DRAWN
    line[low : high + 1] = "─" * (high + 1 - low)
    line[middle] = "●"
    return "".join(line)


def comparison_text(c: Comparison) -> RenderableType:
    """A comparison: its sentence, the table of pairs, what these can show, and what is missing."""
    p = c.paired
    pairs = Table(
        f"{plural(p.pairs, 'common initial state')} of {c.suite}",
        "",
        ("", f"{c.b} succeeds", f"{c.b} fails"),
        (
            (f"{c.a} succeeds", str(p.both), str(p.only_a)),
            (f"{c.a} fails", str(p.only_b), str(p.neither)),
        ),
    )
    facts = RichTable(box=None, pad_edge=False, show_header=False)
    for fact in _facts(c):
        facts.add_row(*map(Text, fact))
    sentence = Text(comparison_sentence(c), style="bold")
    return Group(
        sentence,
        *_table(pairs),
        Text(),
        facts,
        *_notes(_left_out(c)),
    )


def _facts(c: Comparison) -> list[tuple[str, str]]:
    """What a comparison measured, in words: (name, value)."""
    p = c.paired
    over_tasks = f"– (takes {FEWEST_TASKS} tasks, and pairs that disagree)"
    if p.over_tasks:
        over_tasks = span(p.over_tasks)
    flips = f"{percent(p.flips.rate)} ({p.flips.successes})"
    smallest = "none"
    if c.smallest is not None:
        smallest = f"{size(c.smallest)}: what these pairs find with 80 % probability"
    needed = "–"
    if c.needed is not None:
        needed = f"{about(c.needed)}: to find the difference measured"
    anytime = c.anytime
    return [
        (c.a, f"{counted(p.rate_a)}, 95 % {percents(p.rate_a.interval)}"),
        (c.b, f"{counted(p.rate_b)}, 95 % {percents(p.rate_b.interval)}"),
        ("difference", points(p.difference)),
        ("95 % over tasks (bootstrap)", over_tasks),
        ("95 % for these tasks (Newcombe)", span(p.interval)),
        ("exact McNemar", p_value(p.p_value)),
        ("looked at on the way", f"95 % {span(anytime.interval)}, {p_value(anytime.p_value)}"),
        ("pairs that disagree", f"{flips}, 95 % {percents(p.flips.interval)}"),
        ("smallest shown (80 %)", smallest),
        ("pairs needed (80 %)", needed),
    ]


def _left_out(c: Comparison) -> Iterator[str]:
    """What the sentence does not cover: starts left out, and settings that differ."""
    sides = (
        (c.a, c.b, c.only_in_a, c.errors_a),
        (c.b, c.a, c.only_in_b, c.errors_b),
    )
    for label, other, only, errors in sides:
        if only:
            yield (
                f"{plural(len(only), 'initial state')} of {label} not in {other}: {_starts(only)}."
            )
        if errors:
            yield (
                f"{plural(len(errors), 'episode')} of {label} ended in an error and are left out: "
                f"{_starts(errors)}."
            )
    if c.differs:
        yield f"The two also differ in: {', '.join(c.differs)}."


def _starts(starts: Sequence[Start]) -> str:
    inits: dict[int, set[int]] = {}
    for start in starts:
        inits.setdefault(start[0], set()).add(start[1])
    tasks = sorted(inits.items())
    return "; ".join(f"task {task}, init {format_numbers(own)}" for task, own in tasks)
