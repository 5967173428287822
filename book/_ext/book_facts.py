"""What the book's pages say that was measured, filled in when the site is built. No Sphinx here.

A page under `book/` is a Jinja template and `render` fills it. Values come from `results/*.json`,
from the sweeps (`book_sweeps.py`), from `claims.yml` and from the code's conditions. A value that
no result file holds stops the build.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import book_packs
import book_published
import book_sweeps
import jinja2
from book_claims import read_claims
from book_sweeps import Counted

from vla_tutorial import stats
from vla_tutorial.conditions import BOUNDARIES, CATALOGUE, changed_settings
from vla_tutorial.decoding import read_object
from vla_tutorial.episodes import Episode
from vla_tutorial.lab import sheet as lab_sheet
from vla_tutorial.recorded import CLIPS
from vla_tutorial.report import numbers
from vla_tutorial.report.build import Spread
from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING
from vla_tutorial.stats import Rate
from vla_tutorial.training.augment import Augmentation

ROOT = book_sweeps.ROOT
RESULTS = ROOT / "results"
CLAIMS = ROOT / "book" / "claims.yml"
TEMPLATES = Path(__file__).parent
"""What pages include: `boundary.md.jinja`."""

VERDICTS = {
    "holds": "what was tested comes out as the chapter says",
    "holds with a correction": "true once a detail is put right",
    "does not hold": "what was tested comes out otherwise",
    "needs the 7B checkpoint": "about the published weights, which were not run here",
}
"""Every verdict of the claims page, with its meaning."""

EARLY = 30
"""A first close before this control step is early: 95 % of mini's successful episodes close at
step 39 or later."""

FEW = 3
"""Whole episodes on a CPU of each condition in `RUN_ON_A_CPU` (benchmarks/NOTES.md)."""

RUN_ON_A_CPU = (
    "bilinear_resize", "wrist_camera", "padded_vocabulary", "mask_ignored",
    "min_max_statistics", "control_rate_10", "absolute_control",
)  # fmt: skip
"""Conditions that the sweep has not run yet, and a CPU has."""

SPACE = "\N{NO-BREAK SPACE}"


@cache
def results(name: str) -> dict[str, Any]:
    """The result file `results/<name>.json`."""
    remedy = "Run the benchmark again that writes it (benchmarks/README.md)."
    return read_object(RESULTS / f"{name}.json", dict[str, Any], remedy)


def value(address: str) -> Any:
    """The value at `file:key.key.0.key`, or the whole file at `file`.

    Raises:
        KeyError: the file has no such key. The error says which keys it has.
    """
    file, _, path = address.partition(":")
    found: Any = results(file)
    for key in filter(None, path.split(".")):
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, TypeError, ValueError) as e:
            held = list(found)[:20] if found else found
            raise KeyError(f"results/{file}.json has no {path!r}: no {key!r} in {held!r}") from e
    return found


def percent(share: float, decimals: int = 1) -> str:
    """0.964 → "96.4 %", in one piece."""
    return numbers.percent(share, SPACE, decimals)


def interval(successes: int, episodes: int, decimals: int = 1) -> str:
    """Wilson's interval: "94.4–97.7 %"."""
    found = stats.wilson(successes, episodes)
    return f"{numbers.dashed(found, decimals)}{SPACE}%"


def share(successes: int, episodes: int) -> str:
    """A share with its count and interval."""
    found = stats.rate(successes, episodes)
    counts = numbers.counts(found, SPACE)
    between = interval(successes, episodes)
    return f"{percent(found.rate)} ({counts}; 95{SPACE}% interval {between})"


def success(folder: str, condition: str = "published") -> str:
    """The success rate of a sweep under a condition, with count and interval."""
    found = book_sweeps.counted(folder, condition)
    return share(found.successes, found.episodes)


def headline(folder: str) -> str:
    """A sweep's published success rate with the interval over tasks first, then that of its own."""
    found = book_sweeps.counted(folder)
    tasks = {task: found.by_task(task) for task, _ in found.outcomes}
    mean = stats.suite_mean(tasks)
    between = interval(found.successes, found.episodes)
    over = f"none over {mean.tasks} tasks"
    if mean.interval:
        over = f"{numbers.dashed(mean.interval)}{SPACE}% over tasks"
    if mean.alike:
        over += ", where each task counts once since all ended alike"
    counts = numbers.counts(found.rate, SPACE)
    return f"{percent(found.rate.rate)} ({counts}; 95{SPACE}% interval {over}; {between} for these tasks)"


def seen(condition: str) -> str:
    """The success rate of `mini` under a condition of the sweep over conditions."""
    return success("conditions", condition)


def against_published(condition: str) -> str:
    """p of the exact McNemar test of a condition against the published run: "p < 0.0001"."""
    return numbers.p_value(book_sweeps.pairs(condition).p_value)


def spread(found: Spread) -> str:
    """Median and range in words."""
    return f"median {found.median:g}, from {found.least:g} to {found.greatest:g}"


def one_close(found: Counted) -> str:
    """Share of the successful episodes in which the gripper closes exactly once."""
    return share(sum(e.closes == 1 for e in found.successful), found.successes)


def caught(*sections: Counted) -> str:
    """Share of the failures in which the gripper never closes or closes before step `EARLY`."""
    failed = list(chain.from_iterable(section.failed for section in sections))
    return share(sum(map(closes_early, failed)), len(failed))


def false_alarms(found: Counted) -> str:
    """Share of the successes that the same rule would call failures."""
    return share(sum(map(closes_early, found.successful)), found.successes)


def closes_early(episode: Episode) -> bool:
    """Whether the gripper never closes, or closes before step `EARLY`."""
    return episode.first_close is None or episode.first_close < EARLY


def half_width(successes: int, episodes: int) -> str:
    """Half of Wilson's interval, in percentage points."""
    low, high = stats.wilson(successes, episodes)
    return numbers.digits((high - low) / 2)


def episodes_for(rate: float, points: float) -> int:
    """Episodes, to the next ten, that bring Wilson's interval within ± `points` points."""
    return round(stats.episodes_for_half_width(rate, points / 100), -1)


def machine(name: str) -> str:
    """The machine on which a result file was measured."""
    found = results(name)
    made = found.get("machine") or found.get("device") or "any machine"
    if "device" in made:
        made = made["device"]
    return numbers.describe_machine(made)


def software(name: str) -> str:
    """The versions that a result file records."""
    found = results(name)
    machine = found.get("machine", {})
    listed = found.get("versions")
    if not listed:
        listed = {k: v for k, v in machine.items() if k not in ("device", "date")}
    return _software(listed)


def _software(listed: Mapping[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in listed.items() if v != "unknown")


def results_listed() -> list[dict[str, Any]]:
    """Every result file and sweep: name, command, what it is about, machine, versions, date."""
    files = [_file_listed(path.stem) for path in sorted(RESULTS.glob("*.json"))]
    folders = sorted(book_sweeps.SWEEPS.glob("*/sweep.json"))
    return files + [_sweep_listed(path.parent) for path in folders]


def _file_listed(name: str) -> dict[str, Any]:
    found = results(name)
    made = found.get("machine")
    about = found.get("about") or found.get("weights")
    if not about:
        about = "A report on a sweep that is listed below." if "sweeps" in found else ""
    return {
        "name": f"{name}.json",
        "command": found["command"],
        "about": about,
        "machine": machine(name),
        "software": software(name),
        "date": found.get("date") or (made.get("date") if isinstance(made, dict) else None),
        "seconds": found.get("seconds"),
        "complete": found.get("complete", True),
    }


def _sweep_listed(folder: Path) -> dict[str, Any]:
    found = book_sweeps.listed(folder)
    return {
        **found,
        "machine": numbers.describe_machine(found["machine"]),
        "software": _software(found["versions"]),
    }


def conditions() -> list[dict[str, Any]]:
    """Every condition in the catalogue's order, with its changes (before, after) and results."""
    kept = ("name", "family", "boundary", "teaches", "claims", "seen_in", "level", "unit")
    found = []
    for condition in CATALOGUE.values():
        row = {key: getattr(condition, key) for key in kept}
        row["changes"] = changed_settings(condition, PUBLISHED_WIRING, PUBLISHED_SCENE)
        row["seen"] = book_sweeps.swept().get(condition.name)
        row["few"] = None if row["seen"] else _few(condition.name)
        found.append(row)
    return found


def _few(condition: str) -> Rate | None:
    """What `FEW` episodes on a CPU said of a condition, if it is one of `RUN_ON_A_CPU`."""
    if condition not in RUN_ON_A_CPU:
        return None
    failed: float = value(f"boundaries_mini:fails.{condition}")
    return stats.rate(FEW - round(failed * FEW), FEW)


def boundaries() -> list[dict[str, Any]]:
    """Every boundary: name, what it is, and its conditions, grouped by family."""
    found = []
    for name, about in BOUNDARIES.items():
        groups: dict[str, list[dict[str, Any]]] = {}
        for condition in conditions():
            if condition["boundary"] == name:
                groups.setdefault(condition["family"], []).append(condition)
        found.append({"name": name, "about": about, "groups": list(groups.values())})
    return found


def boundary(name: str) -> dict[str, Any]:
    """One of `boundaries`, by its name."""
    return next(found for found in boundaries() if found["name"] == name)


def lab_points() -> list[tuple[str, int, str]]:
    """The lab's questions: name, points, and what each is about; those that a person marks stand last."""
    found = [(name, most, about) for name, (most, about) in lab_sheet.QUESTIONS.items()]
    return found + [
        (name, most, f"{about} (marked by you)") for name, (most, about) in lab_sheet.OPEN.items()
    ]


def recorded_pairs() -> list[str]:
    """The combinations of conditions that the player's clips show, as Markdown."""
    combined = sorted({folder.name for folder in CLIPS.glob("*_*/*+*")})
    return [f"`{name}`".replace("+", "` with `") for name in combined]


def trained_light() -> float:
    """By what share of itself `mini`'s training changed the light of its pictures at most."""
    return Augmentation().light


def repository() -> str | None:
    """https address of the repository that this checkout belongs to, or None.

    GitHub's own variables in a workflow say it, else the remote `origin`.
    """
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    asked = subprocess.run(
        ["git", "remote", "get-url", "origin"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.match(
        r"(?:https://|git@|ssh://git@)([^/:]+)[/:](.+?)(?:\.git)?/?$", asked.stdout.strip()
    )
    return f"https://{match[1]}/{match[2]}" if match else None


def claims() -> list[dict[str, Any]]:
    """The chapter's claims, in the chapter's order, with every text filled."""
    listed = read_claims(CLAIMS)
    return [{k: _fill(v) if isinstance(v, str) else v for k, v in c.items()} for c in listed]


def packages() -> list[tuple[str, str]]:
    """(package, pinned version) of what this project asks for by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["book"], *extras["dev"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = dict(line.split("==") for line in lines if "==" in line)
    exact = {_canonical(package): version for package, version in pins.items()}
    names = {re.split(r"[=<>\[ ]", requirement)[0] for requirement in asked}
    return sorted((n, exact[_canonical(n)]) for n in names if _canonical(n) in exact)


def _canonical(package: str) -> str:
    return package.lower().replace("_", "-")


FUNCTIONS = (
    value, share, recorded_pairs, repository, trained_light, percent, interval, spread, success, headline, seen, against_published, one_close, caught,
    false_alarms, half_width, episodes_for, machine, results_listed, boundaries, boundary, conditions,
    claims, lab_points, packages, book_packs.packs, book_packs.packed, book_sweeps.counted, book_sweeps.swept, book_sweeps.pairs, book_sweeps.starts,
    book_sweeps.tasks, book_sweeps.summary, book_sweeps.success_plot, book_sweeps.verdict_plot,
    book_published.published_reruns, book_published.gap_range, book_published.gaps_plot, book_published.versions_plot,
    book_published.chance_gap, book_published.doctor_says,
)  # fmt: skip
"""What a page may call."""


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.globals.update({f.__name__: f for f in FUNCTIONS})
    made.globals.update(VERDICTS=VERDICTS, EARLY=EARLY, FEW=FEW, SPACE=SPACE)
    made.filters.update(cell=cell, anchor=anchor, plain=book_packs.plain, repr=repr)
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
