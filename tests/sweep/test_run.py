"""Sweeps of real LIBERO: the command, its records, and results that do not depend on the number of workers."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vla_tutorial.sweep
from vla_tutorial.cli.sweep import describe_progress
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep import (
    LocalEngine,
    SweepPlan,
    SweepProgress,
    load_policy_for,
    prompts_of,
    run_sweep,
)
from vla_tutorial.sweep.messages import EpisodeRequest, PolicyInfo
from vla_tutorial.sweep.policy_server import best_batch_size
from vla_tutorial.sweep.worker import Worker

ROOT = Path(__file__).parents[2]
SWEEP = ["sweep", "--suite", "libero_object", "--policy", "expert"]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "vla_tutorial.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def lines(folder):
    return [json.loads(text) for text in (folder / "episodes.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "s"
    conditions = ["--condition", "published", "--condition", "gripper_inverted"]
    done = command(
        *SWEEP,
        "--tasks",
        0,
        "--inits",
        "0-1",
        "--max-steps",
        6,
        "--workers",
        1,
        "--video",
        "failures",
        *conditions,
        "--out",
        folder,
    )
    return folder, done


def test_the_command_runs_everything_and_says_what_to_do_next(small):
    folder, done = small
    assert done.returncode == 0, done.stderr
    assert (
        "4 of 4 episodes: 0 successes, 4 failures (0.0% of those that ended); no errors."
        in done.stdout
    )
    assert f"vla-tutorial report {folder}" in done.stdout
    assert [(e["condition"], e["init"]) for e in lines(folder)] == [
        (c, i) for c in ("published", "gripper_inverted") for i in (0, 1)
    ]


def test_lines_have_the_keys_that_others_read(small):
    first = lines(small[0])[0]
    keys = "suite task init condition success outcome steps first_close closes seconds attempt folder error travel"
    assert list(first) == keys.split()
    assert 0 < first["travel"] < 0.3
    assert first == {
        **first,
        "suite": "libero_object", "success": False, "outcome": "failure", "steps": 6, "first_close": None, "closes": 0, "attempt": 1,
        "folder": "episodes/published/0_0", "error": None,
    }  # fmt: skip
    inverted = lines(small[0])[2]
    assert (inverted["first_close"], inverted["closes"]) == (0, 1)


def test_records_are_those_of_a_rollout(small, tmp_path):
    done = command(
        "rollout", *SWEEP[1:], "--task", 0, "--init", 1, "--max-steps", 6, "--out", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    folder = small[0] / "episodes/published/0_1"
    assert {p.name for p in folder.iterdir()} == {
        "steps.jsonl",
        "episode.json",
        "agentview.png",
        "camera.png",
        "episode.mp4",
        "gripper.png",
    }
    for name in ("steps.jsonl", "agentview.png", "episode.mp4"):
        assert (folder / name).read_bytes() == (tmp_path / "r" / name).read_bytes()
    ours, theirs = (json.loads((f / "episode.json").read_text()) for f in (folder, tmp_path / "r"))
    assert ours | {"seconds": 0} == theirs | {"seconds": 0}


def test_sweep_json_says_what_was_run(small, read_json):
    found = read_json(small[0] / "sweep.json")
    assert (found["tasks"], found["inits"], found["conditions"]) == (
        [0],
        [0, 1],
        ["published", "gripper_inverted"],
    )
    assert (
        found["policy"]["name"] == "expert"
        and found["max_steps"] == 6
        and found["video"] == "failures"
    )
    assert (
        found["versions"]["mujoco"]
        and found["machine"]["cpus"]
        and found["command"].startswith("vla-tutorial sweep --suite")
    )


def test_another_configuration_exits_2_and_changes_nothing(small):
    before = (small[0] / "episodes.jsonl").read_bytes()
    done = command(*SWEEP, "--tasks", 0, "--inits", "0-2", "--max-steps", 6, "--out", small[0])
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert "inits was [0, 1] and is [0, 1, 2] now" in told and "Traceback" not in told
    assert (small[0] / "episodes.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--tasks", "7-3"], "runs backwards"),
        (["--inits", ""], "not a list of numbers"),
        (["--condition", "noflip"], "Did you mean 'no_flip'"),
        (["--engine", "slurm"], "slurm"),
        (["--video", "some"], "some"),
        (["--layouts", "0-3"], "--layouts and --inits"),
        (["--target", "melon_1"], "melon_1"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_bad_input_exits_2_and_writes_nothing(tmp_path, change, said):
    done = command(*SWEEP, "--inits", 0, "--out", tmp_path / "s", *change)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_help_has_an_example():
    assert "vla-tutorial sweep --suite libero_object" in " ".join(
        command("sweep", "--help").stdout.split()
    )


def test_results_do_not_depend_on_the_number_of_workers(tmp_path):
    """Bit for bit, with the small model on a CPU."""
    spec = EpisodeSpec(max_steps=3, device="cpu")
    plan = SweepPlan(spec, (0, 3), (0,), ("published", "no_flip"))
    policy, weights = load_policy_for(plan)
    stories = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        run_sweep(plan, folder, LocalEngine(policy, workers), workers, weights=weights)
        rows = sorted(({**e, "seconds": 0} for e in lines(folder)), key=lambda e: e["folder"])
        stories.append((rows, [(folder / e["folder"] / "steps.jsonl").read_bytes() for e in rows]))
    assert stories[0] == stories[1]
    assert {e["outcome"] for e in stories[0][0]} == {"failure"}


def test_every_prompt_is_known_before_the_first_question():
    plan = SweepPlan(EpisodeSpec(), (0, 3), (0, 1), ("published", "no_flip", "wrong_prompt"))
    asked = prompts_of(plan)
    assert len(asked) == 4, "two sentences in two wrappings; a turned picture asks the same"
    assert all("alphabet soup" in p.text or "bbq sauce" in p.text for p in asked)


def test_the_policy_warms_up_once_while_simulators_start(tmp_path, monkeypatch):
    from sweep_fakes import Follow

    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    policy, told = Follow(), []
    plan = SweepPlan(EpisodeSpec(policy="follow", max_steps=5), (0,), (0, 1))
    engine = LocalEngine(policy, 1, lambda: told.append(policy.answered) or {})
    run_sweep(plan, tmp_path / "s", engine, 1)
    assert told == [0]


@pytest.mark.parametrize(
    ("arrived", "answered"),
    [(1, 1), (2, 2), (7, 7), (8, 8), (10, 8), (14, 14), (20, 16), (30, 30), (40, 32)],
)
def test_as_many_are_answered_as_makes_most_answers_a_second(arrived, answered):
    h100 = {1: 0.041, 4: 0.065, 8: 0.094, 16: 0.151, 32: 0.265}  # results/openvla_speed_h100.json
    assert best_batch_size(arrived, h100, 32) == answered


def test_without_fixed_sizes_everybody_is_answered():
    assert (best_batch_size(20, {}, 32), best_batch_size(40, {}, 32)) == (20, 32)


def test_who_is_left_out_of_a_batch_is_in_the_next(tmp_path, monkeypatch):
    from sweep_fakes import Follow

    class Slow(Follow):
        def predict(self, batch):
            time.sleep(0.02)  # meanwhile the others ask
            return super().predict(batch)

    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    plan = SweepPlan(EpisodeSpec(policy="follow", max_steps=30), (0,), tuple(range(8)))
    outcomes = []
    for seconds in ({}, {1: 1.0, 2: 1.5, 8: 100.0}):
        policy = Slow()
        policy.provenance = {"device": "a GPU"}  # where batches are answered together
        engine = LocalEngine(policy, 4, lambda seconds=seconds: seconds)
        run_sweep(plan, tmp_path / f"{len(outcomes)}", engine, 4)
        keys = ("task", "init", "success", "steps")
        outcomes.append(
            sorted(tuple(e[k] for k in keys) for e in lines(tmp_path / f"{len(outcomes)}"))
        )
    assert outcomes[0] == outcomes[1]
    assert max(policy.batches) == 2, "of four that ask, two at a time"


def test_only_failures_keep_their_video(tmp_path, monkeypatch):
    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    from sweep_fakes import Follow

    policy = Follow()
    plan = SweepPlan(EpisodeSpec(policy="follow", max_steps=12), (0,), (0, 1, 2, 3))
    worker = Worker(PolicyInfo.of(policy), policy.predict, lambda message: None)
    kept = {}
    for spec in plan.specs():
        folder = tmp_path / str(spec.init)
        ended = worker.run(EpisodeRequest(spec, "failures", folder, ("libero_object", 0, 256)))
        kept.setdefault(ended.result.success, []).append({p.name for p in folder.iterdir()})
    assert all(names == {"steps.jsonl", "episode.json"} for names in kept[True])
    assert all(names >= {"agentview.png", "gripper.png", "episode.mp4"} for names in kept[False])


@pytest.mark.parametrize("name", vla_tutorial.sweep.__all__)
def test_the_face_has_what_it_names(name):
    assert getattr(vla_tutorial.sweep, name)


def test_workers_leave_torch_out():
    code = "import sys, vla_tutorial.sweep.worker, vla_tutorial.sweep.worker_process; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_live_line():
    from collections import Counter

    assert describe_progress(SweepProgress(10, Counter())) == "no episode has ended yet"
    progress = SweepProgress(
        10, Counter(success=3, failure=1, error=1), here=4, steps=500, seconds=100.0
    )
    assert (
        describe_progress(progress)
        == "3 of 4 succeeded (75%) · errors: 1 · 5.0 steps/s · 0:02:05 left"
    )
