"""`steps.jsonl`: written and read back, damaged in every way, and unchanged since it was recorded."""

import json
import lzma
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.log import closing_steps, log_of, picture_fields, read_log, sharpness, step_line
from vla_tutorial.loop import Step, rollout
from vla_tutorial.policies import load_policy
from vla_tutorial.sim import Observation
from vla_tutorial.spec import EpisodeSpec

RECORDED = Path(__file__).parent / "data" / "logs"
NAMES = ("published", "no_flip", "second_can")
SINCE_FORMAT_2 = ("img_channels", "img_sharpness")


def recorded(name):
    return lzma.open(RECORDED / f"{name}.jsonl.xz", "rt", encoding="utf-8").read().splitlines()


@pytest.fixture
def folder(tmp_path, lines):
    write(tmp_path, [json.dumps(line) for line in lines])
    return tmp_path


def write(folder, texts):
    (folder / "steps.jsonl").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


# --- what a line holds and what comes back ------------------------------------------------------


def step(number, command, reward=0.0):
    image = np.full((4, 4, 3), 7, np.uint8)
    image[:2, 2:, 0] = 240
    observation = Observation(
        image=image,
        eef_pos=np.array([0.1234567, -0.2, 0.25]),
        eef_quat=np.array([0.0, 0.0, 0.0, 1.0]),
        gripper_qpos=np.array([0.0387654, -0.0387654]),
        joint_pos=np.zeros(7),
    )
    action = np.array([0.12345678, 0.0, -0.5, 0.0, 0.0, 0.0, command])
    return Step(number, observation, image, np.arange(31744, 31751), action, reward, reward > 0)


def test_round_trip(tmp_path):
    steps = [step(0, -1.0), step(1, 1.0), step(2, 1.0, reward=1.0)]
    write(tmp_path, [json.dumps(step_line(s)) for s in steps])
    log = read_log(tmp_path)
    assert len(log) == 3
    assert log.success
    assert log.reward.tolist() == [0, 0, 1]
    assert log.gripper.tolist() == [-1, 1, 1]
    assert log.closing.tolist() == [False, True, True]
    assert log.actions[0, :3].tolist() == [0.123457, 0, -0.5]
    assert log.tokens[2].tolist() == list(range(31744, 31751))
    assert log.tokens.dtype == np.int64
    assert log.eef_pos[0].tolist() == [0.12346, -0.2, 0.25]
    assert log.height.tolist() == [0.25] * 3
    assert log.fingers[0] == pytest.approx(77.54)
    assert log.motion[0] == pytest.approx(np.hypot(0.123457, 0.5))
    fields = picture_fields(steps[0].pixels)
    assert log.image_mean[0] == fields["img_mean"]
    assert log.quarters[0].tolist() == fields["img_quarters"]
    assert log.channels[0].tolist() == fields["img_channels"]
    assert log.sharpness[0] == fields["img_sharpness"]


def test_picture_fields():
    image = np.zeros((4, 4, 3), np.uint8)
    # Red, top right.
    image[:2, 2:, 0] = 240
    fields = picture_fields(image)
    assert fields["img_quarters"] == [0, 80, 0, 0]
    assert fields["img_channels"] == [60, 0, 0]
    assert fields["img_mean"] == 20
    # Two edges of two pixels, in one channel, of 12 pairs each way.
    assert fields["img_sharpness"] == pytest.approx(2 * 2 * 240 / 36, abs=0.01)
    assert sharpness(image[:2, 2:]) == 0


@pytest.mark.parametrize(
    ("commands", "steps"),
    [
        ([-1, -1, 1, 1, -1, 1], [2, 5]),
        ([1, 1, -1], [0]),
        ([-1, -1, -0.0, -0.0, -1, 0.0], []),
        ([-1, 0.0, 1e-6, 0.0, 1e-6], [2, 4]),
        ([], []),
    ],
)
def test_a_command_closes_above_zero_only(commands, steps, lines):
    assert closing_steps(commands).tolist() == steps
    episode = [{**lines[0], "step": k} for k in range(len(commands))]
    for line, command in zip(episode, commands, strict=True):
        line["action"] = [0.0] * 6 + [command]
    if episode:
        log = log_of(episode)
        assert log.closes == len(steps)
        assert log.first_close == (steps[0] if steps else None)


def test_format_1_lacks_two_columns(folder, lines):
    # The fixture's lines are of format 1.
    assert not set(SINCE_FORMAT_2) & set(lines[0])
    log = read_log(folder)
    assert log.channels is None
    assert log.sharpness is None
    assert log.first_close == 4
    assert log.success


def test_unknown_keys_are_left_out(tmp_path, lines):
    write(tmp_path, [json.dumps({**line, "camera": "wrist"}) for line in lines])
    assert len(read_log(tmp_path)) == len(lines)


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda e: e.pop("tokens"), "tokens"),
        (lambda e: e.update(action=[0.0] * 6), r"action \[0.0.*7"),
        (lambda e: e.update(tokens=[0.5] * 7), r"tokens\[0\] 0.5 \(expected `int`"),
        (lambda e: e.update(tokens=[-1] * 7), r"tokens\[0\] -1 "),
        (lambda e: e.update(reward="none"), "reward 'none'"),
        (lambda e: e.update(reward=float("nan")), "reward nan "),
        (lambda e: e.update(eef_pos=[0.0, float("inf"), 0.0]), r"eef_pos\[1\] inf "),
        (lambda e: e.update(step=9), "step 9, expected 7"),
        (lambda e: e.update(img_channels=[1.0, 2.0, 3.0]), None),
    ],
)
def test_an_edited_line_is_named(change, named, tmp_path, lines):
    """By its number, the field and the value; where one line alone is of format 2, the others lack it."""
    change(lines[7])
    number, named = (8, named) if named else (1, "img_channels")
    write(tmp_path, [json.dumps(line) for line in lines])
    with pytest.raises(TutorialError, match=rf"steps\.jsonl, line {number} .*{named}"):
        read_log(tmp_path)
    with pytest.raises(TutorialError, match=rf"^the log, line {number} .*{named}"):
        log_of(lines)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "01"])
def test_what_is_no_number_in_json_is_named(value, folder):
    path = folder / "steps.jsonl"
    path.write_text(path.read_text().replace('"reward": 1.0', f'"reward": {value}'))
    with pytest.raises(TutorialError, match=r"steps\.jsonl, line 10 "):
        read_log(folder)


@pytest.mark.parametrize(
    ("damage", "number"),
    [
        (lambda texts: [*texts[:9], texts[9][:-30]], 10),
        (lambda texts: [texts[0], texts[1][:20], *texts[2:]], 2),
        (lambda texts: [texts[0], "", *texts[1:]], 2),
        (lambda texts: ["[1]", *texts[1:]], 1),
        (lambda texts: [texts[0], f"{texts[1]}, {texts[2]}", *texts[3:]], 2),
        (lambda texts: [*texts[:3], *texts[4:]], 4),
        (lambda texts: [texts[1], texts[0], *texts[2:]], 1),
        (lambda texts: [*texts, texts[9]], 11),
    ],
    ids=("cut", "cut inside", "blank", "list", "two on a line", "missing", "swapped", "twice"),
)
def test_the_first_damaged_line_is_named(damage, number, folder):
    texts = (folder / "steps.jsonl").read_text().splitlines()
    write(folder, damage(texts))
    with pytest.raises(TutorialError, match=rf"steps\.jsonl, line {number} "):
        read_log(folder)


def test_bytes_that_are_no_text(folder):
    path = folder / "steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"reward"', b'"rew\xffard"', 1))
    with pytest.raises(TutorialError, match=r"steps\.jsonl, line 1 "):
        read_log(folder)


def test_a_log_that_is_too_large_is_not_read(folder):
    path = folder / "steps.jsonl"
    path.write_bytes(b"\n" * 200_000)
    with pytest.raises(TutorialError, match=r"steps\.jsonl has 200000 lines, expected at most"):
        read_log(folder)
    os.truncate(path, 33 * 2**20)
    with pytest.raises(TutorialError, match=r"steps\.jsonl has 33 MiB, expected at most 32"):
        read_log(folder)


def test_a_line_that_is_nested_deeply_is_named(folder):
    path = folder / "steps.jsonl"
    deep = "[" * 50_000 + "]" * 50_000
    path.write_text(path.read_text().replace('"step": 3', f'"more": {deep}, "step": 3'))
    with pytest.raises(TutorialError, match=r"steps\.jsonl, line 4 is nested too deeply") as e:
        read_log(folder)
    assert len(str(e.value)) < 500


def test_no_log_and_no_step(tmp_path):
    with pytest.raises(TutorialError, match=r"no steps\.jsonl"):
        read_log(tmp_path)
    write(tmp_path, [])
    with pytest.raises(TutorialError, match=r"steps\.jsonl holds no step"):
        read_log(tmp_path)
    with pytest.raises(TutorialError, match="the log holds no step"):
        log_of([])


def test_a_log_of_the_chapters_own_script_lacks_fields():
    with pytest.raises(
        TutorialError, match=r"line 1 .*img_quarters, tokens, eef_pos, gripper_qpos"
    ):
        log_of([{"step": 0, "img_mean": 130.0, "action": [0] * 7, "reward": 0.0}])


# --- recorded logs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_recorded_lines_keep_their_bytes(name):
    for text in recorded(name):
        assert json.dumps(json.loads(text)) == text


@pytest.mark.parametrize(
    ("name", "steps", "first_close", "closes", "success"),
    [
        ("published", 126, 42, 1, True),
        ("no_flip", 280, 0, 7, False),
        ("second_can", 130, 42, 1, True),
    ],
)
def test_recorded_logs_are_read(name, steps, first_close, closes, success):
    log = log_of([json.loads(text) for text in recorded(name)])
    found = (len(log), log.first_close, log.closes, log.success)
    assert found == (steps, first_close, closes, success)


@pytest.fixture(scope="module")
def mini():
    return load_policy("mini", device="cpu")


def this_machine():
    """What `machine.json` says, of the machine that runs this test and its OpenGL context."""
    import torch

    from vla_tutorial.provenance import versions
    from vla_tutorial.sim.libero import renderer_name

    found = versions()
    return {
        "renderer": renderer_name(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": found["torch"],
        "mujoco": found["mujoco"],
    }


def assert_alike(now, then):
    """Lines of two machines: the same protocol, with floating point that may differ a little."""
    for a, b in zip(map(json.loads, now[:5]), map(json.loads, then[:5]), strict=True):
        assert a.keys() == b.keys()
        assert a["step"] == b["step"]
        assert a["tokens"] == b["tokens"]
        assert a["action"] == pytest.approx(b["action"], abs=1e-6)
        assert a["eef_pos"] == pytest.approx(b["eef_pos"], abs=1e-3)
        assert a["gripper_qpos"] == pytest.approx(b["gripper_qpos"], abs=1e-3)
        for key in ("img_mean", "img_quarters", "img_channels", "img_sharpness"):
            assert a[key] == pytest.approx(b[key], abs=0.5)


@pytest.mark.parametrize(
    ("name", "steps"), [("published", 25), ("no_flip", 10), ("second_can", 10)]
)
def test_the_same_rollout_gives_the_same_lines(name, steps, simulator, mini):
    conditions = () if name == "published" else (name,)
    wiring, scene = EpisodeSpec(conditions=conditions).settings()
    run = islice(rollout(mini, simulator, wiring, scene), steps)
    now = [json.dumps(step_line(s)) for s in run]
    then = recorded(name)[:steps]
    assert_alike(now, then)
    if this_machine() == json.loads((RECORDED / "machine.json").read_text()):
        assert now == then


@pytest.mark.parametrize(("a", "b"), [("published", "no_flip"), ("published", "second_can")])
def test_another_protocol_is_not_alike(a, b):
    assert_alike(recorded(a), recorded(a))
    with pytest.raises(AssertionError):
        assert_alike(recorded(a), recorded(b))
