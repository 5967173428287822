"""Writing the files of the page's folder: the same bytes each time, and none twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import explain_full_disk


class FileEntry(msgspec.Struct, frozen=True):
    """Size and hash of one file in the manifest.

    Attributes:
        bytes: as it is, not compressed.
        sha256: in hexadecimal.
    """

    bytes: int
    sha256: str


def stem(suite: str, task: int) -> str:
    """What the names of a task's files begin with; those of all suites lie in the same folders."""
    return f"{suite}_task{task}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file and the folders above it; one that is there already must be the same.

    Raises:
        TutorialError: two tasks give the same name to different things.
        DiskFull: the disk is full.
    """
    if path.is_file():
        if path.read_bytes() != content:
            raise TutorialError(
                f"{path.name} would be written twice with different content. "
                "Build into a new folder. If it happens again, report it and name this file."
            )
        return
    with explain_full_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write what msgspec encodes, keys in their order; raises as `write_bytes`."""
    write_bytes(path, msgspec.json.encode(content) + b"\n")


def entry(path: Path) -> FileEntry:
    """Size and hash of a file."""
    content = path.read_bytes()
    return FileEntry(len(content), hashlib.sha256(content).hexdigest())


def entries(folder: Path, below: str) -> dict[str, FileEntry]:
    """All files below `folder`/`below`, by their path from `folder` with slashes, in order."""
    paths = sorted(path for path in (folder / below).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): entry(path) for path in paths}
