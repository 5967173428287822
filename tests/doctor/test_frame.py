"""Pictures that doctor accepts and those that it must not, recorded by tools/record_frame.py."""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vla_tutorial.doctor import frame as frames
from vla_tutorial.doctor.frame import FLOOR, Frame, judge_frame
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import Perturbation
from vla_tutorial.wiring import PINNED_MUJOCO

FOLDER = Path(__file__).parents[1] / "data" / "frames"
RECORDED = json.loads((FOLDER / "frames.json").read_text())
LLVMPIPE = next(one for one in RECORDED if one["sha256"] == "966c0f35dbae9859")


def recorded(entry):
    with Image.open(FOLDER / entry["file"]) as image:
        return Frame(np.array(image), entry["renderer"], entry["driver"])


def changed(change):
    """llvmpipe's picture after `change` of its values as float64."""
    image = change(recorded(LLVMPIPE).image.astype(np.float64))
    return Frame(np.clip(np.rint(image), 0, 255).astype(np.uint8), "made up", "1.0")


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["file"])
def test_recorded_pictures(entry):
    frame = recorded(entry)
    assert frame.digest == entry["sha256"]
    assert judge_frame(frame).verdict == entry["verdict"]


def test_both_sides_are_recorded():
    found = {(one["mujoco"] == PINNED_MUJOCO, one["verdict"]) for one in RECORDED}
    assert found == {(True, "ok"), (False, "fail")}


def test_a_known_picture_is_named():
    finding = judge_frame(recorded(LLVMPIPE))
    assert f"known value ({LLVMPIPE['renderer']}, {LLVMPIPE['driver']})" in finding.detail


def test_mujocos_drift_is_named():
    (drifted,) = (one for one in RECORDED if one["mujoco"] == "3.3.3")
    finding = judge_frame(recorded(drifted))
    assert "-50.6 on the floor" in finding.detail
    assert f"mujoco=={PINNED_MUJOCO}" in finding.remedy


def test_six_grey_levels_in_a_patch_are_ok(rng):
    """So much an NVIDIA H100 differs, on which `mini` succeeds in 500 of 500."""
    patches = rng.uniform(-6, 6, (16, 16, 1))
    patches[0, 0] = 6
    offsets = np.kron(patches, np.ones((16, 16, 1)))
    finding = judge_frame(changed(lambda image: image + offsets))
    assert finding.verdict == "ok"
    assert "6 in the worst of 256 patches" in finding.detail


def test_noise_of_a_renderer_is_ok(rng):
    finding = judge_frame(changed(lambda image: image + rng.normal(0, 10, image.shape)))
    assert finding.verdict == "ok"


def darker_floor(image):
    image[FLOOR] -= 15
    return image


def without_an_object(image):
    image[80:112, 64:96] = 240
    return image


@pytest.mark.parametrize(
    "change",
    [
        lambda image: 0.9 * image,
        lambda image: image + 8,
        lambda image: 255 * (image / 255) ** 2.2,
        lambda image: image[::-1],
        lambda image: image[::-1, ::-1],
        lambda image: image[..., ::-1],
        lambda image: 0 * image,
        darker_floor,
        without_an_object,
    ],
)
def test_other_pictures_fail(change):
    finding = judge_frame(changed(change))
    assert finding.verdict == "fail"
    assert finding.remedy


def test_a_black_picture_is_named():
    assert "black" in judge_frame(changed(lambda image: 0 * image)).remedy


@pytest.mark.parametrize(
    ("perturbation", "verdict"),
    [
        (Perturbation(), "ok"),
        (Perturbation(camera_noise=10), "ok"),
        (Perturbation(light=0.99), "ok"),
        (Perturbation(srgb_textures=True), "fail"),
        (Perturbation(light=0.75), "fail"),
        (Perturbation(distractors="hidden"), "fail"),
        (Perturbation(second_can=True), "fail"),
        (Perturbation(camera_degrees=5), "fail"),
    ],
)
def test_the_renderer_of_this_machine(simulator, perturbation, verdict):
    image = simulator.reset(0, perturbation=perturbation).image
    assert judge_frame(Frame(image, "this", "1")).verdict == verdict


# --- a process of its own -------------------------------------------------------------------------


@pytest.fixture
def ends(monkeypatch):
    """Let the other process end with an exit code, or never, and print something before."""

    def pretend(code, printed=""):
        def run(words, **_):
            if code is None:
                raise subprocess.TimeoutExpired(words, 1)
            return subprocess.CompletedProcess(words, code, b"", printed.encode())

        monkeypatch.setattr(subprocess, "run", run)
        return frames.check_frame()

    return pretend


@pytest.mark.parametrize(
    ("code", "printed", "said"),
    [
        (-signal.SIGSEGV, "libEGL warning: x", "crashed (SIGSEGV)"),
        (None, "", "did not answer within 600 s"),
        (1, "libEGL warning: x\nRuntimeError: Cannot create an EGL context.\n", "EGL context."),
        (3, "", "exit code 3"),
    ],
)
def test_a_process_without_a_picture_is_a_finding(ends, code, printed, said):
    finding = ends(code, printed)
    assert finding.verdict == "fail"
    assert finding.detail.endswith(said)
    assert finding.remedy


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TutorialError("Cannot render: so."), "Cannot render: so."),
        (RuntimeError("one\ntwo"), "RuntimeError: one"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_the_process_prints_one_line(monkeypatch, tmp_path, error, said):
    def fail():
        raise error

    monkeypatch.setattr(frames, "render_frame", fail)
    with pytest.raises(SystemExit) as ended:
        frames.save_frame(str(tmp_path / "frame.npz"))
    assert ended.value.code == said


def test_a_crash_of_the_driver_is_a_finding(monkeypatch):
    """A process that a signal really ends."""
    monkeypatch.setattr(frames, "__name__", "os; os.kill(os.getpid(), 11); import os")
    assert frames.render_apart() == "the renderer crashed (SIGSEGV)"
    assert os.getpid()
