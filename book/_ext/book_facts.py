"""What the book's pages say that was measured: values from `results/*.json`, claims from `claims.yml`, conditions from the code.

A page under `book/` is a Jinja template. `render` fills it; a value that a result file does not hold stops the build. No Sphinx here.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import book_sweeps
import jinja2
import yaml

ROOT = book_sweeps.ROOT
RESULTS = ROOT / "results"
CLAIMS = ROOT / "book" / "claims.yml"

VERDICTS = {
    "holds": "what was tested comes out as the chapter says",
    "holds with a correction": "true once a detail is put right",
    "does not hold": "what was tested comes out otherwise",
    "needs the 7B checkpoint": "about the published weights, which were not run here",
}
"""Every verdict of the claims page, with what it means."""

EARLY = 30
"""A first close before this control step is early: 95 % of mini's successful episodes close at step 39 or later."""

SPACE = "\N{NO-BREAK SPACE}"


@cache
def results(name: str) -> dict[str, Any]:
    """The result file `results/<name>.json`."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def value(address: str) -> Any:
    """What stands at `file:key.key.0.key`, or the whole file at `file`.

    Raises:
        KeyError: the file holds no such thing; says what it holds.
    """
    file, _, path = address.partition(":")
    found: Any = results(file)
    for key in filter(None, path.split(".")):
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise KeyError(
                f"results/{file}.json has no {path!r}: no {key!r} in {list(found)[:20] if found else found!r}"
            ) from e
    return found


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, each end in [0, 1] (Wilson 1927)."""
    from vla_tutorial.stats import rates as stats

    return stats.wilson(successes, episodes)


def percent(share: float, digits: int = 1) -> str:
    """0.964 → "96.4 %"; a whole number of per cent stands without a decimal."""
    text = f"{100 * share:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + SPACE + "%"


def interval(successes: int, episodes: int, digits: int = 1) -> str:
    """Wilson's interval in words: "94.4–97.7 %"."""
    low, high = wilson(successes, episodes)
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}{SPACE}%"


def share(successes: int, episodes: int) -> str:
    """A share with its count and interval."""
    counted = f"{successes}{SPACE}of{SPACE}{episodes}"
    return f"{percent(successes / episodes)} ({counted}; 95{SPACE}% interval {interval(successes, episodes)})"


def rate(address: str) -> str:
    """The success rate of a section of a result file, with count and interval."""
    found = value(address)
    return share(found["successes"], found["episodes"])


def spread(address: str) -> str:
    """{min, median, max} in words."""
    found = value(address)
    return f"median {_tidy(found['median'])}, from {_tidy(found['min'])} to {_tidy(found['max'])}"


def _tidy(number: float) -> str:
    return f"{number:g}"


def one_close(address: str) -> str:
    """Shard of the successful episodes in which the gripper closes exactly once."""
    rows = [r for r in value(address)["rows"] if r["success"]]
    return share(sum(r["closes"] == 1 for r in rows), len(rows))


def failures(*addresses: str) -> list[dict[str, Any]]:
    """The failed episodes' rows of some sections."""
    return [r for a in addresses for r in value(a)["rows"] if r["success"] is False]


def caught(*addresses: str) -> str:
    """Shard of the failures in which the gripper never closes or closes before step `EARLY`."""
    rows = failures(*addresses)
    return share(sum(r["first_close"] is None or r["first_close"] < EARLY for r in rows), len(rows))


def false_alarms(address: str) -> str:
    """Shard of the successes that the same rule would call failures."""
    rows = [r for r in value(address)["rows"] if r["success"]]
    return share(sum(r["first_close"] is None or r["first_close"] < EARLY for r in rows), len(rows))


def half_width(successes: int, episodes: int) -> str:
    """Half of Wilson's interval, in percentage points."""
    low, high = wilson(successes, episodes)
    return f"{50 * (high - low):.1f}"


def episodes_for(rate: float, points: float) -> int:
    """Episodes after which Wilson's interval at this success rate is within ± `points` percentage points (to the next ten)."""
    n = 10
    while wilson(round(rate * n), n)[1] - wilson(round(rate * n), n)[0] > 2 * points / 100:
        n += 10
    return n


def machine(name: str) -> str:
    """What a result file was measured on."""
    found = results(name)
    return _machine(found.get("machine", found.get("device", "")))


def _machine(made: Any) -> str:
    if isinstance(made, str):
        return made or "any machine"
    if "device" in made:
        return str(made["device"])
    gpus = made["gpus"]
    names = (
        f"{len(gpus)} × {gpus[0]}"
        if len(set(gpus)) == 1 and len(gpus) > 1
        else ", ".join(gpus) or "no GPU"
    )
    return f"{names}; {made['cpus']} × {made['cpu']}"


def software(name: str) -> str:
    """The versions that a result file records."""
    found = results(name)
    return _software(
        found.get("versions")
        or {k: v for k, v in found.get("machine", {}).items() if k not in ("device", "date")}
    )


def _software(listed: Mapping[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in listed.items() if v != "unknown")


def results_listed() -> list[dict[str, Any]]:
    """Every result file: name, command, machine, versions, date, whether it is complete, and what it is about."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        found, name = results(path.stem), path.stem
        made = found.get("date") or (
            found["machine"].get("date") if isinstance(found.get("machine"), dict) else None
        )
        rows.append(
            {
                "name": f"{name}.json",
                "command": found["command"],
                "about": found.get("about")
                or found.get("weights")
                or ("A report on a sweep that is listed below." if "sweeps" in found else ""),
                "machine": machine(name),
                "software": software(name),
                "date": made,
                "seconds": found.get("seconds"),
                "complete": found.get("complete", True),
            }
        )
    return rows + [
        _sweep_listed(path.parent) for path in sorted(book_sweeps.SWEEPS.glob("*/sweep.json"))
    ]


def _sweep_listed(folder: Path) -> dict[str, Any]:
    found = book_sweeps.listed(folder)
    return {
        **found,
        "machine": _machine(found["machine"]),
        "software": _software(found["versions"]),
        "seconds": None,
    }


def conditions() -> list[dict[str, Any]]:
    """Every condition of the catalogue, in its order, with the settings that it changes (before, after) and how `mini` did."""
    from vla_tutorial.conditions import CATALOGUE, changed_settings
    from vla_tutorial.scene import Scene
    from vla_tutorial.wiring import Wiring

    wiring, scene = Wiring(unnorm_key="libero_object"), Scene("libero_object", task=0, init=0)
    kept = ("name", "family", "boundary", "teaches", "claims", "seen_in", "level", "unit")
    return [
        {
            **{key: getattr(c, key) for key in kept},
            "changes": changed_settings(c, wiring, scene),
            "seen": _seen(c.name),
        }
        for c in CATALOGUE.values()
    ]


def boundaries() -> list[dict[str, Any]]:
    """Every boundary: name, what it is, and its conditions, those that differ in level or number only grouped together."""
    from vla_tutorial.conditions import BOUNDARIES

    found = []
    for name, about in BOUNDARIES.items():
        groups: dict[str, list[dict[str, Any]]] = {}
        for condition in conditions():
            if condition["boundary"] == name:
                groups.setdefault(condition["family"], []).append(condition)
        found.append({"name": name, "about": about, "groups": list(groups.values())})
    return found


def _seen(condition: str) -> dict[str, Any] | None:
    """How `mini` did under a condition; None where no sweep has all its episodes."""
    return book_sweeps.swept().get(condition)


def seen(condition: str) -> str:
    """The success rate of `mini` under a condition, with count and interval."""
    found = book_sweeps.swept()[condition]
    return share(found["successes"], found["episodes"])


def sweep_rate(folder: str) -> str:
    """The success rate under the published protocol of the sweep in `results/sweeps/<folder>`, with count and interval."""
    found = book_sweeps.counted(folder)
    return share(found["successes"], found["episodes"])


def mysteries() -> dict[str, str]:
    """The lab's unnamed episodes: letter → condition."""
    from vla_tutorial.lab.unlabelled import UNLABELLED

    return dict(UNLABELLED)


def pairs(condition: str) -> tuple[int, int]:
    """Starts from which only the published wiring succeeds, and only the condition."""
    found = results("mini_conditions")
    base = {(r["task"], r["init"]): r["success"] for r in found["baseline"]["rows"]}
    both = [
        (base[r["task"], r["init"]], r["success"]) for r in found["conditions"][condition]["rows"]
    ]
    return sum(a and not b for a, b in both), sum(b and not a for a, b in both)


def claims() -> list[dict[str, Any]]:
    """The chapter's claims, in the chapter's order, with every text filled."""
    listed: list[dict[str, Any]] = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
    return [{k: _fill(v) if isinstance(v, str) else v for k, v in c.items()} for c in listed]


def packages() -> list[tuple[str, str]]:
    """(package, pinned version) of what this project asks for by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + [
        p for extra in ("book", "dev") for p in project["optional-dependencies"][extra]
    ]
    names = [re.split(r"[=<>\[ ]", p)[0] for p in asked]
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
        if "==" in line
    )
    exact = {k.lower().replace("_", "-"): v for k, v in pins.items()}
    return sorted(
        {
            (n, exact[n.lower().replace("_", "-")])
            for n in names
            if n.lower().replace("_", "-") in exact
        }
    )


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    functions = (
        value, rate, share, percent, interval, spread, one_close, failures, caught, false_alarms, half_width, episodes_for, machine,
        software, results_listed, boundaries, conditions, claims, mysteries, pairs, packages, results, seen, sweep_rate,
        book_sweeps.counted, book_sweeps.swept, book_sweeps.success_plot, book_sweeps.verdict_plot,
    )  # fmt: skip
    made.globals.update(
        {f.__name__: f for f in functions}, VERDICTS=VERDICTS, EARLY=EARLY, SPACE=SPACE
    )
    made.filters |= {"cell": cell, "anchor": anchor}
    return made


def cell(text: Any) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def anchor(verdict: str) -> str:
    """A verdict as a CSS class."""
    return verdict.lower().replace(" ", "-")


def _fill(text: str, **more: Any) -> str:
    return _environment().from_string(text).render(**more)


def render(source: str, extra: Mapping[str, Any] | None = None) -> str:
    """A page of the book with every value filled in."""
    return _fill(source, **(extra or {}))


def pages() -> Sequence[Path]:
    """The book's own pages."""
    return sorted((ROOT / "book").glob("*.md"))
