"""What the sweeps in `results/sweeps/` measured, for the book's pages: numbers by condition, and figures in the page's own colours. No Sphinx here."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = ROOT / "results" / "sweeps"

VERDICTS = ("nothing wrong", "pixels", "prompt", "motion", "simulator", "policy")
"""Every verdict of `vla-tutorial diagnose`, in the order of the figure's columns."""


def listed(folder: Path) -> dict[str, Any]:
    """One sweep: what it planned and how far it got, its command, machine, versions and date."""
    from vla_tutorial.episodes import read_sweep

    sweep = read_sweep(folder)
    config = sweep.config
    planned = len(config["tasks"]) * len(config["inits"]) * len(config["conditions"])
    shares = [share["command"] for share in config.get("joined", [])]
    return {
        "name": f"sweeps/{folder.name}",
        "command": "\n".join([*shares, config["command"]]),
        "about": f"{len(sweep.episodes)} of {planned} planned episodes"
        + (f", run in {len(shares)} shares, one a GPU" if shares else ""),
        "machine": config["machine"],
        "versions": config["versions"],
        "date": config["started"],
        "complete": len(sweep.episodes) == planned,
    }


@cache
def counted(folder: str, condition: str = "published") -> dict[str, Any]:
    """Successes, episodes and first close {min, median, max} of a sweep under a condition; errors count as neither success nor failure."""
    from vla_tutorial.episodes import read_sweep

    return _counts([e for e in read_sweep(SWEEPS / folder).of(condition) if e.success is not None])


@cache
def swept() -> dict[str, dict[str, Any]]:
    """The sweep over conditions: condition → success, first close and what pairs with the published run say, where every pair is there."""
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.stats.pairs import paired

    sweep = read_sweep(SWEEPS / "conditions")
    ended = {
        name: [e for e in sweep.of(name) if e.success is not None] for name in sweep.conditions
    }
    outcomes = {
        name: {(e.task, e.init): bool(e.success) for e in found} for name, found in ended.items()
    }
    base = outcomes["published"]
    whole = [name for name in ended if outcomes[name].keys() == base.keys()]
    return {
        name: {**_counts(ended[name]), "p_value": paired(base, outcomes[name]).p_value}
        for name in whole
    }


def _counts(episodes: Sequence[Any]) -> dict[str, Any]:
    steps = sorted(e.first_close for e in episodes if e.first_close is not None)
    close = (
        {"min": steps[0], "median": statistics.median(steps), "max": steps[-1]} if steps else None
    )
    return {
        "episodes": len(episodes),
        "successes": sum(e.success for e in episodes),
        "first_close": close,
    }


def success_plot(names: Sequence[str]) -> str:
    """Success of `mini` under the published protocol and under conditions, as SVG; those that no sweep has whole are left out."""
    from vla_tutorial.plots.sweeps import Row, forest_figure, inline_svg
    from vla_tutorial.stats.rates import rate as measured

    found = {name: swept()[name] for name in ("published", *names) if name in swept()}
    rows = [Row(name, measured(f["successes"], f["episodes"])) for name, f in found.items()]
    said = "; ".join(f"{name} {f['successes']} of {f['episodes']}" for name, f in found.items())
    return inline_svg(
        forest_figure(rows, beside=True),
        f"success-{names[0]}",
        f"Success of mini by condition: {said}.",
    )


def verdict_plot() -> str:
    """What was wrong, against what the log alone says is wrong, of failed episodes, as SVG."""
    from vla_tutorial.plots.sweeps import confusion_figure, inline_svg

    matrix = json.loads((ROOT / "results" / "diagnosis_mini.json").read_text(encoding="utf-8"))[
        "confusion"
    ]
    rows = {kind: counts for kind, counts in matrix.items() if counts}
    said = "; ".join(
        f"{kind}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        for kind, counts in rows.items()
    )
    return inline_svg(
        confusion_figure(rows, VERDICTS),
        "verdicts",
        f"Verdicts of failed episodes by what was wrong. {said}.",
    )
