"""Files that survive a crash: atomic writes, and checks of a folder before any work begins."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

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
        raise TutorialError(
            f"Cannot write to {folder}: {parent} is not a folder that you may write to. "
            "Choose another one with --out."
        )


def shared_memory_folder() -> str:
    """A folder whose files live in memory: /dev/shm if it is writable, else the temporary one."""
    if os.access("/dev/shm", os.W_OK):
        return "/dev/shm"
    return tempfile.gettempdir()
