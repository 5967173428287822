"""Pictures of stored demonstrations, made where the GPU is: 1 ms a frame there, 80 ms on two CPU cores."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_tutorial import pixels
from vla_tutorial.errors import TutorialError
from vla_tutorial.sim import Simulator
from vla_tutorial.training.chunks import Chunk, load_chunk
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
AS_TRAINED = Wiring(SUITE, center_crop=False)
"""What the policy sees, but whole: training crops at random where evaluation takes the centre."""

_JOBS_PER_WORKER = 3
_Uint8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Every picture of a folder of demonstrations.

    Attributes:
        frames: (N, 224, 224, 3) uint8, mapped from `pictures.u8`; all steps of all episodes of all files, in order.
        files: the demonstrations.
        starts: (files + 1,) int64; file k's steps are frames starts[k] … starts[k + 1] − 1.
    """

    frames: _Uint8
    files: tuple[Path, ...]
    starts: NDArray[np.int64]


def render_chunk(path: Path, simulator: Simulator) -> _Uint8:
    """What the policy saw at every step of a file, before the centre crop: (T, 224, 224, 3) uint8, episode after episode.

    Args:
        path: a file of demonstrations.
        simulator: of the file's task, with a camera. Its state is overwritten.

    Raises:
        TutorialError: the file cannot be read, or is of another task.
    """
    chunk = load_chunk(path)
    if (simulator.task.suite, simulator.task.index) != (SUITE, chunk.task):
        raise TutorialError(f"{path} shows {SUITE} task {chunk.task}; the simulator is {simulator.task.suite} task {simulator.task.index}.")
    out = np.empty((_steps(chunk), pixels.SIZE, pixels.SIZE, 3), np.uint8)
    for k, pose in enumerate(pose for episode in chunk.episodes for pose in episode.qpos):
        out[k] = pixels.prepare(simulator.view(pose), AS_TRAINED)
    return out


def _steps(chunk: Chunk) -> int:
    return sum(len(episode) for episode in chunk.episodes)


def render_all(folder: Path, workers: int = 16, out: Path | None = None) -> Pictures:
    """Render every file of a folder in parallel processes; what was rendered completely before is only opened.

    Args:
        folder: with the files of `demos.collect`.
        workers: processes, each with a simulator (2 GB).
        out: folder for `pictures.u8` (150 KB a step) and `pictures.json`; `folder` itself when None.

    Raises:
        TutorialError: no files, a file that cannot be read, no room, or a worker that died.
    """
    out = out or folder
    files = tuple(sorted(folder.glob("task*_chunk*.npz")))
    if not files:
        raise TutorialError(f"No demonstrations (task*_chunk*.npz) in {folder}; make some: python -m vla_tutorial.training.demos --help")
    chunks = [load_chunk(f) for f in files]
    starts = np.concatenate([[0], np.cumsum([_steps(c) for c in chunks])])
    index = {"files": [f.name for f in files], "starts": starts.tolist(), "crc32": [zlib.crc32(f.read_bytes()) for f in files]}
    array, done = out / "pictures.u8", out / "pictures.json"
    if not (done.exists() and json.loads(done.read_text()) == index):
        done.unlink(missing_ok=True)
        _allocate(array, int(starts[-1]))
        _render_files([(c.task, f, int(s)) for c, f, s in zip(chunks, files, starts[:-1], strict=True)], array, workers)
        done.write_text(json.dumps(index))
    return Pictures(_open(array, "r"), files, starts)


def _allocate(array: Path, steps: int) -> None:
    """Reserve the room, so that a full disk shows now and not as a bus error in a worker."""
    array.parent.mkdir(parents=True, exist_ok=True)
    size = steps * pixels.SIZE**2 * 3
    try:
        with array.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # not on a Mac
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
    except OSError as e:
        array.unlink(missing_ok=True)
        raise TutorialError(f"Cannot reserve {size / 1e9:.1f} GB for {array} ({e.strerror}); choose another folder with out=.") from e


def _open(array: Path, mode: str) -> _Uint8:
    """The file as (N, 224, 224, 3)."""
    frames: _Uint8 = np.memmap(array, np.uint8, mode)  # type: ignore[call-overload]
    return frames.reshape(-1, pixels.SIZE, pixels.SIZE, 3)


_Job = tuple[int, Path, int]
"""Task, file, first frame."""


def _render_files(jobs: Sequence[_Job], array: Path, workers: int) -> None:
    """Fill the array, with a line after every few files."""
    begin, frames, groups = time.perf_counter(), 0, _groups(jobs, workers)
    with ProcessPoolExecutor(min(workers, len(groups)), mp.get_context("spawn")) as pool:
        try:
            for k, future in enumerate(as_completed([pool.submit(_render_group, g, array) for g in groups]), 1):
                frames += future.result()
                rate = frames / (time.perf_counter() - begin)
                print(f"pictures: {k} of {len(groups)} parts, {frames} frames, {rate:.0f} frames/s", flush=True)
        except BrokenProcessPool as e:
            raise TutorialError("A worker was killed, most likely for memory (2 GB each). Run again with fewer workers.") from e
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _groups(jobs: Sequence[_Job], workers: int) -> list[list[_Job]]:
    """Files of one task each, about three groups a worker: building a simulator costs seconds."""
    size = max(1, len(jobs) // (_JOBS_PER_WORKER * workers))
    by_task = [[job for job in jobs if job[0] == task] for task in sorted({job[0] for job in jobs})]
    return [same[k : k + size] for same in by_task for k in range(0, len(same), size)]


def _render_group(jobs: Sequence[_Job], array: Path) -> int:
    """In a worker process; returns the number of frames."""
    total, frames = 0, _open(array, "r+")
    with Simulator(SUITE, jobs[0][0]) as simulator:
        for _, path, start in jobs:
            pictures = render_chunk(path, simulator)
            frames[start : start + len(pictures)] = pictures
            total += len(pictures)
    return total
