"""A sweep with weights in few bits never goes on with other ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vla_tutorial.cli.app import app


def test_a_sweep_does_not_resume_with_other_weights(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    words = ["sweep", "--suite", "libero_object", "--tasks", "0", "--policy", "openvla"]
    words += ["--checkpoint", str(checkpoint), "--max-steps", "5", "--workers", "1"]
    words += ["--out", str(tmp_path / "out")]

    def run(*more: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, [*words, *more])
        return found.exit_code, " ".join(found.output.split())

    code, said = run("--inits", "0", "--weights", "int8")
    assert code == 0, said
    kept = json.loads((tmp_path / "out/sweep.json").read_text())["policy"]
    assert kept["dtype"] == "float32, Llama's layers int8"
    for other, name in (
        (["--weights", "int4"], "int4"),
        (["--weights", "fp8"], "fp8"),
        (["--weights", "bf16"], "float32"),
        ([], "float32"),
    ):
        code, said = run("--inits", "0", *other)
        assert code == 2 and "policy.dtype was" in said and name in said, said
    code, said = run("--inits", "0", "--weights", "int8")
    assert code == 0, said
