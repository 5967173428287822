"""The sweeps that were converted from older result files still say what those said."""

import json
import re
from pathlib import Path

import pytest

from vla_tutorial.episodes import read_sweep
from vla_tutorial.report.build import spread
from vla_tutorial.stats import rate

ROOT = Path(__file__).parents[2]
OLD = json.loads((ROOT / "tests/data/old_result_files.json").read_text())
SECTIONS = [(name, condition) for name in OLD if name != "about" for condition in OLD[name]]


@pytest.fixture(params=SECTIONS, ids="-".join)
def section(request):
    """(the sweep, its episodes under a condition, what the old file said of them)."""
    name, condition = request.param
    sweep = read_sweep(ROOT / "results/sweeps" / name)
    return sweep, sweep.of(condition), OLD[name][condition]


def counts(episodes):
    return [sum(e.success for e in episodes), len(episodes)]


def quantiles(numbers):
    """Rounded as the old files rounded."""
    found = spread(numbers)
    return found and {
        "min": found.least,
        "median": round(found.median, 4),
        "max": found.greatest,
    }


def test_counts_and_interval(section):
    sweep, episodes, old = section
    assert not sweep.notes and all(e.success is not None for e in episodes)
    assert counts(episodes) == [old["successes"], old["episodes"]]
    assert old.get("errors", 0) == 0
    interval = [round(end, 4) for end in rate(old["successes"], old["episodes"]).interval]
    assert interval == old.get("interval", interval)


def test_counts_by_task_and_by_target(section):
    _, episodes, old = section
    for key, attribute in (("per_task", "task"), ("per_named", "target")):
        for value, expected in old.get(key, {}).items():
            own = [e for e in episodes if str(getattr(e, attribute)) == value]
            assert counts(own) == expected
    instead = sum(e.own_target and not e.success for e in episodes if e.target)
    assert instead == old.get("own_target_instead", 0)


def test_first_close_and_length(section):
    _, episodes, old = section
    assert quantiles([e.first_close for e in episodes]) == old["first_close"]
    assert quantiles([e.steps for e in episodes if e.success]) == old["steps_of_successes"]
    never = sum(e.first_close is None for e in episodes)
    assert never == old.get("episodes_that_never_close", never)


def test_travel(section):
    sweep, episodes, old = section
    travel = quantiles([e.travel for e in episodes])
    if travel is None:
        travel = sweep.config["summary"]["farthest_m"][episodes[0].condition]
    assert travel == old["farthest_m"]


def test_single_closes_of_the_expert():
    found = read_sweep(ROOT / "results/sweeps/expert_published").config["summary"]
    for condition, old in OLD["expert_published"].items():
        expected = old["successes_with_one_close_and_one_open"]
        assert found["one_close_and_one_open"][condition] == expected


def test_a_converted_line_is_as_a_sweep_writes_it():
    for name in OLD:
        if name == "about":
            continue
        folder = ROOT / "results/sweeps" / name
        lines = (folder / "episodes.jsonl").read_text().splitlines(keepends=True)
        assert lines == [e.to_line() for e in read_sweep(folder).episodes]
        assert "results/" in json.loads((folder / "sweep.json").read_text())["converted_from"]


MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|Users|work|mnt|media)/[^\s\"']+|[A-Z]:\\\\")
"""A path that exists on one machine only. In a command /tmp or a bare name says as much."""


def test_no_result_names_a_path_of_the_machine_that_made_it():
    named = {}
    for path in (ROOT / "results").rglob("*.json"):
        found = MACHINE_PATH.findall(path.read_text(encoding="utf-8"))
        if found:
            named[str(path.relative_to(ROOT))] = found[:3]
    assert not named


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("--out /root/ev --workers 32", True),
        ("--out '/home/anna/x.json'", True),
        (r"C:\\Users\\anna", True),
        ("--out /tmp/ev", False),
        ("https://example.org/home/x", False),
    ],
)
def test_which_paths_are_refused(text, refused):
    assert bool(MACHINE_PATH.search(text)) == refused
