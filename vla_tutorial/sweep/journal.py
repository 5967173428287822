"""A sweep's memory: one line of `episodes.jsonl` for each episode that has ended.

One process at a time writes, and each line is on the disk when `Journal.append` returns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from vla_tutorial.episodes import Episode, EpisodeKey, read_episodes
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.sweep.config import check_sweep_folder, config_text

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, of a used-up quota, and of a limit on the size of files."""


class DiskFull(TutorialError):
    """Nothing more can be written; what is there is whole."""

    def __init__(self, folder: Path, why: object) -> None:
        super().__init__(
            f"Writing to {folder} failed: {why}. "
            "Make room and give the same command again to resume."
        )


def is_disk_full(error: OSError, folder: Path) -> bool:
    """Whether an error means that the disk of `folder` is full.

    A video's encoder dies of a full disk and leaves only a broken pipe, so the disk itself is asked
    as well.
    """
    if error.errno in FULL or "No space left" in str(error):
        return True
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < 1 << 20


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into a `DiskFull`; others pass."""
    try:
        yield
    except OSError as e:
        if is_disk_full(e, folder):
            raise DiskFull(folder, e) from e
        raise


class Journal:
    """The folder of a sweep, locked for this process until `close` or the process's end.

    Attributes:
        episodes: those that have ended, by key, in order.
        repaired: what was removed from the end of the file, in words, or None.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begin the sweep in `folder`, or resume it.

        Args:
            config: what `sweep.json` says. All but `config.FREE` must be the same on resuming.

        Raises:
            TutorialError: the folder holds something else or another configuration, another process
                writes there, or a line is damaged.
        """
        self.folder = folder
        self.episodes: dict[EpisodeKey, Episode] = {}
        self.repaired: str | None = None
        check_sweep_folder(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "episodes.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            self._lock()
            # Again: until the lock was taken another process might have written.
            check_sweep_folder(folder, config)
            if not (folder / "sweep.json").exists():
                with explain_full_disk(folder):
                    write_atomically(folder / "sweep.json", config_text(config))
            self._read(config.get("suite"))
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise TutorialError(
                f"Another sweep is writing to {self.folder}. "
                "Wait for its end, or choose another folder with --out."
            ) from e

    def _read(self, suite: str | None) -> None:
        found = read_episodes(self.folder / "episodes.jsonl", suite)
        self.episodes = {episode.key: episode for episode in found.episodes}
        if found.cut:
            size = os.fstat(self._file).st_size
            os.ftruncate(self._file, size - len(found.cut))
            os.fsync(self._file)
            self.repaired = (
                f"{found.path}, line {len(found.lines) + 1} was cut off ({len(found.cut)} bytes) "
                "and has been removed; its episode runs again."
            )

    def append(self, episode: Episode) -> None:
        """Write one line; it is on the disk, whole, when this returns.

        Raises:
            DiskFull: the line did not fit; nothing of it is left.
        """
        line = episode.to_line().encode()
        size = os.fstat(self._file).st_size
        with explain_full_disk(self.folder):
            try:
                written = os.write(self._file, line)
                if written < len(line):
                    # The disk took only a part. The second write raises and says why.
                    os.write(self._file, line[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, size)
                raise
        self.episodes[episode.key] = episode

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
