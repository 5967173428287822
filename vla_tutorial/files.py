"""Atomic writes, checks of a folder before any work begins, and the package's own data."""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from vla_tutorial.errors import TutorialError


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of `path` in one move: no reader and no crash sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def check_writable(folder: Path) -> None:
    """Raise a TutorialError if `folder` cannot be created or written to; writes nothing."""
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        reason = f"{parent} is not a folder that you may write to"
        raise TutorialError(f"Cannot write to {folder}: {reason}. Choose another one with --out.")


def shared_memory_folder() -> str:
    """A folder whose files live in memory: /dev/shm if it is writable, else the temporary one."""
    if os.access("/dev/shm", os.W_OK):
        return "/dev/shm"
    return tempfile.gettempdir()


@cache
def read_data(name: str) -> dict[str, Any]:
    """The JSON object in a file of this package's `data` folder; only to be read."""
    file = resources.files("vla_tutorial").joinpath("data", name)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
