"""The command line as a user meets it: exit codes, words, and nothing half-written."""

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from vla_tutorial.cli import main
from vla_tutorial.cli.terminal import interrupt
from vla_tutorial.conditions import BOUNDARIES, families

ROLLOUT = [
    "rollout",
    "--suite",
    "libero_object",
    "--task",
    "0",
    "--init",
    "0",
    "--policy",
    "expert",
]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process → (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vla-tutorial", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as e:
            code = e.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--suite", "libero_objekt"], ["'libero_objekt'", "'libero_object'"]),
        (["--task", "11"], ["11", "0 … 9"]),
        (["--init", "50"], ["50", "0 … 49"]),
        (["--condition", "noflip"], ["'noflip'", "'no_flip'"]),
        (
            ["--condition", "no_flip", "--condition", "flip_only"],
            ["'no_flip'", "'flip_only'", "orientation"],
        ),
        (["--condition", "camera_400"], ["400", "-90 … 90"]),
        (["--condition", "light_60"], ["light_60", "light_75, light_50, light_25"]),
        (["--suite", "libero_10", "--condition", "paraphrase_1"], ["libero_10", "libero_object"]),
        (["--policy", "expart"], ["'expart'", "'expert'"]),
        (["--unnorm-key", "bridge"], ["'bridge'", "bridge_orig"]),
        (["--max-steps", "0"], ["max_steps"]),
        (["--policy", "expert", "--checkpoint", "x"], ["expert", "checkpoint"]),
        (["--task", "one"], ["--task"]),
        (["--suite"], ["--suite"]),
    ],
)
def test_bad_input_exits_2_and_writes_nothing(run, tmp_path, change, named):
    code, _, err = run(*ROLLOUT, "--out", tmp_path / "e", *change)
    assert code == 2
    said = " ".join(err.split())
    assert [word for word in named if word not in said] == []
    assert "Traceback" not in err
    assert not (tmp_path / "e").exists()


def test_existing_episode_is_kept(run, tmp_path):
    (tmp_path / "episode.json").write_text("{}")
    code, _, err = run(*ROLLOUT, "--out", tmp_path)
    assert code == 2
    assert "--overwrite" in err
    assert (tmp_path / "episode.json").read_text() == "{}"


def test_rollout_records(run, tmp_path):
    code, out, _ = run(
        *ROLLOUT,
        "--out",
        tmp_path / "e",
        "--max-steps",
        3,
        "--condition",
        "no_flip",
        "--condition",
        "gripper_inverted",
    )
    assert code == 0
    assert "ailure after 3 steps" in out
    assert str(tmp_path / "e") in " ".join(out.split())
    entry = json.loads((tmp_path / "e/episode.json").read_text())
    assert entry["conditions"] == ["no_flip", "gripper_inverted"]


def test_live_mode_is_recorded(run, tmp_path):
    """What the arm does until the answer is there is a choice. At 0.01 Hz no answer is late by itself."""
    live = ("--realtime", 0.01, "--while-waiting", "zero", "--condition", "latency_2")
    code, _, _ = run(*ROLLOUT, "--out", tmp_path / "e", "--max-steps", 4, *live)
    assert code == 0
    wiring = json.loads((tmp_path / "e/episode.json").read_text())["wiring"]
    found = [wiring[name] for name in ("realtime", "while_waiting", "latency")]
    assert found == [0.01, "zero", 2]
    lines = [json.loads(line) for line in (tmp_path / "e/steps.jsonl").read_text().splitlines()]
    assert [line.get("waiting", False) for line in lines] == [True, True, False, True]
    assert lines[0]["action"][:6] == lines[3]["action"][:6] == [0] * 6
    code, _, err = run(*ROLLOUT, "--out", tmp_path / "no", "--realtime", 0)
    assert code == 2 and "realtime" in err and not (tmp_path / "no").exists()


def test_other_mujoco_is_said_and_recorded(run, tmp_path, monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "3.3.3" if name == "mujoco" else real(name),
    )
    code, _, err = run(*ROLLOUT, "--out", tmp_path / "e", "--max-steps", 1)
    assert code == 0
    assert "MuJoCo 3.3.3" in err
    assert "3.3.3" in json.loads((tmp_path / "e/episode.json").read_text())["warnings"][0]


def test_conditions_lists_all_by_boundary(run):
    code, out, _ = run("conditions")
    assert code == 0
    at = [
        out.index(f"\n{name} · ") if k else out.index(f"{name} · ")
        for k, name in enumerate(BOUNDARIES)
    ]
    assert at == sorted(at)
    for family in families():
        assert f"  {family}" in out
    assert len(out.splitlines()) == len(BOUNDARIES) + len(families())


def test_conditions_of_one_boundary_in_full(run):
    code, out, _ = run("conditions", "--boundary", "motion")
    assert code == 0
    for words in (
        "wrong_unnorm_key",
        "unnorm_key: 'libero_object' → 'bridge_orig'",
        "'binarised' → 'inverted'",
        "issues/118",
    ):
        assert words in out
    assert "no_flip" not in out
    code, _, err = run("conditions", "--boundary", "moton")
    assert code == 2
    assert "'moton'" in err
    assert "'motion'" in err


@pytest.mark.parametrize("command", ["doctor", "conditions", "demo", "rollout"])
def test_help_has_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"vla-tutorial {command}" in " ".join(out.split())


@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopping_keeps_a_valid_incomplete_episode(tmp_path, signal_number, code):
    command = [sys.executable, "-m", "vla_tutorial.cli", *ROLLOUT, "--out", str(tmp_path / "e")]
    steps = tmp_path / "e/steps.jsonl"
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while (
            time.monotonic() < deadline
            and process.poll() is None
            and not (steps.exists() and steps.stat().st_size)
        ):
            time.sleep(0.05)
        os.kill(process.pid, signal_number)
        assert process.wait(60) == code
    assert json.loads((tmp_path / "e/episode.json").read_text())["success"] is None
    lines = [json.loads(text) for text in steps.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert lines


def test_ctrl_c_that_a_library_swallowed_still_stops(run, tmp_path, monkeypatch):
    """robosuite's reset, for one, has a `finally: continue`, and destructors swallow what is raised in them."""
    from vla_tutorial.sim import Simulator

    real = Simulator.step

    def step(self, action):
        if not interrupt.asked:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return real(self, action)

    monkeypatch.setattr(Simulator, "step", step)
    before = signal.getsignal(signal.SIGINT)
    code, _, _ = run(*ROLLOUT, "--out", tmp_path / "e")
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert json.loads((tmp_path / "e/episode.json").read_text())["success"] is None
