"""A sweep's folder while it runs: `sweep.json`, and a line of `episodes.jsonl` for each episode.

One process at a time writes, and each line is on the disk when `Journal.append` returns.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from vla_tutorial.episodes import SWEEP_FORMAT, Episode, EpisodeKey, read_config, read_episodes
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import (
    append_whole,
    check_writable,
    explain_full_disk,
    whole_file,
    write_atomically,
)
from vla_tutorial.provenance import machine, versions
from vla_tutorial.sweep.messages import Engine
from vla_tutorial.sweep.plan import SweepPlan

FREE = (
    "format",
    "command",
    "started",
    "machine",
    "serving",
    "policy.served_at",
    "policy.latency_ms",
)
"""Keys of `sweep.json` that may differ when a sweep resumes."""

PARTS = ("sweep.part.json", "episodes.part.jsonl")
"""What a sweep leaves behind that was killed while it replaced a file."""

ATTEMPTS = 2
"""How often a run tries an episode whose worker dies, hangs or fails. Then it is an error."""

PASSES = 2
"""How many runs try an episode so. Then it stays an error, unless another try is asked for."""


def sweep_config(plan: SweepPlan, engine: Engine, weights: str, command: str) -> dict[str, Any]:
    """What `sweep.json` says. All but the `FREE` keys must be the same when a sweep resumes.

    Args:
        weights: hash of the policy's checkpoint (`provenance.weights_hash`).
        command: the command that runs the sweep, and resumes it.
    """
    policy = engine.policy_info
    device = policy.provenance.get("device", "cpu")
    # A server's GPU is none of this machine.
    gpus = [] if device == "cpu" or "served_at" in policy.provenance else [device]
    return {
        **plan.entry(),
        "policy": {"name": policy.name, **policy.provenance, "weights": weights},
        "serving": dict(engine.serving),
        "command": command,
        "versions": versions(),
        "machine": machine(gpus),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `sweep.json`, which makes the folder a sweep."""
    text = json.dumps({"format": SWEEP_FORMAT, **config}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / "sweep.json", text)


def check_sweep_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise a TutorialError if a sweep cannot start or resume in `folder`; writes nothing.

    Args:
        config: what `sweep.json` will say, or the part of it that is known by now.
    """
    check_writable(folder)
    if (folder / "sweep.json").is_file():
        # A plan that does not use these keys must not resume one that does.
        absent = dict.fromkeys(("targets", "starts", "realtime", "while_waiting"))
        wanted = {**absent, **config}
        found = config_differences(read_config(folder), wanted)
        if found:
            raise TutorialError(
                f"{folder} holds a sweep of another configuration: {'; '.join(found)}. "
                "Give the same settings to resume it, or choose another --out."
            )
    elif folder.is_dir() and not all(map(_is_empty_start, folder.iterdir())):
        what = f"{folder} is not empty and holds no sweep (no sweep.json)."
        raise TutorialError(f"{what} Choose another folder with --out.")


def config_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """The settings of `after` that are others in `before`, in words.

    Order within lists does not count, nor do the `FREE` keys.
    """
    found = []
    for key, new in after.items():
        old = before.get(key)
        name = prefix + key
        if name in FREE or _same(old, new):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += config_differences(old, new, f"{name}.")
        else:
            was, now = (json.dumps(value, ensure_ascii=False) for value in (old, new))
            found.append(f"{name} was {was} and is {now} now")
    return found


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return sorted(map(str, old)) == sorted(map(str, new))
    return bool(old == new)


def _is_empty_start(file: Path) -> bool:
    """Whether a file is what a sweep leaves behind that was killed before it wrote `sweep.json`."""
    if file.name == "episodes.jsonl":
        return not file.stat().st_size
    return file.name in PARTS


def lock_episodes(file: int, folder: Path, kind: int) -> None:
    """Lock `episodes.jsonl` by `fcntl.LOCK_…`; a TutorialError if another process writes it."""
    remedy = "Wait for its end, or choose another folder."
    busy = TutorialError(f"A sweep is still writing to {folder}. {remedy}")
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise busy from e
    # Since it was opened, a sweep may have put a new file in its place.
    if not os.path.samestat(os.stat(file), os.stat(folder / "episodes.jsonl")):
        raise busy


class Journal:
    """The folder of a sweep, locked for this process until `close` or the process's end.

    Attributes:
        episodes: those that have ended, by key, in order.
        repaired: what was removed from the end of the file, in words, or None.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begin the sweep in `folder`, or resume it.

        Args:
            config: what `sweep.json` says. All but the `FREE` keys must be the same on resuming.

        Raises:
            DiskFull: there is no room for the two files.
            TutorialError: the folder holds something else or another configuration, another process
                writes there, or a line is damaged.
        """
        self.folder = folder
        self.repaired: str | None = None
        self._path = folder / "episodes.jsonl"
        check_sweep_folder(folder, config)
        with explain_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _open(self._path)
        try:
            lock_episodes(self._file, folder, fcntl.LOCK_EX)
            # Again: until the lock was taken another process might have written.
            check_sweep_folder(folder, config)
            for name in PARTS:
                (folder / name).unlink(missing_ok=True)
            if not (folder / "sweep.json").exists():
                with explain_full_disk(folder):
                    write_config(folder, config)
            self.episodes = self._read(config.get("suite"))
        except BaseException:
            self.close()
            raise

    def _read(self, suite: str | None) -> dict[EpisodeKey, Episode]:
        found = read_episodes(self._path, suite)
        if found.cut:
            size = os.fstat(self._file).st_size
            os.ftruncate(self._file, size - len(found.cut))
            os.fsync(self._file)
            what = f"{found.path}, line {len(found.lines) + 1} was cut off ({len(found.cut)} bytes)"
            self.repaired = f"{what} and has been removed; its episode runs again."
        return {episode.key: episode for episode in found.episodes}

    def tried(self, key: EpisodeKey) -> int:
        """Attempts at an episode that ended in an error so far; 0 if it has not run yet."""
        found = self.episodes.get(key)
        if found is None or found.outcome != "error":
            return 0
        return found.attempt or ATTEMPTS

    def is_left(self, key: EpisodeKey, retry_errors: bool = False) -> bool:
        """Whether a run has an episode to do: a new one, or an error with `PASSES` not used up.

        Args:
            retry_errors: every error is to be tried again.
        """
        if key not in self.episodes:
            return True
        tried = self.tried(key)
        return tried > 0 and (retry_errors or tried < ATTEMPTS * PASSES)

    def append(self, episode: Episode) -> None:
        """Write one line; it is on the disk, whole, when this returns.

        An error's line, for which another attempt has ended, is replaced.

        Raises:
            DiskFull: the line did not fit; nothing of it is left.
            TutorialError: somebody has deleted the file.
        """
        if not os.fstat(self._file).st_nlink:
            what = f"{self._path} was deleted while the sweep ran."
            raise TutorialError(f"{what} Give the same command again to run all of it anew.")
        with explain_full_disk(self.folder):
            if episode.key in self.episodes:
                self._replace(episode)
            else:
                append_whole(self._file, episode.to_line().encode(), sync=True)
        self.episodes[episode.key] = episode

    def _replace(self, episode: Episode) -> None:
        """Write the file anew without the episode's old line. A crash leaves the old or the new."""
        found = read_episodes(self._path)
        pairs = zip(found.episodes, found.lines, strict=True)
        kept = [line for other, line in pairs if other.key != episode.key]
        with contextlib.ExitStack() as undo, whole_file(self._path) as part:
            file = _open(part)
            undo.callback(os.close, file)
            # Locked before it has its name, so that no other process can come between.
            fcntl.flock(file, fcntl.LOCK_EX)
            append_whole(file, b"".join([*kept, episode.to_line().encode()]), sync=True)
            undo.pop_all()
        self.close()
        self._file = file

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
