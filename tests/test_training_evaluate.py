"""Closed-loop figures: what is planned, who runs it, what becomes of errors, and one small run in processes."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from typer.testing import CliRunner

from vla_tutorial.cli import app
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import statistics_for
from vla_tutorial.ranges import parse_numbers
from vla_tutorial.training import desk, episodes
from vla_tutorial.training.desk import Desk, share
from vla_tutorial.training.evaluate import left
from vla_tutorial.training.plans import PLANS, Job, others, plan_jobs
from vla_tutorial.training.results import Report, layout, rate, summary


def entry(task=0, init=0, success=True, plan="official", **more):
    own = {"plan": plan, "suite": "libero_object", "task": task, "init": init, "conditions": [], "named": None, "own_target": success}
    told = {"task_instruction": f"do {task}", "instruction": f"do {task}", "renderer": "soft"}
    return {**own, **told, "success": success, "steps": 100 + init, "first_close": 40, "closes": 1, "farthest_m": 0.3, **more}


def error(**more):
    kept = ("plan", "suite", "task", "init", "conditions", "named")
    return {**{k: v for k, v in entry(**more).items() if k in kept}, "error": "it broke"}


def test_plans_have_the_episodes_that_the_book_speaks_of():
    counts = {name: sum(len(job.inits) for job in plan_jobs([name])) for name in PLANS}
    assert counts == {
        "official": 500, "swap": 200, "named": 200, "no_flip": 200, "wrong_prompt": 200, "wrong_unnorm_key": 200, "practice": 100,
    }  # fmt: skip
    assert {job.plan for job in plan_jobs(["named"])} == {"named"}
    assert {job.suite for job in plan_jobs(["swap"])} == {"libero_object_swap"}


def test_official_comes_first_and_a_wrong_plan_is_named():
    assert [job.plan for job in plan_jobs(["no_flip", "official"], tasks=[3], inits=[7])] == ["official", "no_flip"]
    assert plan_jobs(["swap"], [3], [7])[0].inits == (7,)
    with pytest.raises(TutorialError, match="Did you mean 'official'"):
        plan_jobs(["oficial"])


def test_others_are_neither_target_nor_basket():
    assert others(0) == ("salad_dressing_1", "cream_cheese_1", "milk_1", "tomato_sauce_1", "butter_1")
    assert all(len(set(others(task))) == 5 for task in range(10))


def test_a_named_job_asks_for_its_object():
    assert (
        Job("libero_object", 0, (2,), named="bbq_sauce_1").settings()[1].instruction == "pick up the bbq sauce and place it in the basket"
    )
    assert Job("libero_object", 0, (2,)).settings()[1].instruction is None


def test_the_wrong_key_finds_statistics_that_the_checkpoint_lacks():
    wiring, _ = plan_jobs(["wrong_unnorm_key"])[0].settings()
    assert statistics_for(Quiet(), wiring) == statistics_of("bridge_orig")
    published, _ = plan_jobs(["official"])[0].settings()
    assert not published.embedded_statistics


def statistics_of(key):
    from vla_tutorial.actions import embedded_statistics

    return embedded_statistics()[key]


def test_workers_are_shared_out_by_episodes():
    counts = {("a", 0): 130, ("a", 1): 130, ("b", 0): 20}
    assert Counter(share(counts, 9)) == {("a", 0): 4, ("a", 1): 4, ("b", 0): 1}
    assert share(counts, 2) == [("a", 0), ("a", 1)]
    assert len(share(counts, 40)) == 40


def test_numbers_are_ranges_and_lists():
    assert parse_numbers("0-3") == (0, 1, 2, 3)
    assert parse_numbers("0,7-8") == (0, 7, 8)
    for wrong, why in (("7-3", "backwards"), ("all", "no list"), ("", "no list"), ("1-", "no list")):
        with pytest.raises(TutorialError, match=why):
            parse_numbers(wrong)


def test_success_with_wilsons_interval_and_errors_apart():
    found = rate([entry(init=i, success=i < 9) for i in range(10)] + [error(init=10)])
    assert found == {"episodes": 10, "errors": 1, "successes": 9, "success_rate": 0.9, "interval": [0.5958, 0.9821]}  # Wilson (1927)
    assert rate([entry(init=i) for i in range(500)])["interval"] == [0.9924, 1.0]
    assert rate([error()])["success_rate"] is None


def test_summary_goes_by_task_and_lists_rows():
    found = summary([entry(1, 1), entry(1, 0, success=False, first_close=None), entry(0, 0), error(task=0, init=1)])
    assert [(t["task"], t["instruction"], t["successes"], t["episodes"]) for t in found["per_task"]] == [
        (0, "do 0", 1, 1),
        (1, "do 1", 1, 2),
    ]
    assert found["steps_of_successes"]["median"] == 100.5
    assert found["rows"][0] == {"task": 0, "init": 0, "success": True, "steps": 100, "first_close": 40, "closes": 1}
    assert found["rows"][1] == {"task": 0, "init": 1, "success": None, "error": "it broke"}


def test_summary_of_named_objects_says_when_the_own_target_came_instead():
    found = summary([entry(named="milk_1", success=False, own_target=True), entry(named="butter_1", own_target=False)])
    assert found["own_target_instead"] == 1
    assert [g["named"] for g in found["per_named"]] == ["butter_1", "milk_1"]


def test_result_files_are_json_with_a_row_a_line(tmp_path, read_json):
    report = Report(tmp_path / "out", {"official": 2, "no_flip": 1})
    report.facts = {"command": "test", "machine": {"gpus": []}, "protocol": {"max_steps": 280}}
    for one in (entry(0, 0), entry(0, 1), entry(0, 0, success=False, plan="no_flip", conditions=["no_flip"])):
        report.add(one)
    report.write()
    official, conditions = (read_json(tmp_path / "out" / f"mini_{name}.json") for name in ("libero_object", "conditions"))
    assert official["complete"] and official["episodes"] == 2 and official["protocol"] == {"max_steps": 280, "renderer": ["soft"]}
    assert conditions["conditions"]["no_flip"]["success_rate"] == 0
    assert [r["init"] for r in conditions["baseline"]["rows"]] == [0]
    assert len((tmp_path / "out/episodes.jsonl").read_text().splitlines()) == 3
    assert '\n  {"task": 0, "init": 1, "success": true' in (tmp_path / "out/mini_libero_object.json").read_text()
    with pytest.raises(TutorialError, match=r"already holds episodes\.jsonl"):
        Report(tmp_path / "out", {})


def test_a_resumed_run_keeps_what_has_ended_and_plans_the_rest(tmp_path):
    report = Report(tmp_path, {"official": 4})
    for e in (entry(0, 0), entry(0, 1, False), error(init=2)):
        report.add(e)
    with (tmp_path / "episodes.jsonl").open("a") as file:
        file.write('{"plan": "offi')  # killed while it wrote
    again = Report(tmp_path, {"official": 4}, resume=True)
    assert again.entries == [entry(0, 0), entry(0, 1, False)]
    assert len((tmp_path / "episodes.jsonl").read_text().splitlines()) == 2
    jobs = [Job("libero_object", 0, (0, 1, 2)), Job("libero_object", 1, (0,))]
    assert [(job.task, job.inits) for job in left(jobs, again.entries)] == [(0, (2,)), (1, (0,))]
    (tmp_path / "run.json").write_text('{"weights": "a"}')
    with pytest.raises(TutorialError, match=r"episodes of another run: run\.json says .*a.*, expected .*b"):
        Report(tmp_path, {"official": 4}, resume=True).belongs_to({"weights": "b"})
    (tmp_path / "episodes.jsonl").write_text("{}\n")
    with pytest.raises(TutorialError, match="line 1 is not an episode"):
        Report(tmp_path, {"official": 4}, resume=True)


def test_an_unfinished_run_says_so(tmp_path, read_json):
    report = Report(tmp_path, {"official": 2, "swap": 1})
    report.add(error())
    report.write()
    found = read_json(tmp_path / "mini_libero_object.json")
    assert not found["complete"] and found["errors"] == 1 and found["episodes"] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episodes.jsonl", "mini_libero_object.json"]


def test_layout_is_json():
    value = {"a": [1, None], "b": {"c": [{"d": "ü"}, {"d": 2}], "e": {}}, "f": []}
    assert json.loads(layout(value)) == value


def test_workers_modules_leave_torch_out():
    code = "import sys, vla_tutorial.training.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Quiet:
    """Answers "do nothing" at once."""

    name, privileged, provenance = "quiet", False, {}
    statistics = {"libero_object": statistics_of("libero_object")}  # noqa: RUF012

    def predict(self, batch):
        raise AssertionError("nobody asks")


def die(asks, desk):
    """A worker that takes an episode and is killed."""
    desk.send(None)
    desk.recv()
    os._exit(9)


def stumble(asks, desk):
    """A worker that reports an error for each episode."""
    desk.send(None)
    while (job := desk.recv()) is not None:
        desk.send({**job.label(), "error": "it broke"})


def test_workers_that_die_end_the_run_with_errors(monkeypatch):
    monkeypatch.setattr(desk, "work", die)
    desk_ = Desk([Job("libero_object", 0, (0, 1, 2))], 2, lambda entry: None)
    desk_.start()
    with pytest.raises(TutorialError, match="episodes left"):
        desk_.serve(Quiet())
    assert 1 <= len(desk_.entries) == 3 - desk_.left  # each episode that was begun is accounted for, and tried twice where a worker is left
    assert all("process ended" in e["error"] for e in desk_.entries)


def test_the_desk_hands_out_everything_and_moves_workers(monkeypatch):
    monkeypatch.setattr(desk, "work", stumble)
    jobs = [Job("libero_object", task, tuple(range(4))) for task in range(3)]
    seen = []
    found = desk.evaluate(Quiet(), jobs, 2, seen.append)
    assert [(e["task"], e["init"]) for e in found] == [(t, i) for t in range(3) for i in range(4)]
    assert len(seen) == 12


def test_a_lone_worker_runs_official_everywhere_before_the_rest(monkeypatch):
    monkeypatch.setattr(desk, "work", stumble)
    seen = []
    desk.evaluate(Quiet(), plan_jobs(["no_flip", "official"], [0, 1], [0, 1]), 1, seen.append)
    assert [e["plan"] for e in seen] == ["official"] * 4 + ["no_flip"] * 4


def test_after_the_time_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(desk, "work", stumble)
    desk_ = Desk([Job("libero_object", 0, (0, 1))], 1, lambda entry: None, until=0.0)
    desk_.start()
    assert desk_.serve(Quiet()) == []
    assert desk_.left == 2


def test_what_cannot_be_written_ends_the_run(monkeypatch):
    def full(entry):
        raise OSError("No space left on device")

    monkeypatch.setattr(desk, "work", stumble)
    with pytest.raises(OSError, match="No space left"):
        desk.evaluate(Quiet(), [Job("libero_object", 0, (0, 1))], 1, full)


class Goal:
    """A simulator whose own goal holds from step 1, and in whose basket the milk is from step 3."""

    def __init__(self):
        self.steps = 0

    def step(self, action):
        self.steps += 1
        return "seen", 1.0, self.steps >= 1

    def inside(self, name, region):
        return (name, region) == ("milk_1", "basket_1_contain_region") and self.steps >= 3


def test_a_named_episode_ends_with_the_named_object_alone():
    stage = episodes._Named(Goal(), "milk_1")
    assert [stage.step(None)[1:] for _ in range(3)] == [(0.0, False), (0.0, False), (1.0, True)]
    assert stage.own


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The least model that has OpenVLA's shape, untrained."""
    from vla_tutorial.openvla.config import LlamaConfig, OpenVLAConfig, VisionConfig, ViTConfig
    from vla_tutorial.openvla.model import OpenVLA
    from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer, write_checkpoint

    vit = ViTConfig(dim=32, depth=2, heads=2, mlp_hidden=64, registers=0, output_block=-1)
    llama = LlamaConfig(32, 64, 2, 2, vocab_size=CONFIG.llama.vocab_size, max_position_embeddings=128)
    small = OpenVLAConfig(VisionConfig(224, 56, vit, vit), llama, CONFIG.padding, CONFIG.empty_token_id)
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(initialise(OpenVLA(small)), train_tokenizer(["pick up the milk and place it in the basket"]), folder, {})
    return folder


def test_a_small_run(checkpoint, tmp_path, read_json, capsys):
    plans = [word for name in ("official", "named", "wrong_unnorm_key", "practice") for word in ("--plan", name)]
    options = ["--workers", "1", "--device", "cpu", "--tasks", "0", "--inits", "0", "--max-steps", "3", "--seconds", "900"]
    result = CliRunner().invoke(
        app, ["train", "evaluate", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), *plans, *options]
    )
    assert result.exit_code == 0, result.output
    entries = [json.loads(line) for line in (tmp_path / "out/episodes.jsonl").read_text().splitlines()]
    assert [e.get("error") for e in entries] == [None] * 8
    assert [e["plan"] for e in entries] == ["official", *["named"] * 5, "wrong_unnorm_key", "practice"]
    assert [e["named"] for e in entries[1:6]] == list(others(0))
    assert len({e["renderer"] for e in entries}) == 1
    assert all(e["steps"] == 3 and not e["success"] for e in entries)
    official, named = (read_json(tmp_path / f"out/mini_{name}.json") for name in ("libero_object", "named"))
    assert official["complete"] and named["complete"]
    assert official["protocol"]["max_steps"] == 3 and official["protocol"]["dtype"] == "float32"
    assert named["per_named"][0]["instruction"] == "pick up the butter and place it in the basket"
    assert "8 of 8 episodes" in result.output


def test_a_broken_episode_is_an_error_and_the_worker_goes_on(checkpoint):
    from vla_tutorial.policies.model import load_model_policy

    policy = load_model_policy("mini", checkpoint, device="cpu")
    jobs = [Job("libero_object", 0, (0,), named="zebra_1", max_steps=1), Job("libero_object", 0, (1,), max_steps=1)]
    broken, good = sorted(desk.evaluate(policy, jobs, 1), key=lambda e: e["init"])
    assert "zebra_1" in broken["error"]
    assert good["success"] is False


def test_a_missing_checkpoint_is_told(tmp_path):
    options = ["--workers", "1", "--device", "cpu", "--tasks", "0", "--inits", "0"]
    result = CliRunner().invoke(
        app, ["train", "evaluate", "--checkpoint", str(tmp_path / "nothing"), "--out", str(tmp_path / "out"), *options]
    )
    assert result.exit_code == 2
    assert "nothing" in result.output
