"""`vla-tutorial train evaluate`: which episodes its plans have, and that each plan is an ordinary sweep."""

import json

import numpy as np
import pytest
from sweep_fakes import Follow
from typer.testing import CliRunner

from vla_tutorial import policies
from vla_tutorial.actions import embedded_statistics
from vla_tutorial.cli.app import app
from vla_tutorial.episodes import read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import statistics_for
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.messages import EpisodeRequest, PolicyInfo
from vla_tutorial.sweep.plan import PLANS, PRACTICE_SEED, named_plan
from vla_tutorial.sweep.worker import Worker

SMALL = ["--tasks", "0", "--inits", "0-1", "--max-steps", "5", "--workers", "1"]


def test_plans_have_the_episodes_that_the_book_speaks_of():
    counts = {name: len(list(named_plan(name).specs())) for name in PLANS}
    assert counts == {
        "official": 500, "swap": 200, "named": 200, "no_flip": 200, "wrong_prompt": 200, "wrong_unnorm_key": 200, "practice": 100,
    }  # fmt: skip
    assert named_plan("swap").spec.suite == "libero_object_swap"


def test_a_wrong_plan_is_named():
    with pytest.raises(TutorialError, match=r"oficial.*official"):
        named_plan("oficial")


def test_practice_counts_from_seeds_of_its_own():
    spec, *_ = named_plan("practice", [3], [7]).specs()
    assert spec.layout_seed == spec.init == PRACTICE_SEED + 7


def test_the_wrong_key_finds_statistics_that_the_checkpoint_lacks():
    wiring, _ = next(named_plan("wrong_unnorm_key").specs()).settings()
    assert statistics_for(Follow(), wiring) == embedded_statistics()["bridge_orig"]
    published, _ = next(named_plan("official").specs()).settings()
    assert not published.embedded_statistics


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """The command, with simulators and a policy that cost nothing."""
    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "0")
    monkeypatch.setitem(policies.POLICIES, "mini", lambda **options: Follow())

    def run(*arguments):
        words = ["train", "evaluate", "--out", str(tmp_path), *SMALL, *arguments]
        return CliRunner().invoke(app, words)

    return run


def lines(folder):
    return [json.loads(text) for text in (folder / "episodes.jsonl").read_text().splitlines()]


def test_each_plan_is_a_sweep_that_resumes(evaluate, tmp_path):
    chosen = [w for name in ("named", "wrong_unnorm_key", "official") for w in ("--plan", name)]
    first = evaluate(*chosen, "--render-gpu", "1", "--no-engine")
    assert first.exit_code == 0, first.output
    assert first.output.index("official") < first.output.index("wrong_unnorm_key")
    assert "10 of 10 episodes" in first.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["named", "official", "wrong_unnorm_key"]
    assert read_sweep(tmp_path / "named").notes == ()
    named = lines(tmp_path / "named")
    assert [(e["target"], e["init"]) for e in named[:3]] == [
        ("salad_dressing_1", 0),
        ("salad_dressing_1", 1),
        ("cream_cheese_1", 0),
    ]
    assert [e["own_target"] for e in named] == [True, False] * 5
    assert all("target" not in e for e in lines(tmp_path / "official"))

    # One that is lost runs again; the old option is still accepted.
    path = tmp_path / "named/episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    second = evaluate(*chosen, "--resume")
    assert second.exit_code == 0 and "9 of 10" in second.output
    again = sorted(lines(tmp_path / "named"), key=lambda e: e["folder"])
    assert [e | {"seconds": 0} for e in again] == [
        e | {"seconds": 0} for e in sorted(named, key=lambda e: e["folder"])
    ]
    other = evaluate("--plan", "official", "--max-steps", "9")
    assert other.exit_code == 2 and "max_steps was 5 and is 9" in " ".join(other.output.split())


def test_after_the_time_nothing_is_begun(evaluate, tmp_path):
    result = evaluate("--seconds", "0")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "official").exists()


def test_bad_input_writes_nothing(evaluate, tmp_path):
    for wrong in (["--plan", "oficial"], ["--tasks", "10"], ["--inits", "all"]):
        result = evaluate(*wrong)
        assert result.exit_code == 2 and wrong[1] in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path):
    missing = str(tmp_path / "nothing")
    result = CliRunner().invoke(
        app, ["train", "evaluate", "--checkpoint", missing, "--out", str(tmp_path / "out"), *SMALL]
    )
    assert result.exit_code == 2
    assert missing in "".join(result.output.split())


class Still(Follow):
    """Holds the hand where it is."""

    def predict(self, batch):
        return np.full((len(batch), 7), 31872)


def test_another_object_and_a_random_layout_in_real_libero(tmp_path):
    policy = Still()
    worker = Worker(PolicyInfo.of(policy), policy.predict, lambda message: None)
    spec = EpisodeSpec(target="milk_1", layout_seed=PRACTICE_SEED, init=PRACTICE_SEED, max_steps=2)
    ended = worker.run(EpisodeRequest(spec, "none", tmp_path / "a", ("libero_object", 0, 256)))
    assert ended.own_target is False and ended.result.success is False
    assert 0 <= ended.travel < 0.05
    assert "the milk" in json.loads((tmp_path / "a/episode.json").read_text())["instruction"]
    wrong = EpisodeSpec(target="zebra_1", max_steps=1)
    failed = worker.run(EpisodeRequest(wrong, "none", tmp_path / "b", ("libero_object", 0, 256)))
    assert failed.blame == "episode" and "zebra_1" in failed.text
    worker.close()
