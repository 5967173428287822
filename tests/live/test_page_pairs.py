"""The page's episodes beside Python's: what `benchmarks/live_pairs.py` compares, and what it wrote."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from vla_tutorial.episodes import Episode, read_sweep

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "results" / "live_pairs.json"


def script(name):
    """A benchmark as a module; its types are decoded by name, so it must be known to Python."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pairs = script("live_pairs")


def pair(task, page, python, steps=(120, 118), verdict=None):
    outcome = "success" if python else "failure"
    there = Episode(
        "libero_object", task, 0, "published", python, outcome, steps[1], folder=f"e/{task}"
    )
    here = pairs.Row("published", task, 0, page, steps[0], verdict)
    return pairs.Pair(here, there)


def test_who_succeeds_is_counted_in_pairs():
    found = pairs.comparison(
        [pair(0, True, True), pair(1, False, True, (280, 118)), pair(2, True, True, (118, 118))]
    )
    assert (found["pairs"], found["python"], found["page"]) == (3, 3, 2)
    assert (found["only_python"], found["only_page"], found["mcnemar_p"]) == (1, 0, 1.0)
    assert found["steps_differ"] == {"median": 2, "most": 162, "equal": 1}


def test_starts_that_only_one_of_them_has_are_left_out():
    sweep = read_sweep(ROOT / "results" / "sweeps" / "cpu_rendering")
    rows = [pairs.Row("published", 3, init, True, 120) for init in (4, 5, 49)]
    found = pairs.pairs_of(pairs.PageRun(rows), "published", sweep)
    assert [(p.page.init, p.python.task, p.python.init) for p in found] == [(4, 3, 4)]


def test_verdicts_are_compared_where_both_are_known():
    some = [pair(0, False, False, verdict="pixels"), pair(1, False, False, verdict="policy")]
    some += [pair(2, False, False, verdict="pixels"), pair(3, False, False)]
    found = pairs.judged(some, {"e/0": "pixels", "e/1": "pixels", "e/3": "pixels"})
    assert (found["verdicts"]["alike"], found["verdicts"]["of"]) == (1, 2)
    assert found["verdicts"]["unlike"] == ["episodes/published/1_0"]


def test_the_committed_comparison_is_of_the_committed_episodes():
    kept = json.loads(RESULT.read_text())["comparisons"]
    assert kept
    for entry in kept:
        conditions = [name for name, value in entry.items() if isinstance(value, dict)]
        sweep = read_sweep(ROOT / entry["python"])
        found, _ = pairs.compared(ROOT / entry["page"], conditions, sweep)
        assert found == entry


@pytest.mark.parametrize("name", ["live_browser.json", "live_faults.json"])
def test_a_result_counts_its_own_rows(name):
    result = json.loads((ROOT / "results" / name).read_text())
    for condition, summary in result["conditions"].items():
        rows = [row for row in result["episodes"] if row["condition"] == condition]
        starts = {(row["task"], row["init"]) for row in rows}
        assert len(starts) == len(rows) == summary["episodes"]
        assert sum(row["success"] for row in rows) == summary["successes"]
