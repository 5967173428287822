"""Collect demonstrations of the scripted expert on libero_object's ten scenes, without rendering.

`vla-tutorial train demos --help` says how. Restarting goes on where it stopped and gives the same data.
"""

from __future__ import annotations

import gc
import multiprocessing as mp
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from vla_tutorial import actions
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import Policy, PolicyInput, PrivilegedState
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.prompt import Prompt
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import BASKET, Layout, pose_column, random_layout
from vla_tutorial.training.chunks import Chunk, Episode, load_chunk, save_chunk
from vla_tutorial.training.noise import Disturbance, Noise

__all__ = ["Chunk", "Episode", "Noise", "collect", "collect_episode", "load_chunk"]

SUITE = "libero_object"
CHUNK = 20
"""Episodes in a file."""

MAX_STEPS = 220
STEPS_AFTER_SUCCESS = 4
REGION = "basket_1_contain_region"
"""Where LIBERO wants the target."""

_FINGER_PARTS = ("gripper0_finger{}_collision", "gripper0_finger{}_pad_collision")
_NOTHING: NDArray[np.uint8] = np.zeros((224, 224, 3), np.uint8)
_ATTEMPTS = 3
"""A chunk is left short when this many times its episodes were tried."""


def fingers_touch(simulator: Simulator, name: str) -> bool:
    """Whether both fingers touch the object."""
    model, pairs = simulator.model, simulator.data.contact.geom
    roots = model.body_rootid[model.geom_bodyid[pairs]]
    touching = set(pairs[roots[:, ::-1] == simulator.bodies[name]].tolist())
    return all(touching & {model.geom(part.format(k)).id for part in _FINGER_PARTS} for k in (1, 2))


def collect_episode(
    simulator: Simulator,
    expert: Policy,
    layout: Layout,
    rng: np.random.Generator,
    noise: Noise | None = None,
) -> Episode | None:
    """Let the expert work from `layout` while noise disturbs it.

    Args:
        simulator: of the layout's task; needs no camera.
        expert: a privileged policy.
        layout: the start and the target.
        rng: for the noise.
        noise: drawn at random when None.

    Returns:
        The episode until `STEPS_AFTER_SUCCESS` steps after success, or None when the target is not in the basket after `MAX_STEPS`.
    """
    noise = noise or Noise.random(rng)
    disturb, rows = Disturbance(noise, rng), []
    statistics = actions.find_statistics(SUITE, actions.embedded_statistics())
    seen = PolicyInput(
        _NOTHING,
        Prompt(""),
        PrivilegedState(simulator.model, simulator.data, simulator.bodies, (layout.target,)),
    )
    observation = simulator.reset(layout.state, layout.settle_steps)
    steps_left, succeeded = MAX_STEPS, False
    while steps_left:
        tokens = expert.predict([seen])[0]
        executed = disturb(actions.to_libero(actions.decode(tokens, statistics)))
        row = (
            simulator.pose_in_picture(),
            actions.VOCABULARY - 1 - tokens,
            executed,
            observation.eef_pos,
        )
        rows.append((*row, fingers_touch(simulator, layout.target)))
        observation, _, _ = simulator.step(executed)
        steps_left -= 1
        if not succeeded and simulator.inside(layout.target, REGION):
            succeeded, steps_left = True, min(steps_left, STEPS_AFTER_SUCCESS)
    return episode_of(simulator, layout, noise, rows) if succeeded else None


def episode_of(
    simulator: Simulator, layout: Layout, noise: Noise, rows: Sequence[tuple[object, ...]]
) -> Episode:
    """Steps as (qpos, bins, executed, eef_pos, holding), as `Episode` describes them, → an episode."""
    qpos, bins, executed, eef_pos, holding = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    return Episode(
        task=simulator.task.index,
        target=layout.target,
        instruction=layout.instruction,
        noise=noise,
        columns=(pose_column(simulator, layout.target), pose_column(simulator, BASKET)),
        qpos=qpos.astype(np.float32),
        bins=bins.astype(np.int16),
        executed=executed.astype(np.float32),
        eef_pos=eef_pos.astype(np.float32),
        holding=holding,
    )


def collect_chunk(
    simulator: Simulator, expert: Policy, chunk: int, episodes: int, seed: int
) -> Chunk:
    """Episodes of one file; which they are depends on seed, task and chunk number alone."""
    kept: list[Episode] = []
    attempts = 0
    while len(kept) < episodes and attempts < _ATTEMPTS * episodes:
        rng = np.random.default_rng([seed, simulator.task.index, chunk, attempts])
        episode = collect_episode(
            simulator, expert, random_layout(simulator, int(rng.integers(2**62))), rng
        )
        kept += [episode] if episode else []
        attempts += 1
    if not kept:
        raise TutorialError(
            f"The expert failed {attempts} times on task {simulator.task.index}; something is wrong with it or the scene."
        )
    return Chunk(simulator.task.index, attempts, tuple(kept))


def chunk_path(out: Path, task: int, chunk: int) -> Path:
    """`task03_chunk0007.npz`."""
    return out / f"task{task:02d}_chunk{chunk:04d}.npz"


def _job(out: Path, task: int, chunk: int, episodes: int, seed: int) -> str:
    """Make one file, in a worker process; returns a line about it. A simulator holds up to 1 GB, so none is kept."""
    begin = time.perf_counter()
    with Simulator(SUITE, task, render=False) as simulator:
        made = collect_chunk(simulator, ExpertPolicy(), chunk, episodes, seed)
    gc.collect()
    path = chunk_path(out, task, chunk)
    save_chunk(path, made)
    steps, seconds = sum(map(len, made.episodes)), time.perf_counter() - begin
    return (
        f"{path.name}: {len(made.episodes)} of {made.attempts} episodes, {steps} steps, "
        f"{path.stat().st_size / steps:.0f} bytes a step, {steps / seconds:.0f} steps/s"
    )


def collect(
    out: Path, tasks: Sequence[int], episodes_per_task: int, workers: int = 2, seed: int = 0
) -> None:
    """Fill `out` with files of demonstrations, all tasks evenly; files that are there are left alone.

    Args:
        out: folder, made when missing.
        tasks: numbers of libero_object's tasks.
        episodes_per_task: rounded up to whole files of 20.
        workers: processes, each with a simulator.
        seed: another seed gives other demonstrations.

    Raises:
        TutorialError: no room on the disk, or a worker died.
    """
    out.mkdir(parents=True, exist_ok=True)
    jobs = [
        (task, chunk)
        for chunk in range(-(-episodes_per_task // CHUNK))
        for task in tasks
        if not chunk_path(out, task, chunk).exists()
    ]
    console = Console(soft_wrap=True)
    with (
        ProcessPoolExecutor(workers, mp.get_context("spawn")) as pool,
        Progress(console=console) as progress,
    ):
        bar = progress.add_task("files", total=len(jobs))
        futures = [pool.submit(_job, out, task, chunk, CHUNK, seed) for task, chunk in jobs]
        try:
            for done in as_completed(futures):
                progress.console.print(done.result())
                progress.advance(bar)
        except BrokenProcessPool as e:
            raise TutorialError(
                "A worker was killed, most likely for memory (2 GB each). Run again with fewer --workers."
            ) from e
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
