"""The sweeps that measure a policy of several suites, and the table of what came out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vla_tutorial.cli.app import app
from vla_tutorial.conditions.catalogue import CATALOGUE
from vla_tutorial.errors import TutorialError
from vla_tutorial.sweep.evaluation import EVALUATION, GROUPS, VARIANTS, chosen_plans

RESULTS = Path(__file__).parents[2] / "results" / "sweeps"


def episodes(name: str, policy: str = "mini") -> int:
    return sum(len(list(plan.specs())) for plan in chosen_plans([name], policy).values())


def test_the_evaluation_has_the_episodes_that_its_help_says() -> None:
    counts = {name: episodes(name) for name in ("suites", "pro", "words", "conditions")}
    conditions = 20 * (len(CATALOGUE) + 12)
    assert counts == {"suites": 2000, "pro": 1600, "words": 400, "conditions": conditions}
    # The catalogue grows.
    counts["conditions"] = round(conditions, -2)
    text = CliRunner().invoke(app, ["train", "evaluate", "--help"], env={"COLUMNS": "300"}).output
    said = [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) episodes,", text)]
    said += [
        int(found.replace(",", ""))
        for found in re.findall(r"(?:pro|words|conditions) (?:about )?([\d,]+)", text)
    ]
    assert sorted(said) == sorted(counts.values())
    assert set(GROUPS["all"]) == set(EVALUATION)


def test_every_plan_can_be_run() -> None:
    """Suites, saved states and conditions exist; the plans' names are their suites'."""
    for name, plan in chosen_plans(["all"], tasks=[9]).items():
        plan.check()
        assert name.startswith(plan.spec.suite)


def test_a_policy_of_one_suite_gets_the_plans_of_that_suite() -> None:
    plans = chosen_plans(["all"], "mini-narrow")
    assert list(plans) == [
        "libero_object",
        *(f"libero_object_{variant}" for variant in VARIANTS),
        "libero_object_words",
        "libero_object_conditions",
    ]
    assert {plan.spec.policy for plan in plans.values()} == {"mini-narrow"}
    with pytest.raises(TutorialError, match="published places"):
        chosen_plans(["libero_goal"], "mini-narrow")
    with pytest.raises(TutorialError, match="libero_gaol"):
        chosen_plans(["libero_gaol"])


def test_plans_can_be_made_small_and_come_once() -> None:
    plans = chosen_plans(["words", "official", "libero_10_words"], inits=[3], checkpoint="run/mini")
    assert list(plans) == ["official", *GROUPS["words"]]
    for plan in plans.values():
        assert plan.inits == (3,)
        assert plan.spec.checkpoint == "run/mini"


def test_the_table_has_a_row_a_condition(tmp_path: Path) -> None:
    for name in ("mini_official", "mini_silent_failures"):
        (tmp_path / name).symlink_to(RESULTS / name)
    # One that has only begun is left out.
    (tmp_path / "begun").mkdir()
    config = (RESULTS / "mini_official" / "sweep.json").read_text()
    (tmp_path / "begun" / "sweep.json").write_text(config)
    result = CliRunner().invoke(app, ["train", "table", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Left out" in result.stderr
    head, _, *rows = result.stdout.splitlines()
    assert head.startswith("| sweep | suite |")
    assert "| mini_official | libero_object | mini" in rows[0]
    assert "| published | 500/500 | 100 | 72.2–100* |" in rows[0]
    assert [row.split("|")[4].strip() for row in rows[1:]] == [
        "published",
        "no_flip",
        "wrong_prompt",
        "wrong_unnorm_key",
    ]


def test_folders_without_sweeps_are_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "table", str(tmp_path)])
    assert result.exit_code == 2
    assert "No sweep in" in result.output
