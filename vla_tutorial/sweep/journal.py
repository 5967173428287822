"""A sweep's memory: `sweep.json` says what is run, `episodes.jsonl` gets one line when an episode has ended, and one process at a time writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from vla_tutorial.episodes import FORMAT
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.sweep.plan import Job

Entry = dict[str, Any]
"""One line: suite, task, init, condition, success, outcome, steps, first_close, closes, seconds, attempt, folder, error."""

FREE = ("format", "command", "started", "machine", "serving")
"""Keys of `sweep.json` that may differ when a sweep goes on."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that is full, of a used-up quota, and of a limit on the size of files."""


class DiskFull(TutorialError):
    """Nothing more can be written; what is there is whole."""

    def __init__(self, folder: Path, why: object) -> None:
        super().__init__(
            f"{folder} cannot be written to any more: {why}. Make room and give the same command again: it goes on from here."
        )


def is_full(error: OSError, folder: Path) -> bool:
    """Whether an error means that the disk of `folder` is full. A video's encoder dies of it and leaves only a broken pipe: so look as well."""
    if error.errno in FULL or "No space left" in str(error):
        return True
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < 1 << 20


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into a `DiskFull`; others pass."""
    try:
        yield
    except OSError as e:
        if is_full(e, folder):
            raise DiskFull(folder, e) from e
        raise


class Journal:
    """The folder of a sweep, locked for this process until `close` (or the process's end, however it comes).

    Attributes:
        entries: the episodes that have ended, by job, in order.
        repaired: what had to be mended at the end of the file, or None.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Take up the sweep in `folder`, or begin it.

        Args:
            config: what `sweep.json` says; the same but for the `FREE` keys when a sweep goes on.

        Raises:
            TutorialError: the folder holds something else or another configuration, another process writes there, or a line is damaged.
        """
        self.folder, self.entries = folder, dict[Job, Entry]()
        self.repaired: str | None = None
        check(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "episodes.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            self._lock()
            check(folder, config)  # again: until now another process might have written
            if not (folder / "sweep.json").exists():
                self._begin(config)
            self._read()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise TutorialError(
                f"Another sweep is writing to {self.folder}. Wait for its end, or choose another folder with --out."
            ) from e

    def _begin(self, config: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **config}, indent=1, ensure_ascii=False) + "\n"
        with explained(self.folder):
            write_atomically(self.folder / "sweep.json", text)

    def _read(self) -> None:
        path = self.folder / "episodes.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            job, entry = _parse(line)
            if entry is None and number == len(lines):
                os.ftruncate(self._file, os.fstat(self._file).st_size - len(line))
                os.fsync(self._file)
                self.repaired = f"{path}: the last line was damaged ({len(line)} bytes) and has been removed; its episode runs again."
            elif entry is None:
                raise TutorialError(
                    f"{path}, line {number} is damaged, and not the last: the file was edited. Mend or delete that line."
                )
            elif job in self.entries:
                raise TutorialError(
                    f"{path}, line {number} tells of {job.folder} a second time. Delete one of the two lines."
                )
            else:
                self.entries[job] = entry

    def append(self, job: Job, entry: Entry) -> None:
        """Write one line; it is on the disk, whole, when this returns.

        Raises:
            DiskFull: the line did not fit; nothing of it is left.
        """
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        size = os.fstat(self._file).st_size
        with explained(self.folder):
            try:
                if (written := os.write(self._file, line)) < len(line):
                    os.write(
                        self._file, line[written:]
                    )  # a short write: this one raises and says why
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, size)
                raise
        self.entries[job] = entry

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(line: bytes) -> tuple[Job, Entry | None]:
    try:
        entry = json.loads(line)
        job = Job(entry["condition"], entry["task"], entry["init"])
    except (ValueError, KeyError, TypeError):
        return Job("", -1, -1), None
    return job, entry if line.endswith(b"\n") else None


def check(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise a TutorialError if a sweep of `config` (or the part of it that is known) cannot go on in `folder`; writes nothing."""
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise TutorialError(
            f"Cannot write to {folder}: {parent} is not a folder that you may write to. Choose another one with --out."
        )
    path = folder / "sweep.json"
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as e:
            raise TutorialError(
                f"{path} is not JSON ({e}). The file was edited; choose another folder with --out."
            ) from e
        if found := differences(before, config):
            raise TutorialError(
                f"{folder} holds a sweep of another configuration: {'; '.join(found)}. Give the same settings to go on with it, or choose another --out."
            )
    elif folder.is_dir() and any(not _is_beginning(p) for p in folder.iterdir()):
        raise TutorialError(
            f"{folder} is not empty and holds no sweep (no sweep.json). Choose another folder with --out."
        )


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings of `after` that `before` has otherwise, in words; order within lists does not count, nor do the `FREE` keys."""
    found = []
    for key, new in after.items():
        old, name = before.get(key), prefix + key
        if (
            name in FREE
            or old == new
            or (
                isinstance(old, list)
                and isinstance(new, list)
                and sorted(map(str, old)) == sorted(map(str, new))
            )
        ):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{name}.")
        else:
            found.append(
                f"{name} was {json.dumps(old, ensure_ascii=False)} and is {json.dumps(new, ensure_ascii=False)} now"
            )
    return found


def _is_beginning(path: Path) -> bool:
    """Whether a file is what a sweep leaves behind that was killed before it had begun."""
    return path.name == "sweep.json.part" or (
        path.name == "episodes.jsonl" and not path.stat().st_size
    )
