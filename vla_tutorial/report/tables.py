"""A report for machines: JSON with everything in it, or CSV with a row a task."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from vla_tutorial.report.build import ConditionReport, Report, SweepReport
from vla_tutorial.report.comparison import Comparison, sentence
from vla_tutorial.stats.rates import Rate, SuiteMean

COLUMNS = (
    "sweep", "suite", "policy", "condition", "task", "errors", "episodes", "successes", "rate", "standard_error", "wilson_low",
    "wilson_high", "mean_over_tasks", "over_tasks_low", "over_tasks_high",
)  # fmt: skip
"""Of the CSV. `task` is "all" in a condition's own row, which alone has the mean over tasks."""


def to_json(report: Report, command: str = "") -> str:
    """Everything; intervals are [low, high], shares of one. `command`: what it says made it."""
    return (
        json.dumps(
            {"command": command, "level": 0.95, **asdict(report)}, indent=1, ensure_ascii=False
        )
        + "\n"
    )


def comparison_json(comparison: Comparison) -> str:
    """One comparison with its sentence; starts are [task, init]."""
    return (
        json.dumps(
            {"sentence": sentence(comparison), "level": 0.95, **asdict(comparison)},
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )


def to_csv(report: Report) -> str:
    """A header, then for each condition a row for all its tasks and one for each; empty where there is nothing to say."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for sweep in report.sweeps:
        for condition in sweep.conditions:
            writer.writerows(_rows(sweep, condition))
    return text.getvalue()


def _rows(sweep: SweepReport, condition: ConditionReport) -> Iterable[dict[str, Any]]:
    what = {
        "sweep": sweep.name,
        "suite": sweep.suite,
        "policy": sweep.policy,
        "condition": condition.condition,
    }
    yield {
        **what,
        "task": "all",
        "errors": condition.errors,
        **_rate(condition.rate),
        **_mean(condition.mean),
    }
    for task in condition.tasks:
        yield {**what, "task": task.task, "errors": task.errors, **_rate(task.rate)}


def _rate(rate: Rate | None) -> dict[str, Any]:
    if rate is None:
        return {"episodes": 0, "successes": 0}
    low, high = rate.interval
    return {
        "episodes": rate.episodes,
        "successes": rate.successes,
        "rate": round(rate.rate, 6),
        "standard_error": round(rate.standard_error, 6),
        "wilson_low": round(low, 6),
        "wilson_high": round(high, 6),
    }


def _mean(mean: SuiteMean | None) -> dict[str, Any]:
    if mean is None:
        return {}
    ends = (
        {}
        if mean.interval is None
        else dict(
            zip(
                ("over_tasks_low", "over_tasks_high"),
                (round(x, 6) for x in mean.interval),
                strict=True,
            )
        )
    )
    return {"mean_over_tasks": round(mean.mean, 6), **ends}
