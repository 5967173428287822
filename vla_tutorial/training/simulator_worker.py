"""One simulator's process in training: it renders stored demonstrations, then practises."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial import actions, pixels
from vla_tutorial.arrays import Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import Float32
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.sim import WORKER_NICENESS, Simulator
from vla_tutorial.training.chunks import (
    CHUNK_SIZE,
    Chunk,
    LabelledEpisode,
    TaskKey,
    chunk_name,
    chunk_prefix,
    load_chunk,
    save_chunk,
)
from vla_tutorial.training.labelling import MixingPolicy, as_trained, layout_seed, practise
from vla_tutorial.training.labels import Labels, keypoints
from vla_tutorial.training.noise import Looks
from vla_tutorial.training.sentences import family_number

_PRACTICE_CHUNKS = 10**6
"""Practice draws its layouts as chunks from this number on, which no demonstration has."""

STAY = 5
"""Episodes that a worker practises in a task's scene before it asks for another: building a
simulator costs some seconds."""

TRIES = 25
"""Layouts in a row that cannot be built, after which a task is given up: usually 1 in 50 fails."""


@dataclass(frozen=True)
class WorkerSpec:
    """A process that renders `files`, then may practise, which it saves in `out`.

    Attributes:
        number: among the run's workers.
        tasks: all of the run: a scene is named by its number among them.
        files: demonstrations.
        out: folder for practised episodes; None keeps none.
        practise: whether to go on with practice.
        seed: for layouts and looks.
        published: whether practised scenes keep their task's published places.
        looks: whether scenes are painted anew (`Looks`).
        turns: what is held while a picture is rendered, a semaphore of all workers; None where
            any number may render at once.
    """

    number: int
    tasks: Sequence[TaskKey]
    files: Sequence[Path] = ()
    out: Path | None = None
    practise: bool = True
    seed: int = 0
    published: bool = False
    looks: bool = False
    turns: AbstractContextManager[Any] | None = None


@dataclass(frozen=True)
class Rendered:
    """The slot holds the pictures of these labels; the answer is True, or None to stop.

    `origin` is a number for the first of them, the same in every run.
    """

    labels: Labels
    origin: int


@dataclass(frozen=True)
class Question:
    """What to do? The slot holds the picture; the answer is (bins (7,), beta), or None to stop."""

    labels: Labels


class RenderingDone:
    """Every demonstration is rendered."""


@dataclass(frozen=True)
class Ready:
    """Which task to practise? The answer is (its number among `tasks`, beta), or None to stop."""

    scene: int | None


@dataclass(frozen=True)
class Unbuildable:
    """No layout of a task can be built: its number among the run's, and the last reason."""

    scene: int
    reason: str


@dataclass(frozen=True)
class Practised:
    """How an episode of practice went.

    `scene`: number of the task among the run's. `free`: the policy acted alone. `own`: it was the
    task's own goal. `wide`: as in `Layout`. `midway`: it began in the middle of the task.
    `waiting`: how many of its `seconds` passed until an answer came.
    """

    scene: int
    instruction: str
    free: bool
    own: bool
    wide: bool
    midway: bool
    success: bool
    steps: int
    seconds: float
    waiting: float


def render_file(
    path: Path, simulator: Simulator, block: int, looks: Looks | None = None
) -> Iterator[tuple[Picture, Labels]]:
    """Render a file of demonstrations, block by block.

    Args:
        path: the file.
        simulator: of the same task, with a camera.
        block: pictures that are made at once, of one episode; the last block may be smaller.
        looks: of the simulator; then each block gets a look of its own.

    Yields:
        Pictures (N, 224, 224, 3) uint8, not cropped, and their labels.

    Raises:
        TutorialError: the file cannot be read, or is of another task.
    """
    chunk = load_chunk(path)
    task = simulator.task
    if (task.suite, task.index) != (chunk.suite, chunk.task):
        raise TutorialError(
            f"{path} shows {chunk.suite} task {chunk.task}; the simulator is of {task.suite} task "
            f"{task.index}."
        )
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    for episode in chunk.episodes:
        family = family_number(episode.instruction)
        for start in range(0, len(episode), block):
            if looks:
                looks.vary(rng)
            part = episode[start : start + block]
            pictures, points = _render(part, simulator)
            yield pictures, Labels.of(part, points, family)


def _render(part: LabelledEpisode, simulator: Simulator) -> tuple[Picture, Float32]:
    """Pictures (N, 224, 224, 3) and keypoints (N, K, 2) of all steps."""
    wiring = as_trained(part.suite)
    pictures = []
    points = []
    for pose in part.qpos:
        picture = simulator.view(pose, part.fixtures)
        pictures.append(pixels.prepare(picture, wiring))
        points.append(keypoints(simulator))
    return np.stack(pictures), np.stack(points)


class _Stopped(Exception):
    """The trainer answered None."""


def run_worker(
    spec: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """The worker process: it sends the messages above until the trainer answers None.

    `slot_file` is in shared memory, uint8, of this `shape` (workers, block, 224, 224, 3). The
    worker writes to the slot of its number.
    """
    # A terminal sends these to all processes; the trainer decides what they end.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(WORKER_NICENESS)
    slots: Picture = np.memmap(slot_file, np.uint8, "r+", shape=shape)
    # The end of the pipe is the end of the trainer.
    the_end = contextlib.suppress(_Stopped, EOFError, BrokenPipeError)
    with connection, the_end:
        worker = _Worker(spec, slots[spec.number], connection)
        worker.render()
        while spec.practise:
            worker.practise()


@dataclass
class _Worker:
    """A worker at its end of the pipe; `beta` is what the trainer last said."""

    spec: WorkerSpec
    slot: Picture
    connection: Connection
    beta: float = 0.0
    scene: int | None = None
    wording: float = 0.0
    practised: int = 0
    waiting: float = 0.0

    def render(self) -> None:
        for key in self.spec.tasks:
            mine = [path for path in self.spec.files if path.name.startswith(chunk_prefix(key))]
            if not mine:
                continue
            with self.simulator_of(key) as simulator:
                looks = self.looks_of(simulator)
                for path in mine:
                    self.render_file(path, simulator, looks)
        self.connection.send(RenderingDone())

    def simulator_of(self, key: TaskKey) -> Simulator:
        simulator = Simulator(*key)
        if self.spec.turns:
            simulator.take_turns(self.spec.turns)
        return simulator

    def looks_of(self, simulator: Simulator) -> Looks | None:
        return Looks(simulator.model) if self.spec.looks else None

    def render_file(self, path: Path, simulator: Simulator, looks: Looks | None) -> None:
        # A file holds fewer than 2**20 steps, so that origins never overlap.
        origin = zlib.crc32(path.name.encode()) << 20
        for images, labels in render_file(path, simulator, len(self.slot), looks):
            self.slot[: len(images)] = images
            self.hear(Rendered(labels, origin))
            origin += len(images)

    def hear(self, message: Rendered | Question | Ready) -> Any:
        self.connection.send(message)
        answer = self.connection.recv()
        if answer is None:
            raise _Stopped
        return answer

    def practise(self) -> None:
        """Practise in the scene that the trainer names, until it names another."""
        if self.scene is None:
            self.scene, self.beta = self.hear(Ready(None))
        key = self.spec.tasks[self.scene]
        expert = ExpertPolicy()
        kept: list[LabelledEpisode] = []
        with self.simulator_of(key) as simulator:
            looks = self.looks_of(simulator)
            rng = np.random.default_rng([self.spec.seed, self.spec.number, self.practised])
            try:
                for number in itertools.count(1):
                    if looks:
                        looks.vary(rng)
                    practised = self.try_once(simulator, expert)
                    kept += practised
                    if number % STAY == 0 or not practised:
                        scene, self.beta = self.hear(Ready(self.scene))
                        if scene != self.scene:
                            self.scene = scene
                            return
                    if len(kept) >= CHUNK_SIZE:
                        self.save(key, kept)
                        kept = []
            finally:
                self.save(key, kept)

    def try_once(self, simulator: Simulator, expert: ExpertPolicy) -> list[LabelledEpisode]:
        """Practise in the next layout that can be built; none where `TRIES` in a row cannot."""
        assert self.scene is not None
        reason = ""
        for _ in range(TRIES):
            try:
                return [self.practise_once(simulator, expert)]
            except TutorialError as e:
                reason = str(e)
        self.connection.send(Unbuildable(self.scene, reason))
        return []

    def practise_once(self, simulator: Simulator, expert: ExpertPolicy) -> LabelledEpisode:
        spec = self.spec
        assert self.scene is not None
        begun = time.perf_counter()
        suite, task = spec.tasks[self.scene]
        chunk = _PRACTICE_CHUNKS + spec.number
        seed = layout_seed(spec.seed, suite, task, chunk, self.practised, spec.published)
        self.practised += 1
        self.waiting = 0.0
        rng = np.random.default_rng(seed)
        # A layout that cannot be built is noticed here.
        policy = MixingPolicy(simulator, seed, expert, self.ask, rng, self.beta)
        # Half of the episodes are asked for in the published words.
        self.wording = float(rng.random()) if rng.random() < 0.5 else 0.0
        succeeded = practise(policy)
        result = Practised(
            scene=self.scene,
            instruction=policy.layout.instruction,
            free=policy.turns.free,
            own=policy.layout.goal == simulator.goal,
            wide=policy.layout.wide,
            midway=bool(policy.layout.begun),
            success=succeeded,
            steps=len(policy.steps),
            seconds=round(time.perf_counter() - begun, 1),
            waiting=round(self.waiting, 1),
        )
        self.connection.send(result)
        return policy.episode()

    def ask(self, picture: Picture, step: LabelledEpisode, points: Float32) -> tuple[Ints, float]:
        self.slot[0] = picture
        family = family_number(step.instruction)
        labels = Labels.of(step, points, family, self.wording)
        asked = time.perf_counter()
        bins, self.beta = self.hear(Question(labels))
        self.waiting += time.perf_counter() - asked
        return actions.bin_tokens(bins), self.beta

    def save(self, key: TaskKey, episodes: Sequence[LabelledEpisode]) -> None:
        spec = self.spec
        if spec.out and episodes:
            number = 9 * 10**8 + spec.number * 10**5 + self.practised
            # An earlier slice of the run may have practised as many.
            while (path := spec.out / chunk_name(*key, number)).exists():
                number += 1
            save_chunk(path, Chunk(*key, len(episodes), tuple(episodes)))
