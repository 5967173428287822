"""A report and a comparison for the terminal: rich tables, with intervals drawn in characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vla_tutorial.ranges import format_numbers
from vla_tutorial.report.build import (
    Adjusted,
    Closing,
    ConditionReport,
    Report,
    Spread,
    SweepReport,
)
from vla_tutorial.report.comparison import Comparison, sentence
from vla_tutorial.report.numbers import (
    about,
    counted,
    digits,
    p_value,
    percent,
    percents,
    plural,
    points,
    signed,
    size,
    span,
)
from vla_tutorial.stats.pairs import Start
from vla_tutorial.stats.rates import FEWEST_TASKS, Interval, Rate

DRAWN = 21
"""Characters from 0 to 100 % in a drawn interval: one each 5 %."""

WIDE = 100
"""Columns of a terminal from which on intervals are drawn as well."""


def report_text(report: Report, width: int = WIDE) -> RenderableType:
    """The whole report, for a terminal of `width` columns."""
    parts: list[RenderableType] = []
    for sweep in report.sweeps:
        parts += [*_sweep(sweep, width), Text()]
    if report.comparisons:
        parts += _comparisons(report.comparisons)
    return Group(*parts)


def _sweep(sweep: SweepReport, width: int) -> Iterable[RenderableType]:
    yield Text(f"{sweep.name} · {sweep.suite} · {sweep.policy}", style="bold underline")
    yield from (Text(note, style="yellow") for note in sweep.notes)
    yield from _rates(sweep.conditions, width)
    for broken in (c for c in sweep.conditions if c.errors):
        yield Text(
            f"{broken.label}: {plural(broken.errors, 'episode')} ended in an error and count nowhere else.",
            style="yellow",
        )
    yield from _tasks(sweep.conditions)
    yield from _behaviour(sweep.conditions)


def _titled(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = ""
) -> Iterable[RenderableType]:
    """A plain table under its title; the first column is text and may be folded, the others are numbers."""
    table = Table(box=None, pad_edge=False)
    for k, column in enumerate(columns):
        table.add_column(
            escape(column),
            justify="right" if k else "left",
            no_wrap=k > 0,
            min_width=None if k else 12,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(escape, row))
    yield Text(f"\n{title}", style="bold")
    yield table
    if caption:
        yield Text(caption, style="dim")


def _rates(conditions: Sequence[ConditionReport], width: int) -> Iterable[RenderableType]:
    columns = [
        "condition",
        "succeed",
        "%",
        "s.e.",
        "95 %",
        "over tasks",
        "0" + " " * (DRAWN - 6) + "100 %",
    ]
    rows = []
    for c in conditions:
        if c.rate is None:
            rows.append([c.label, "0/0", *["–"] * 5])
            continue
        over = _range(c.mean.interval) if c.mean and c.mean.interval else "–"
        error = f"{100 * c.rate.standard_error:.1f}"
        of = f"{c.rate.successes}/{c.rate.episodes}"
        rows.append(
            [c.label, of, digits(c.rate.rate), error, _range(c.rate.interval), over, drawn(c.rate)]
        )
    shown = len(columns) - (width < WIDE)
    caption = "95 %: Wilson, for more episodes of these tasks. Over tasks: bootstrap, for other tasks of the kind."
    return _titled("Success", columns[:shown], [row[:shown] for row in rows], caption)


def _range(interval: Interval) -> str:
    return f"{digits(interval.low)}–{digits(interval.high)}"


def drawn(rate: Rate) -> str:
    """A rate and its interval in `DRAWN` characters."""
    low, middle, high = (
        round(share * (DRAWN - 1)) for share in (rate.interval.low, rate.rate, rate.interval.high)
    )
    return "".join("●" if k == middle else "─" if low <= k <= high else "·" for k in range(DRAWN))


def _tasks(conditions: Sequence[ConditionReport]) -> Iterable[RenderableType]:
    found = [{t.task: t for t in c.tasks} for c in conditions]
    rows = []
    for number in sorted(set().union(*found)):
        tasks = [tasks.get(number) for tasks in found]
        instruction = next((t.instruction for t in tasks if t and t.instruction), "")
        rows.append(
            [
                f"{number} {instruction}".strip(),
                *(f"{t.rate.successes}/{t.rate.episodes}" if t and t.rate else "–" for t in tasks),
            ]
        )
    return _titled("Successes by task", ["task", *(c.condition for c in conditions)], rows)


def _behaviour(conditions: Sequence[ConditionReport]) -> Iterable[RenderableType]:
    rows = [
        [
            c.label,
            _closing(c.first_close_successes),
            _closing(c.first_close_failures),
            _spread(c.seconds),
        ]
        for c in conditions
    ]
    caption = "Median (least to greatest): control step of the first closing command, wall time an episode."
    return _titled(
        "First close and time",
        ["condition", "close, successes", "close, failures", "seconds"],
        rows,
        caption,
    )


def _closing(closing: Closing) -> str:
    never = f"never: {closing.never}" if closing.never else ""
    return ", ".join(filter(None, (_spread(closing.steps) if closing.steps else "", never))) or "–"


def _spread(spread: Spread | None) -> str:
    return (
        "–" if spread is None else f"{spread.median:.4g} ({spread.least:.4g}–{spread.greatest:.4g})"
    )


def _comparisons(found: Sequence[Adjusted]) -> Iterable[RenderableType]:
    against = {entry.comparison.a for entry in found}
    columns = ["run", "pairs", "won", "lost", "points", "95 %", "p", "Holm"]
    rows = []
    for entry in found:
        c, p = entry.comparison, entry.comparison.paired
        label = c.b if len(against) == 1 else f"{c.b} against {c.a}"
        interval = f"{signed(p.interval.low)} to {signed(p.interval.high)}"
        p_values = (
            p_value(x).removeprefix("p ").removeprefix("= ") for x in (p.p_value, entry.holm)
        )
        rows.append(
            [
                label,
                str(p.pairs),
                str(p.only_b),
                str(p.only_a),
                signed(p.difference),
                interval,
                *p_values,
            ]
        )
    caption = "Same starts in both. p: exact McNemar. Holm: p among all these comparisons. 95 %: Newcombe's interval of the difference."
    return _titled(
        f"Against {against.pop()}" if len(against) == 1 else "Against the published run",
        columns,
        rows,
        caption,
    )


def comparison_text(c: Comparison) -> RenderableType:
    """A comparison: its sentence, the table of pairs, what these pairs could show, and what is missing."""
    p = c.paired
    rows = [
        [f"{c.a} succeeds", str(p.both), str(p.only_a)],
        [f"{c.a} fails", str(p.only_b), str(p.neither)],
    ]
    pairs = _titled(
        f"{plural(p.pairs, 'common start')} of {c.suite}",
        ["", f"{c.b} succeeds", f"{c.b} fails"],
        rows,
    )
    facts = Table(box=None, pad_edge=False, show_header=False)
    for name, value in comparison_facts(c):
        facts.add_row(escape(name), escape(value))
    notes = [Text(note, style="yellow") for note in comparison_notes(c)]
    return Group(Text(sentence(c), style="bold"), *pairs, Text(), facts, *notes)


def comparison_facts(c: Comparison) -> list[tuple[str, str]]:
    """What a comparison measured, in words: (name, value)."""
    p = c.paired
    facts = [
        (label, f"{counted(rate)}, 95 % {percents(rate.interval)}")
        for label, rate in ((c.a, p.rate_a), (c.b, p.rate_b))
    ]
    facts += [
        ("difference", points(p.difference)),
        ("95 % interval (Newcombe)", span(p.interval)),
        (
            "over tasks (bootstrap)",
            span(p.over_tasks)
            if p.over_tasks
            else f"– (takes {FEWEST_TASKS} tasks, and pairs that disagree)",
        ),
        ("exact McNemar", p_value(p.p_value)),
        (
            "pairs that disagree",
            f"{percent(p.flips.rate)} ({p.flips.successes}), 95 % {percents(p.flips.interval)}",
        ),
        (
            "smallest shown (80 %)",
            "none"
            if c.smallest is None
            else f"{size(c.smallest)}: what these pairs find with 80 % probability",
        ),
        (
            "pairs needed (80 %)",
            "–" if c.needed is None else f"{about(c.needed)}: to find the difference measured",
        ),
    ]
    return facts


def comparison_notes(c: Comparison) -> list[str]:
    """What the sentence does not cover: starts left out, and settings that differ."""
    found = []
    for label, other, only, errors in (
        (c.a, c.b, c.only_in_a, c.errors_a),
        (c.b, c.a, c.only_in_b, c.errors_b),
    ):
        if only:
            found.append(
                f"{plural(len(only), 'start')} of {label} not in {other}: {_starts(only)}."
            )
        if errors:
            found.append(
                f"{plural(len(errors), 'episode')} of {label} ended in an error and are left out: {_starts(errors)}."
            )
    if c.differs:
        found.append(f"The two also differ in: {', '.join(c.differs)}.")
    return found


def _starts(starts: Sequence[Start]) -> str:
    tasks = sorted({task for task, _ in starts})
    return "; ".join(
        f"task {t}, init {format_numbers(init for task, init in starts if task == t)}"
        for t in tasks
    )
