"""The README's success rates, with both intervals, are those of the recorded sweeps."""

import re
from pathlib import Path

import pytest

from vla_tutorial.episodes import read_sweep
from vla_tutorial.recorded import SWEEPS
from vla_tutorial.report import build_report, numbers

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|.*\| (\d+ of \d+)[^|]*\| ([^|]+)\| ([^|]+)\| `(\w+)` \|$", README, re.M)


@pytest.mark.parametrize(("counts", "over_tasks", "these", "folder"), ROWS)
def test_a_rate_with_both_intervals(counts, over_tasks, these, folder):
    (sweep,) = build_report([read_sweep(SWEEPS / folder)]).sweeps
    shown = [c for c in sweep.conditions if numbers.counts(c.rate) == counts]
    assert shown
    for condition in shown:
        star = "*" * condition.mean.alike
        assert over_tasks.strip() == f"{numbers.dashed(condition.mean.interval)} %{star}"
        assert these.strip() == f"{numbers.dashed(condition.rate.interval)} %"


def test_every_rate_of_the_table_is_looked_at():
    assert [folder for *_, folder in ROWS] == [
        "mini_official",
        "mini_swap",
        "mini_named",
        "mini_silent_failures",
    ]
