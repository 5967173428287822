"""Demonstrations on disk: some 20 episodes a file, as simulator states, small and without pictures.

A file is an .npz with a JSON header. Numbers are rounded to a grid and replaced by their change
from step to step, column by column, low bytes first. Deflate shrinks that to some 35 bytes a frame:
what stands still costs nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_tutorial.arrays import Bools, Floats, Picture
from vla_tutorial.decoding import Count, Name, decode, decode_object
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import Float32
from vla_tutorial.training.noise import Noise

Array = NDArray[Any]

TaskKey = tuple[str, int]
"""A suite and a task's number in it, for example ("libero_goal", 3)."""

CHUNK_FORMAT = 2
CHUNK_SIZE = 20
"""The version of the file's layout, and episodes in a file."""

POSE_GRID = 1e-5
ACTION_GRID = 1e-3
"""Positions are stored to 0.01 mm and 0.01 mrad, a 40th of a pixel at most; actions to 0.001."""


@dataclass(frozen=True)
class LabelledEpisode:
    """T steps of an episode: what the camera saw, what the expert said, what was done.

    Metres and radians. The frame of the positions is the robot's base (axes as in the world).

    Attributes:
        suite, task: whose scene it is; what was asked for may be another task's goal.
        instruction: the published sentence, or one in its form, that asks for it.
        noise: how the executed actions were disturbed.
        fixtures: (F, 7), where things without a joint of their own stood (`Layout.fixtures`).
        qpos: (T, nq) float32, the positions that the picture before the action shows
            (`Simulator.pose_in_picture`).
        bins: (T, 7) int16, the label: the expert's action bins 0 … 255; the token is 31999 − bin.
        executed: (T, 7) float32, the action that LIBERO got, to `ACTION_GRID`.
        hand: (T, 3) float32, the grip site.
        thing: (T, 3) float32, what the first predicate that does not hold yet is about.
        place: (T, 3) float32, where that predicate wants it.
        holding: (T,) bool, whether both fingers touch the thing.
    """

    suite: str
    task: int
    instruction: str
    noise: Noise
    fixtures: Floats
    qpos: Float32
    bins: NDArray[np.int16]
    executed: Float32
    hand: Float32
    thing: Float32
    place: Float32
    holding: Bools

    def __len__(self) -> int:
        return len(self.qpos)

    def __getitem__(self, part: slice) -> LabelledEpisode:
        return replace(self, **{name: getattr(self, name)[part] for name in _ARRAYS})

    @property
    def opening(self) -> Float32:
        """(T, 1) float32, metres between the fingers, 0 … 0.08; the second's joint is negative."""
        return self.qpos[:, 7:8] - self.qpos[:, 8:9]


@dataclass(frozen=True)
class Chunk:
    """The content of a file: what is kept of some `attempts` in the scene of a task."""

    suite: str
    task: int
    attempts: int
    episodes: tuple[LabelledEpisode, ...]


_ARRAYS: dict[str, tuple[Any, float]] = {
    "qpos": (np.float32, POSE_GRID),
    "hand": (np.float32, POSE_GRID),
    "thing": (np.float32, POSE_GRID),
    "place": (np.float32, POSE_GRID),
    "executed": (np.float32, ACTION_GRID),
    "bins": (np.int16, 1),
    "holding": (np.bool_, 1),
}
"""Array → type in memory and grid on disk."""


def join_arrays(episodes: Sequence[LabelledEpisode]) -> dict[str, Any]:
    """The arrays of several episodes, one after another, by name."""
    joined = {}
    for name in _ARRAYS:
        joined[name] = np.concatenate([getattr(episode, name) for episode in episodes])
    return joined


def _pack(values: Array, grid: float) -> Picture:
    """(T, …) → (4, columns, T) uint8: changes on the grid, byte by byte."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    steps = np.rint(flat / grid).astype(np.int32)
    change = np.diff(steps, axis=0, prepend=np.int32(0))
    # "Zigzag" coding: small numbers of either sign get small codes.
    zigzag = (change << 1) ^ (change >> 31)
    octets = zigzag.astype("<u4").view(np.uint8).reshape(*zigzag.shape, 4)
    return np.ascontiguousarray(octets.transpose(2, 1, 0))


def _unpack(planes: Picture, grid: float) -> Floats:
    """The inverse of `_pack`: (T, columns) float64."""
    octets = np.ascontiguousarray(planes.transpose(2, 1, 0))
    zigzag = octets.view("<u4")[..., 0].astype(np.int64)
    change = (zigzag >> 1) ^ -(zigzag & 1)
    return change.cumsum(0) * grid


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a file as a whole or not at all.

    Args:
        path: the file, named by `chunk_name`; one that is there is replaced.
        chunk: at least one episode.

    Raises:
        TutorialError: it cannot be written, for example to a full disk.
    """
    header = {
        "format": CHUNK_FORMAT,
        "mujoco": mujoco.__version__,
        "suite": chunk.suite,
        "task": chunk.task,
        "attempts": chunk.attempts,
        "episodes": [_entry(episode) for episode in chunk.episodes],
    }
    joined = join_arrays(chunk.episodes)
    arrays = {name: _pack(array, _ARRAYS[name][1]) for name, array in joined.items()}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        header=np.array(json.dumps(header)),
        **arrays,
    )
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(buffer.getvalue())
        part.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise TutorialError(
            f"Cannot write {path} ({e.strerror}). What was written before is whole; "
            "make room and run again."
        ) from e


def _entry(episode: LabelledEpisode) -> dict[str, Any]:
    return {
        "instruction": episode.instruction,
        "noise": asdict(episode.noise),
        "fixtures": episode.fixtures.tolist(),
        "steps": len(episode),
    }


def load_chunk(path: Path) -> Chunk:
    """Read a file of demonstrations.

    Raises:
        TutorialError: damaged, another format, or another MuJoCo, whose pictures would differ.
    """
    header, arrays = _read(path, tuple(_ARRAYS))
    try:
        return _chunk(header, arrays)
    except _DAMAGE as e:
        raise _damaged(path, e) from e


def _read(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """The header and the named arrays."""
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            header_text = str(file["header"]).encode()
            where = f"The header of {path}"
            made = decode(header_text, _Made, where, _COLLECT)
            for what, here in (("format", CHUNK_FORMAT), ("mujoco", mujoco.__version__)):
                if getattr(made, what) != here:
                    raise TutorialError(
                        f"{path} was made with {what} {getattr(made, what)}, and this is {what} "
                        f"{here}. "
                        "Install that version or collect again."
                    )
            for name in names:
                kind, grid = _ARRAYS[name]
                arrays[name] = _unpack(file[name], grid).astype(kind)
        return decode_object(header_text, _Header, where, _COLLECT), arrays
    except _DAMAGE as e:
        raise _damaged(path, e) from e


class _Made(msgspec.Struct):
    """What a header must say before the rest of it is looked at."""

    format: int
    mujoco: Name


class _Entry(msgspec.Struct):
    instruction: Name
    noise: dict[str, Any]
    fixtures: list[list[float]]
    steps: Count


class _Header(msgspec.Struct):
    suite: Name
    task: Count
    attempts: Count
    episodes: list[_Entry]


_COLLECT = "Delete it and collect again."

_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


def _damaged(path: Path, reason: Exception) -> TutorialError:
    return TutorialError(f"{path} is damaged or no file of demonstrations ({reason}). {_COLLECT}")


def _chunk(header: dict[str, Any], arrays: dict[str, Array]) -> Chunk:
    arrays["holding"] = arrays["holding"][:, 0]
    episodes = []
    start = 0
    for entry in header["episodes"]:
        end = start + entry["steps"]
        episode = LabelledEpisode(
            suite=header["suite"],
            task=header["task"],
            instruction=entry["instruction"],
            noise=Noise(**entry["noise"]),
            fixtures=np.array(entry["fixtures"], np.float64).reshape(-1, 7),
            **{name: array[start:end] for name, array in arrays.items()},
        )
        episodes.append(episode)
        start = end
    if any(len(array) != start for array in arrays.values()):
        raise ValueError("lengths differ")
    return Chunk(
        header["suite"],
        header["task"],
        header["attempts"],
        tuple(episodes),
    )


def chunk_name(suite: str, task: int, chunk: int) -> str:
    """The name of a file: "libero_goal_task03_chunk0012.npz".

    Args:
        suite: one of LIBERO's.
        task: number within it.
        chunk: number of the file among the task's.
    """
    return f"{chunk_prefix((suite, task))}{chunk:04d}.npz"


def chunk_prefix(key: TaskKey) -> str:
    """How the names of a task's files begin: "libero_goal_task03_chunk"."""
    suite, task = key
    return f"{suite}_task{task:02d}_chunk"


def count_steps(path: Path) -> int:
    """How many steps a file holds, from its header alone; a TutorialError as `load_chunk`."""
    header = _read(path, ())[0]
    return sum(int(entry["steps"]) for entry in header["episodes"])
