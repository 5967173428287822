"""A report for programs: JSON with everything in it, or CSV with a row a task."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from vla_tutorial.report.build import ConditionReport, Report, SweepReport
from vla_tutorial.report.comparison import Comparison, comparison_sentence
from vla_tutorial.stats import Rate, SuiteMean

COLUMNS = (
    "sweep", "suite", "policy", "condition", "task", "errors", "episodes", "successes", "rate",
    "standard_error", "wilson_low", "wilson_high", "mean_over_tasks", "over_tasks_low",
    "over_tasks_high",
)  # fmt: skip
"""Of the CSV. `task` is "all" in a condition's own row, which alone has the mean over tasks."""


def report_json(report: Report, command: str = "") -> str:
    """Everything, and the `command` that made it, as JSON; intervals are [low, high] of one."""
    return _layout({"command": command, "level": 0.95, **asdict(report)})


def comparison_json(comparison: Comparison) -> str:
    """One comparison with its sentence, as JSON.

    Starts are [task, init], or [task, init, target] where another object was asked for.
    """
    sentence = comparison_sentence(comparison)
    return _layout({"sentence": sentence, "level": 0.95, **asdict(comparison)})


def _layout(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def report_csv(report: Report) -> str:
    """A header, then for each condition a row for all tasks and one for each; empty if unknown."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for sweep in report.sweeps:
        for condition in sweep.conditions:
            writer.writerows(_rows(sweep, condition))
    return text.getvalue()


def _rows(sweep: SweepReport, condition: ConditionReport) -> Iterator[dict[str, Any]]:
    names = {
        "sweep": sweep.name,
        "suite": sweep.suite,
        "policy": sweep.policy,
        "condition": condition.condition,
    }
    whole = {"task": "all", "errors": condition.errors}
    yield names | whole | _rate(condition.rate) | _mean(condition.mean)
    for task in condition.tasks:
        yield names | {"task": task.task, "errors": task.errors} | _rate(task.rate)


def _rate(rate: Rate | None) -> dict[str, Any]:
    if rate is None:
        return {"episodes": 0, "successes": 0}
    found = asdict(rate)
    found["wilson_low"], found["wilson_high"] = found.pop("interval")
    return {name: round(value, 6) for name, value in found.items()}


def _mean(mean: SuiteMean | None) -> dict[str, Any]:
    if mean is None:
        return {}
    found = {"mean_over_tasks": round(mean.mean, 6)}
    if mean.interval:
        found["over_tasks_low"] = round(mean.interval.low, 6)
        found["over_tasks_high"] = round(mean.interval.high, 6)
    return found
