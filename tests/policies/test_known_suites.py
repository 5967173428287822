"""Which suites a policy knows, and what is said of others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import load_policy, native_key, unfamiliar, warn_of_suite
from vla_tutorial.policies.suites import packaged_weights
from vla_tutorial.spec import EpisodeSpec


def checkpoint(folder: Path, *suites: str) -> str:
    folder.mkdir()
    (folder / "dataset_statistics.json").write_text(json.dumps({name: {} for name in suites}))
    return str(folder)


@pytest.mark.parametrize(
    ("suites", "suite", "key"),
    [
        (("libero_object",), "libero_goal", "libero_object"),
        (("libero_spatial", "libero_object", "libero_10"), "libero_10_swap", "libero_10"),
        (("libero_spatial", "libero_object"), "libero_90", "libero_object"),
        (("libero_spatial", "libero_goal"), "libero_90", "libero_spatial"),
        (("libero_goal",), "libero_goal_lan", "libero_goal"),
        ((), "libero_goal", "libero_object"),
    ],
)
def test_a_small_policy_takes_the_statistics_of_the_suites_that_it_knows(
    suites: tuple[str, ...], suite: str, key: str, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / "mini", *suites)
    assert native_key("mini", suite, folder) == key
    # Without statistics: loading will say what is wrong.
    assert native_key("mini", suite, str(tmp_path / "none")) == "libero_object"


def test_the_narrow_policy_runs_on_its_suite_alone(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "narrow", "libero_object")
    assert native_key("mini-narrow", "libero_object_swap", folder) == "libero_object"
    with pytest.raises(TutorialError, match="published places of libero_object alone"):
        native_key("mini-narrow", "libero_goal", folder)


@pytest.mark.skipif(packaged_weights("mini-narrow").is_dir(), reason="its weights ship")
def test_missing_weights_are_named_with_the_remedy() -> None:
    with pytest.raises(TutorialError, match="--recipe mini-narrow"):
        load_policy("mini-narrow")


def policy(*keys: str, privileged: bool = False) -> Any:
    statistics = dict.fromkeys(keys, None)
    return SimpleNamespace(
        name="mini",
        privileged=privileged,
        statistics=statistics,
        provenance={"checkpoint": "run/mini"},
    )


def test_a_suite_that_a_policy_does_not_know_is_said_in_a_sentence() -> None:
    assert unfamiliar(policy("libero_object"), "libero_object_lan") == ""
    assert unfamiliar(policy("libero_10_no_noops"), "libero_10") == ""
    assert unfamiliar(policy("libero_object", privileged=True), "libero_goal") == ""
    assert unfamiliar(policy(), "libero_goal") == ""
    assert unfamiliar(policy("libero_4_task_suites_no_noops"), "libero_10_swap") == ""
    assert unfamiliar(policy("libero_4_task_suites_no_noops"), "libero_90")
    said = unfamiliar(policy("libero_object", "libero_10"), "libero_goal_swap")
    assert said.startswith("mini does not know libero_goal: its checkpoint was trained on lib")
    assert "libero_10, libero_object." in said


def test_the_warning_comes_before_the_run_and_stays_in_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = EpisodeSpec("libero_goal").load_policy()
    (record,) = [one for one in caplog.records if "does not know" in one.getMessage()]
    assert found.provenance["warning"] == record.getMessage()
    # The same policy in the suite that it knows.
    warn_of_suite(found, "libero_object_swap")
    assert "warning" not in found.provenance
    assert found.provenance["checkpoint"] == "vla_tutorial/weights/mini"


def test_an_own_statistics_key_does_not_get_round_the_refusal() -> None:
    with pytest.raises(TutorialError, match="published places"):
        EpisodeSpec("libero_goal", policy="mini-narrow", unnorm_key="libero_object").check()
