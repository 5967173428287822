"""Demonstrations on disk: some 20 episodes a file, as simulator states, small and without pictures.

A file is an .npz with a JSON header. Numbers are rounded to a grid, replaced by their change from step to step and stored column by
column, low bytes first, which deflate then shrinks to some 35 bytes a frame; what stands still costs nothing.
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

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError
from vla_tutorial.training.noise import ACTION_GRID, Noise

FORMAT = 1
POSE_GRID = 1e-5
"""Positions are stored to 0.01 mm and 0.01 mrad: a 40th of a pixel at most."""

_FINGERS = (7, 8)
"""Columns of the two finger joints in qpos (metres; the second is negative)."""


@dataclass(frozen=True)
class Episode:
    """One demonstration of T steps: what the camera saw, what the expert said, what was done. Metres, radians, world frame.

    Attributes:
        task: number of the libero_object scene; not always the one whose own target this is.
        target, instruction: what was asked for.
        noise: how the executed actions were disturbed.
        columns: where the target's and the basket's positions begin in qpos.
        qpos: (T, nq) float32, the positions that the picture before the action shows (`Simulator.pose_in_picture`).
        bins: (T, 7) int16, the label: the expert's action bins 0 … 255; the token is 31999 − bin.
        executed: (T, 7) float32, the action that LIBERO got.
        eef_pos: (T, 3) float32, the grip site.
        holding: (T,) bool, whether both fingers touch the target.
    """

    task: int
    target: str
    instruction: str
    noise: Noise
    columns: tuple[int, int]
    qpos: NDArray[np.float32]
    bins: NDArray[np.int16]
    executed: NDArray[np.float32]
    eef_pos: NDArray[np.float32]
    holding: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.qpos)

    def __getitem__(self, part: slice) -> Episode:
        """Some of its steps."""
        return replace(self, **{k: getattr(self, k)[part] for k in _ARRAYS})

    @property
    def target_pos(self) -> NDArray[np.float32]:
        """(T, 3) float32, the target's origin."""
        return self.qpos[:, self.columns[0] : self.columns[0] + 3]

    @property
    def basket_pos(self) -> NDArray[np.float32]:
        """(T, 3) float32, the basket's origin."""
        return self.qpos[:, self.columns[1] : self.columns[1] + 3]

    @property
    def opening(self) -> NDArray[np.float32]:
        """(T, 1) float32, metres between the fingers, 0 … 0.08."""
        one, other = _FINGERS
        return self.qpos[:, one : one + 1] - self.qpos[:, other : other + 1]


@dataclass(frozen=True)
class Chunk:
    """The content of a file.

    Attributes:
        task: number of the libero_object scene.
        attempts: episodes that were tried for it; the expert failed in the others, which were thrown away.
        episodes: those in which it succeeded.
    """

    task: int
    attempts: int
    episodes: tuple[Episode, ...]


_ARRAYS: dict[str, tuple[Any, float]] = {
    "qpos": (np.float32, POSE_GRID),
    "eef_pos": (np.float32, POSE_GRID),
    "executed": (np.float32, ACTION_GRID),
    "bins": (np.int16, 1),
    "holding": (np.bool_, 1),
}
"""Array → type in memory and grid on disk."""


def _pack(values: NDArray[Any], grid: float) -> NDArray[np.uint8]:
    """(T, …) → (4, columns, T) uint8: changes on the grid, byte by byte."""
    steps = np.rint(values.reshape(len(values), -1).astype(np.float64) / grid).astype(np.int32)
    change = np.diff(steps, axis=0, prepend=np.zeros((1, steps.shape[1]), np.int32))
    zigzag = (change << 1) ^ (change >> 31)  # small numbers of either sign get small codes
    return np.ascontiguousarray(
        zigzag.astype("<u4").view(np.uint8).reshape(*zigzag.shape, 4).transpose(2, 1, 0)
    )


def _unpack(planes: NDArray[np.uint8], grid: float) -> NDArray[np.float64]:
    """The inverse of `_pack`: (T, columns) float64."""
    zigzag = np.ascontiguousarray(planes.transpose(2, 1, 0)).view("<u4")[..., 0].astype(np.int64)
    change = (zigzag >> 1) ^ -(zigzag & 1)
    return change.cumsum(0) * grid


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a file as a whole or not at all.

    Raises:
        TutorialError: no room, or no right to write.
    """
    per_episode = [
        {k: asdict(e)[k] for k in ("target", "instruction", "noise", "columns")} | {"steps": len(e)}
        for e in chunk.episodes
    ]
    header = {
        "format": FORMAT,
        "mujoco": mujoco.__version__,
        "task": chunk.task,
        "attempts": chunk.attempts,
        "episodes": per_episode,
    }
    arrays = {
        k: _pack(np.concatenate([getattr(e, k) for e in chunk.episodes]), grid)
        for k, (_, grid) in _ARRAYS.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(buffer.getvalue())
        os.replace(part, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise TutorialError(
            f"Cannot write {path} ({e.strerror}). What was written before is whole; make room and run again."
        ) from e


def load_chunk(path: Path) -> Chunk:
    """Read a file of demonstrations.

    Raises:
        TutorialError: not such a file, damaged, of another format, or made with another MuJoCo, whose pictures would differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            _check(path, header)
            arrays: dict[str, NDArray[Any]] = {
                k: _unpack(file[k], grid).astype(kind) for k, (kind, grid) in _ARRAYS.items()
            }
        return _chunk(header, arrays)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        raise TutorialError(
            f"{path} is damaged or no file of demonstrations ({e}). Delete it and collect again."
        ) from e


def _check(path: Path, header: dict[str, Any]) -> None:
    for what, here in (("format", FORMAT), ("mujoco", mujoco.__version__)):
        if header[what] != here:
            raise TutorialError(
                f"{path} was made with {what} {header[what]}, and this is {what} {here}. Install that version or collect again."
            )


def _chunk(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Chunk:
    ends = np.cumsum([e["steps"] for e in header["episodes"]])
    if any(len(a) != ends[-1] for a in arrays.values()):
        raise ValueError("lengths differ")
    pieces: Sequence[dict[str, Any]] = [
        {k: a[end - e["steps"] : end] for k, a in arrays.items()}
        for e, end in zip(header["episodes"], ends, strict=True)
    ]
    episodes = tuple(
        Episode(
            task=header["task"],
            target=e["target"],
            instruction=e["instruction"],
            noise=Noise(**e["noise"]),
            columns=(e["columns"][0], e["columns"][1]),
            **(piece | {"holding": piece["holding"][:, 0]}),
        )
        for e, piece in zip(header["episodes"], pieces, strict=True)
    )
    return Chunk(header["task"], header["attempts"], episodes)
