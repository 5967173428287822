"""Collect demonstrations of the scripted expert on the suites' scenes, without rendering."""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing as mp
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np

from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import rollout
from vla_tutorial.policies.base import Policy
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.sim import Simulator
from vla_tutorial.training.chunks import (
    CHUNK_SIZE,
    Chunk,
    LabelledEpisode,
    TaskKey,
    chunk_name,
    save_chunk,
)
from vla_tutorial.training.labelling import FREE_STEPS, LabellingPolicy, layout_seed
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.wiring import Wiring

_ATTEMPTS = 3
"""A chunk is left short when this many times its episodes were tried."""

log = logging.getLogger(__name__)


class ExpertFailed(TutorialError):
    """The expert succeeded in no attempt at a task."""


def collect_episode(
    simulator: Simulator,
    expert: Policy,
    seed: int,
    rng: np.random.Generator,
    noise: Noise | None = None,
) -> LabelledEpisode | None:
    """Let the expert work in a random layout.

    Args:
        simulator: of the task; it needs no camera.
        expert: whose actions are the labels.
        seed: of the layout (`layout_seed`).
        rng: for what disturbs the executed actions.
        noise: how they are disturbed; None draws it from `rng`.

    Returns:
        The episode until success; None if there is none.

    Raises:
        TutorialError: the layout cannot be built.
    """
    disturb = Disturbance(noise or Noise.random(rng), rng)
    policy = LabellingPolicy(simulator, seed, expert, disturb)
    wiring = unseen(simulator.task.suite)
    succeeded = any(step.done for step in rollout(policy, simulator, wiring, policy.scene))
    return policy.episode() if succeeded else None


def unseen(suite: str) -> Wiring:
    """The expert looks at no picture: a small black one costs least."""
    return Wiring(suite, camera_size=8, jpeg=False, center_crop=False, max_steps=FREE_STEPS[suite])


def collect_chunk(
    simulator: Simulator,
    expert: Policy,
    chunk: int,
    episodes: int,
    seed: int,
    published: bool = False,
) -> Chunk:
    """Episodes of one file; which they are depends on the other arguments and the task alone.

    Args:
        simulator: of the task; it needs no camera.
        expert: who acts.
        chunk: the file's number.
        episodes: how many to keep; failures are left out.
        seed: the collection's.
        published: whether scenes keep the task's published places (`layout_seed`).

    Returns:
        The episodes, fewer where `_ATTEMPTS` times as many were tried.

    Raises:
        ExpertFailed: no attempt succeeded.
    """
    suite = simulator.task.suite
    task = simulator.task.index
    kept: list[LabelledEpisode] = []
    attempts = 0
    reason = ""
    while len(kept) < episodes and attempts < _ATTEMPTS * episodes:
        drawn = layout_seed(seed, suite, task, chunk, attempts, published)
        rng = np.random.default_rng(drawn)
        attempts += 1
        try:
            episode = collect_episode(simulator, expert, drawn, rng)
        except TutorialError as e:
            # Some layouts cannot be built.
            reason = f" The last reason: {e}"
            continue
        if episode:
            kept.append(episode)
    if not kept:
        raise ExpertFailed(
            f"The expert failed {attempts} times on {suite} task {task}: it or the scene is broken."
            f"{reason}"
        )
    return Chunk(suite, task, attempts, tuple(kept))


def _make_file(
    out: Path, key: TaskKey, chunk: int, episodes: int, seed: int, published: bool
) -> str:
    """Make one file; returns a line about it. A worker process runs it."""
    begin = time.perf_counter()
    # A simulator holds up to 1 GB, so none is kept for the next file.
    with Simulator(*key, unseen(key[0]).camera_size, render=False) as simulator:
        made = collect_chunk(simulator, ExpertPolicy(), chunk, episodes, seed, published)
    path = out / chunk_name(*key, chunk)
    save_chunk(path, made)
    seconds = time.perf_counter() - begin
    steps = sum(map(len, made.episodes))
    return (
        f"{path.name}: {len(made.episodes)} of {made.attempts} episodes, {steps} steps, "
        f"{path.stat().st_size / steps:.0f} bytes a step, {steps / seconds:.0f} steps/s"
    )


def collect(
    out: Path,
    tasks: Sequence[TaskKey],
    episodes_per_task: int,
    workers: int = 2,
    seed: int = 0,
    published: bool = False,
    seconds: float = math.inf,
) -> bool:
    """Fill `out` with files of demonstrations, all tasks evenly; existing files are left alone.

    A task on which the expert fails is left out with a warning.

    Args:
        out: made when missing.
        tasks: (suite, number) of each.
        episodes_per_task: rounded up to whole files of 20.
        workers: processes, each with a simulator.
        seed: for layouts and noise.
        published: whether scenes keep their task's published places (libero_object alone).
        seconds: after which no file is begun; those that are begun are finished.

    Returns:
        Whether every file is there now.

    Raises:
        TutorialError: the disk is full, or a worker died.
    """
    out.mkdir(parents=True, exist_ok=True)
    missing = _missing(out, tasks, episodes_per_task)
    log.info("%d files to make, each of %d episodes", len(missing), CHUNK_SIZE)
    make = partial(_make_file, out, episodes=CHUNK_SIZE, seed=seed, published=published)
    _make_files(make, missing, workers, time.monotonic() + seconds)
    left = len(_missing(out, tasks, episodes_per_task))
    log.info("%d of %d files are made", len(missing) - left, len(missing))
    return left == 0


def _make_files(
    make: Callable[..., str], missing: Sequence[tuple[TaskKey, int]], workers: int, until: float
) -> None:
    """Make the files, `workers` at a time; none is begun after `until` by the monotonic clock."""
    waiting = list(reversed(missing))
    running: set[Future[str]] = set()
    with _pool(workers) as pool:
        while True:
            while waiting and len(running) < workers and time.monotonic() < until:
                running.add(pool.submit(make, *waiting.pop()))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                _tell(one)


def _missing(
    out: Path, tasks: Sequence[TaskKey], episodes_per_task: int
) -> list[tuple[TaskKey, int]]:
    """Task and number of each file that is not there, all tasks evenly."""
    found = []
    for chunk in range(math.ceil(episodes_per_task / CHUNK_SIZE)):
        todo = [key for key in tasks if not (out / chunk_name(*key, chunk)).exists()]
        found += [(key, chunk) for key in todo]
    return found


def _tell(done: Future[str]) -> None:
    try:
        log.info(done.result())
    except ExpertFailed as e:
        log.warning(str(e))


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # A terminal sends Ctrl-C to all processes; this one decides what it ends.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    context = mp.get_context("spawn")
    with ProcessPoolExecutor(workers, context, signal.signal, ignore) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            # A file is written in one move, so that a worker may be killed at any moment.
            for worker in mp.active_children():
                worker.kill()
            raise
        except BrokenProcessPool as e:
            raise TutorialError(
                "A worker was killed, most likely for memory (2 GB each). "
                "Run again with fewer --workers."
            ) from e
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
