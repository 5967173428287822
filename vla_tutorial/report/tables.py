"""The tables of a report. `text.py` draws them in a terminal, `page.py` in a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from vla_tutorial.report.build import Adjusted, ConditionReport, FirstClose, Spread, SweepReport
from vla_tutorial.report.matrix import Matrix
from vla_tutorial.report.numbers import bare_p, dashed, digits, percents, plural, signed
from vla_tutorial.report.stages import TaskCredit
from vla_tutorial.stats import Rate, SuiteMean

DASH = "–"

SHOWN_CAUSES = 10
"""Causes of errors that have a row of their own."""

Cell = str | Rate
"""Text, or a rate: "482/500" in a terminal, "482 of 500" over a bar in a page."""


@dataclass(frozen=True)
class Table:
    """A table; the first column of a row is its name. Texts are as they are, not escaped."""

    title: str
    caption: str  # how to read it
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def without(self, *columns: str) -> Table:
        """The table without some columns."""
        kept = [column not in columns for column in self.columns]
        rows = [list(compress(row, kept)) for row in self.rows]
        return replace(self, columns=list(compress(self.columns, kept)), rows=rows)

    def turned(self, first: str) -> Table:
        """Rows as columns, of which only the first word is kept; `first` heads the first column."""
        names, *columns = zip(*self.rows, strict=True)
        heads = [first, *(str(name).split()[0] for name in names)]
        rows = list(zip(self.columns[1:], *zip(*columns, strict=True), strict=True))
        return replace(self, columns=heads, rows=rows)


def error_notes(conditions: Iterable[ConditionReport]) -> list[str]:
    """A sentence for each condition that has episodes which ended in an error."""
    return [
        f"{c.label}: {plural(c.errors, 'episode')} ended in an error and count nowhere else."
        for c in conditions
        if c.errors
    ]


def cause_table(sweep: SweepReport) -> Table:
    """Why episodes ended in errors: the most frequent causes of a sweep."""
    rows = [
        (cause.cause, str(cause.episodes), _some(cause.conditions), cause.first)
        for cause in sweep.causes[:SHOWN_CAUSES]
    ]
    rest = sweep.causes[SHOWN_CAUSES:]
    if rest:
        episodes = sum(cause.episodes for cause in rest)
        rows.append((plural(len(rest), "other cause"), str(episodes), DASH, DASH))
    return Table(
        f"Errors by cause in {sweep.name}",
        "First: the first episode in which it came up. episodes.jsonl has the whole text (error).",
        ("cause", "episodes", "conditions", "first"),
        rows,
    )


def _some(conditions: Sequence[str]) -> str:
    if len(conditions) == 1:
        return conditions[0]
    return plural(len(conditions), "condition")


def success_table(conditions: Sequence[ConditionReport]) -> Table:
    """Success by condition, with both intervals."""
    rows = [(c.label, *_success_cells(c), str(c.errors)) for c in conditions]
    return Table(
        "Success",
        "95 % intervals. Over tasks: for other tasks of the kind, by a bootstrap (*: every episode "
        "ended alike, so each task counts once). These tasks: for more episodes of them, Wilson's.",
        (
            "condition",
            "succeed",
            "%",
            "s.e.",
            "mean of tasks",
            "over tasks",
            "these tasks",
            "errors",
        ),
        rows,
    )


def _success_cells(condition: ConditionReport) -> tuple[Cell, ...]:
    rate = condition.rate
    mean = condition.mean
    if rate is None or mean is None:
        return ("0/0", *[DASH] * 5)
    over_tasks = DASH
    if mean.interval:
        over_tasks = dashed(mean.interval) + "*" * mean.alike
    return (
        rate,
        digits(rate.rate),
        f"{100 * rate.standard_error:.1f}",
        digits(mean.mean),
        over_tasks,
        dashed(rate.interval),
    )


def headline_interval(rate: Rate, mean: SuiteMean) -> str:
    """A rate's 95 % interval in words: for other tasks of the kind first, then for these alone."""
    these = f"{percents(rate.interval)} for more episodes of these tasks"
    if mean.interval is None:
        return f"95 % interval {these}"
    over = f"{percents(mean.interval)} over tasks"
    if mean.alike:
        over += " (every episode ended alike, so each task counts once)"
    return f"95 % interval {over}, and {these}"


def task_table(title: str, conditions: Sequence[ConditionReport], names: Sequence[str]) -> Table:
    """Successes by task, a column for each condition.

    Args:
        names: heads of the columns, one for each of `conditions`.
    """
    instructions: dict[int, str] = {}
    cells: dict[int, list[Cell]] = {}
    for column, condition in enumerate(conditions):
        for task in condition.tasks:
            own = cells.setdefault(task.task, [DASH] * len(names))
            own[column] = task.rate or DASH
            if not instructions.get(task.task):
                instructions[task.task] = task.instruction or ""
    rows = []
    for number, own in sorted(cells.items()):
        rows.append((f"{number} {instructions[number]}".strip(), *own))
    return Table(title, "A cell counts successes and episodes.", ("task", *names), rows)


def behaviour_table(conditions: Sequence[ConditionReport]) -> Table:
    """When the gripper first closes, and how long an episode takes."""
    rows = []
    for c in conditions:
        closes = map(_first_close, (c.first_close_successes, c.first_close_failures))
        rows.append((c.label, *closes, _spread(c.seconds) or DASH))
    return Table(
        "First close and time",
        "Median (least to greatest): control step of the first closing command, wall time of an "
        "episode.",
        ("condition", "close, successes", "close, failures", "seconds"),
        rows,
    )


def stage_table(condition: ConditionReport) -> Table:
    """How far episodes came where the goal has several predicates, in what order."""
    rows = []
    for count in condition.stages:
        way = " → ".join(_predicate(name) for name in count.held) or "none"
        rows.append((str(count.task), way, str(count.episodes), str(count.successes)))
    return Table(
        f"Stages, {condition.label}",
        "Predicates of the goal in the order in which they first held. One may cease to hold.",
        ("task", "held, in order", "episodes", "successes"),
        rows,
    )


def credit_table(condition: ConditionReport) -> Table:
    """How many of a goal's predicates came to hold, beside success."""
    if condition.credit is None:
        raise ValueError(f"{condition.label} has no stages.")
    credit = condition.credit
    most = max(task.predicates for task in credit.tasks)
    over_tasks = DASH
    if credit.interval:
        over_tasks = dashed(credit.interval)
    rows: list[tuple[Cell, ...]] = [_credit_row(task, most) for task in credit.tasks]
    rows.append(("mean", *[DASH] * (3 + most), digits(credit.mean), over_tasks))
    return Table(
        f"Credit for stages, {condition.label}",
        "Held n: episodes in which n of the goal's predicates came to hold at some time. Credit: "
        "their share on average; over tasks: its 95 % interval for other tasks of the kind.",
        (
            "task",
            "episodes",
            "succeed",
            *(f"held {number}" for number in range(most + 1)),
            "credit %",
            "over tasks",
        ),
        rows,
    )


def _credit_row(task: TaskCredit, most: int) -> tuple[Cell, ...]:
    held = [str(number) for number in task.held]
    held += [DASH] * (most + 1 - len(held))
    return (
        str(task.task),
        str(task.episodes),
        str(task.successes),
        *held,
        digits(task.credit),
        DASH,
    )


def _predicate(name: str) -> str:
    """LIBERO's predicate, short: "in milk_1 basket_1_contain_region" → "in milk_1"."""
    return " ".join(name.split()[:2])


def _first_close(found: FirstClose) -> str:
    parts = [_spread(found.steps)]
    if found.never:
        parts.append(f"never: {found.never}")
    return ", ".join(filter(None, parts)) or DASH


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.4g} ({spread.least:.4g}–{spread.greatest:.4g})"


def comparison_table(found: Sequence[Adjusted]) -> Table:
    """Every run against the published one."""
    baselines = {entry.comparison.a for entry in found}
    against = "the published run"
    if len(baselines) == 1:
        against = found[0].comparison.a
    rows = []
    for entry in found:
        c = entry.comparison
        p = c.paired
        row = (
            c.b if len(baselines) == 1 else f"{c.b} against {c.a}",
            str(p.pairs),
            str(p.only_b),
            str(p.only_a),
            signed(p.difference),
            f"{signed(p.interval.low)} to {signed(p.interval.high)}",
            bare_p(p.p_value),
            bare_p(entry.holm),
        )
        rows.append(row)
    return Table(
        f"Against {against}",
        "Both have the same initial states. Won: only this run succeeds. Lost: only the other one "
        "succeeds. Points: the difference of the rates, with Newcombe's interval. p: exact "
        "McNemar. Holm: p corrected for all these comparisons.",
        ("run", "pairs", "won", "lost", "points", "95 %", "p", "Holm"),
        rows,
    )


def matrix_table(matrix: Matrix) -> Table:
    """Every pair of a matrix's runs: the row's rate minus the column's, in points."""
    cells = [[DASH] * len(matrix.labels) for _ in matrix.labels]
    for pairing in matrix.pairings:
        star = "*" * pairing.differs
        difference = pairing.paired.difference
        cells[pairing.b][pairing.a] = signed(difference) + star
        cells[pairing.a][pairing.b] = signed(-difference) + star
    heads = [str(number) for number in range(1, len(matrix.labels) + 1)]
    rows: list[tuple[Cell, ...]] = []
    for head, label, rate, own in zip(heads, matrix.labels, matrix.rates, cells, strict=True):
        rows.append((f"{head} {label}", rate, *own))
    return Table(
        f"Every pair, {matrix.suite}, {matrix.condition}",
        "Points: the row's rate minus the column's, from the initial states that both have. *: "
        "they differ (exact McNemar, p ≤ 0.05 after Holm among "
        f"{plural(len(matrix.pairings), 'pair')}).",
        ("run", "succeed", *heads),
        rows,
    )
