"""One simulator's work for training: render stored demonstrations, then drive episodes in turn with the policy, every state labelled by the expert."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial import actions, pixels
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput, PrivilegedState
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.prompt import Prompt
from vla_tutorial.sim import Observation, Simulator
from vla_tutorial.sim.layouts import Layout, random_layout
from vla_tutorial.training.chunks import Chunk, Episode, load_chunk, save_chunk
from vla_tutorial.training.demos import REGION, SUITE, episode_of, fingers_touch
from vla_tutorial.training.keypoints import places
from vla_tutorial.training.labels import Labels
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.wiring import Wiring

AS_TRAINED = Wiring(SUITE, center_crop=False)
"""What the policy sees, but whole: training crops at random where evaluation takes the centre."""

FREE_STEPS, MIXED_STEPS = 240, 260
STEPS_AFTER_SUCCESS = 3
EPISODES_A_FILE = 20
_NOTHING: NDArray[np.uint8] = np.zeros((224, 224, 3), np.uint8)
_LOST = -0.1
"""Metres: a target this far under the floor has fallen off it."""

Ask = Callable[[NDArray[np.uint8], Labels], tuple[NDArray[np.int64], float]]
"""A picture (224, 224, 3) uint8 with its labels (of one step) → the policy's tokens (7,) and how mature it is, 0 … 1."""


@dataclass(frozen=True)
class Work:
    """What one worker process does.

    Attributes:
        task: whose scene.
        number: the worker's, for seeds and file names.
        files: demonstrations of this task to render first.
        out: folder for the episodes that it drives; None keeps none.
        drive: whether to drive episodes after rendering.
        seed: for the layouts.
    """

    task: int
    number: int
    files: tuple[Path, ...] = ()
    out: Path | None = None
    drive: bool = True
    seed: int = 0


class Driver:
    """Who acts in an episode: the policy, in stretches, and the expert, disturbed, in between. The younger the policy, the more the expert."""

    def __init__(self, rng: np.random.Generator, beta: float) -> None:
        self.rng, self.beta = rng, beta
        self.free = rng.random() < 0.4 * beta
        self.policy_acts = self.free or rng.random() < 0.5
        self.left = self._stretch()
        self.disturb = Disturbance(Noise.random(rng) if rng.random() < 0.5 else Noise(), rng)

    def _stretch(self) -> int:
        mean = 10 + 60 * self.beta if self.policy_acts else 40 - 26 * self.beta
        return 1 + int(self.rng.exponential(mean))

    def choose(
        self, expert: NDArray[np.float64], policy: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The action (7,) that is executed."""
        if not self.free and self.left == 0:
            self.policy_acts = not self.policy_acts
            self.left = self._stretch()
        self.left -= 1
        executed = policy if self.policy_acts else self.disturb(expert)
        return np.asarray(np.round(executed / 1e-3) * 1e-3)


def prepared(observation: Observation) -> NDArray[np.uint8]:
    """(224, 224, 3) uint8: what the policy sees, before the centre crop."""
    return pixels.prepare(observation.image, AS_TRAINED)


def drive_episode(
    simulator: Simulator, expert: ExpertPolicy, layout: Layout, driver: Driver, ask: Ask
) -> tuple[Episode, bool]:
    """Run an episode with both at the wheel; returns what was seen and labelled, and whether the target reached the basket."""
    statistics = actions.find_statistics(SUITE, actions.embedded_statistics())
    state = PrivilegedState(simulator.model, simulator.data, simulator.bodies, (layout.target,))
    body = simulator.bodies[layout.target]
    observation, rows = simulator.reset(layout.state, layout.settle_steps), []
    steps_left, succeeded = FREE_STEPS if driver.free else MIXED_STEPS, False
    while steps_left:
        label = expert.predict([PolicyInput(_NOTHING, Prompt(""), state)])[0]
        row: tuple[Any, ...] = (
            simulator.pose_in_picture(),
            actions.VOCABULARY - 1 - label,
            np.zeros(7),
            observation.eef_pos,
        )
        row = (*row, fingers_touch(simulator, layout.target))
        one = Labels.of(
            episode_of(simulator, layout, driver.disturb.noise, [row]), places(simulator)[None]
        )
        tokens, driver.beta = ask(prepared(observation), one)
        executed = driver.choose(
            *(actions.to_libero(actions.decode(t, statistics)) for t in (label, tokens))
        )
        rows.append((*row[:2], executed, *row[3:]))
        observation, _, _ = simulator.step(np.clip(executed, -1, 1))
        steps_left = steps_left - 1 if simulator.data.xpos[body][2] > _LOST else 0
        if not succeeded and simulator.inside(layout.target, REGION):
            succeeded, steps_left = True, min(steps_left, STEPS_AFTER_SUCCESS)
    return episode_of(simulator, layout, driver.disturb.noise, rows), succeeded


def render_file(
    path: Path, simulator: Simulator, block: int
) -> Iterator[tuple[NDArray[np.uint8], Labels]]:
    """The pictures of a file of demonstrations with their labels, in blocks of at most `block` frames of one episode.

    Raises:
        TutorialError: the file cannot be read, or is of another task.
    """
    chunk = load_chunk(path)
    if (simulator.task.suite, simulator.task.index) != (SUITE, chunk.task):
        raise TutorialError(
            f"{path} shows {SUITE} task {chunk.task}; the simulator is {simulator.task.suite} task {simulator.task.index}."
        )
    for episode in chunk.episodes:
        for start in range(0, len(episode), block):
            part = episode[start : start + block]
            seen = [
                (pixels.prepare(simulator.view(pose), AS_TRAINED), places(simulator))
                for pose in part.qpos
            ]
            images, where = (np.stack(column) for column in zip(*seen, strict=True))
            yield images, Labels.of(part, where)


def work(job: Work, slot_file: Path, shape: tuple[int, ...], connection: Connection) -> None:
    """The worker process; it stops when told None.

    It sends ("frames", (labels, origin)) or ("ask", labels) with the pictures in its slot, ("rendered", number) after the demonstrations and
    ("end", facts) after an episode.

    Args:
        slot_file: a file of (workers, block, 224, 224, 3) uint8 in shared memory, of that `shape`; this worker writes to its number's block.
    """
    slot: NDArray[np.uint8] = np.memmap(slot_file, np.uint8, "r+", shape=shape)[job.number]
    try:
        with Simulator(SUITE, job.task) as simulator:
            for path in job.files:
                origin = zlib.crc32(path.name.encode()) << 20  # a file holds fewer steps than that
                for images, labels in render_file(path, simulator, len(slot)):
                    slot[: len(images)] = images
                    connection.send(("frames", (labels, origin)))
                    origin += len(images)
                    if connection.recv() is None:
                        return
            connection.send(("rendered", job.number))
            if job.drive:
                _drive(job, simulator, slot, connection)
    except (EOFError, BrokenPipeError):  # the trainer is gone
        return
    finally:
        connection.close()


class _Stop(Exception):
    """The trainer has had enough."""


def _drive(
    job: Work, simulator: Simulator, slot: NDArray[np.uint8], connection: Connection
) -> None:
    beta = 0.0

    def ask(picture: NDArray[np.uint8], labels: Labels) -> tuple[NDArray[np.int64], float]:
        nonlocal beta
        slot[0] = picture
        connection.send(("ask", labels))
        answer = connection.recv()
        if answer is None:
            raise _Stop
        bins, beta = answer
        return actions.VOCABULARY - 1 - bins.astype(np.int64), beta

    expert, kept, number = ExpertPolicy(), [], 0
    try:
        while True:
            rng = np.random.default_rng([job.seed, 7, job.number, number])
            layout, driver, begun = (
                random_layout(simulator, int(rng.integers(2**62))),
                Driver(rng, beta),
                time.perf_counter(),
            )
            episode, succeeded = drive_episode(simulator, expert, layout, driver, ask)
            kept.append(episode)
            number += 1
            facts = {
                "task": job.task,
                "free": driver.free,
                "own": layout.target == simulator.targets[0],
                "wide": layout.wide,
            }
            facts |= {
                "success": succeeded,
                "steps": len(episode),
                "seconds": round(time.perf_counter() - begun, 1),
            }
            connection.send(("end", facts))
            if len(kept) == EPISODES_A_FILE:
                _save(job, kept, number)
                kept = []
    except _Stop:
        _save(job, kept, number)


def _save(job: Work, episodes: Sequence[Episode], number: int) -> None:
    if job.out and episodes:
        name = f"task{job.task:02d}_chunk9{job.number:03d}{number:04d}.npz"
        save_chunk(job.out / name, Chunk(job.task, len(episodes), tuple(episodes)))
