"""A small random checkpoint that knows the two suites of the claims, and the command without MuJoCo."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from golden_folder import golden
from tiny_checkpoint import write_tokenizer
from typer.testing import CliRunner

from vla_tutorial.accept import run, stages
from vla_tutorial.cli import accept as command
from vla_tutorial.cli.app import app
from vla_tutorial.openvla.config import VISION_KEY

TINY = Path(__file__).parents[1] / "data/tiny_openvla"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny reference checkpoint with a tokenizer, as if it was tuned to both suites."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    shutil.copytree(TINY, folder)
    write_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    # The folder is of the published form, and its towers are smaller than the published ones.
    config[VISION_KEY] = asdict(golden().config.vision)
    (folder / "config.json").write_text(json.dumps(config))
    path = folder / "dataset_statistics.json"
    own = next(iter(json.loads(path.read_text()).values()))
    path.write_text(
        json.dumps({f"{suite}_no_noops": own for suite in ("libero_object", "libero_10")})
    )
    return folder


@pytest.fixture
def accept(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> Any:
    """The command on two tasks and the first rounds, with simulators that cost nothing."""
    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    monkeypatch.setattr(command, "_preflight", lambda: None)
    monkeypatch.setattr(run, "queue", lambda suites: stages.queue(suites, (0, 5))[:3])

    def call(*arguments: object, checkpoint: object = checkpoint) -> Any:
        words = ["accept", "--checkpoint", checkpoint, "--workers", 2, *arguments]
        return CliRunner().invoke(app, list(map(str, words)))

    return call
