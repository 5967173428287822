"""The small checkpoint, whole and as a copy to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path, dirs_exist_ok=True))
