"""`vla-tutorial doctor` on odd machines: findings and exit codes, never a traceback."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0, ["ok   Rendered frame", "Ready."]),
        (
            {"CUDA_VISIBLE_DEVICES": "3", "MUJOCO_EGL_DEVICE_ID": "99"},
            1,
            ["FAIL Render device", "MUJOCO_EGL_DEVICE_ID is '99'", "not checked"],
        ),
        (
            {"MUJOCO_GL": "glfw", "IMAGEIO_FFMPEG_EXE": "/no/such/file"},
            1,
            ["FAIL GL backend", "'glfw'", "note Video"],
        ),
    ],
)
def test_doctor_finds(variables, code, said):
    words = [sys.executable, "-m", "vla_tutorial.cli", "doctor"]
    environment = os.environ | variables
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert [words for words in said if words not in result.stdout] == []


def test_a_damaged_configuration_of_libero_is_named_once(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [1\n")
    words = [sys.executable, "-m", "vla_tutorial.cli", "doctor"]
    environment = os.environ | {"LIBERO_CONFIG_PATH": str(tmp_path)}
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    (line,) = (one for one in result.stdout.splitlines() if one.startswith("FAIL"))
    assert str(tmp_path / "config.yaml") in line
