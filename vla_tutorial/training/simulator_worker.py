"""One simulator's process in training: it renders stored demonstrations, then practises."""

from __future__ import annotations

import contextlib
import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial import actions, pixels
from vla_tutorial.arrays import Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.sim import Simulator
from vla_tutorial.training.chunks import CHUNK_SIZE, Chunk, LabelledEpisode, load_chunk, save_chunk
from vla_tutorial.training.labelling import AS_TRAINED, SUITE, MixingPolicy, layout_seed, practise
from vla_tutorial.training.labels import Labels, keypoints

_PRACTICE_CHUNKS = 10**6
"""Practice draws its layouts as chunks from this number on, which no demonstration has."""


@dataclass(frozen=True)
class WorkerSpec:
    """A process that renders its task's `files`, then may practise, which it saves in `out`."""

    task: int
    number: int
    files: Sequence[Path] = ()
    out: Path | None = None
    practise: bool = True
    seed: int = 0


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
class Practised:
    """How an episode of practice went.

    `free`: the policy acted alone. `own`: the target was the task's. `wide`: as in `Layout`.
    """

    task: int
    free: bool
    own: bool
    wide: bool
    success: bool
    steps: int
    seconds: float


def render_file(path: Path, simulator: Simulator, block: int) -> Iterator[tuple[Picture, Labels]]:
    """A file's pictures (N, 224, 224, 3), not cropped, with labels; N ≤ `block`, of one episode.

    Raises:
        TutorialError: the file cannot be read, or is of another task.
    """
    chunk = load_chunk(path)
    if simulator.task.index != chunk.task:
        raise TutorialError(
            f"{path} shows task {chunk.task}; the simulator is of task {simulator.task.index}."
        )
    for episode in chunk.episodes:
        for start in range(0, len(episode), block):
            part = episode[start : start + block]
            pictures = []
            points = []
            for pose in part.qpos:
                pictures.append(pixels.prepare(simulator.view(pose), AS_TRAINED))
                points.append(keypoints(simulator))
            yield np.stack(pictures), Labels.of(part, np.stack(points))


class _Stopped(Exception):
    """The trainer answered None."""


def run_worker(
    spec: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """The worker process: it sends the messages above until the trainer answers None.

    `slot_file` is in shared memory, uint8, of this `shape` (workers, block, 224, 224, 3). The
    worker writes to the slot of its number.
    """
    slots: Picture = np.memmap(slot_file, np.uint8, "r+", shape=shape)
    # The end of the pipe is the end of the trainer.
    the_end = contextlib.suppress(_Stopped, EOFError, BrokenPipeError)
    with connection, the_end, Simulator(SUITE, spec.task) as simulator:
        worker = _Worker(spec, simulator, slots[spec.number], connection)
        worker.render()
        if spec.practise:
            worker.practise()


@dataclass
class _Worker:
    """A worker at its end of the pipe; `beta` is what the trainer last said."""

    spec: WorkerSpec
    simulator: Simulator
    slot: Picture
    connection: Connection
    beta: float = 0.0

    def render(self) -> None:
        for path in self.spec.files:
            # A file holds fewer than 2**20 steps, so that origins never overlap.
            origin = zlib.crc32(path.name.encode()) << 20
            for images, labels in render_file(path, self.simulator, len(self.slot)):
                self.slot[: len(images)] = images
                self.hear(Rendered(labels, origin))
                origin += len(images)
        self.connection.send(RenderingDone())

    def hear(self, message: Rendered | Question) -> Any:
        self.connection.send(message)
        answer = self.connection.recv()
        if answer is None:
            raise _Stopped
        return answer

    def ask(self, picture: Picture, labels: Labels) -> tuple[Ints, float]:
        self.slot[0] = picture
        bins, self.beta = self.hear(Question(labels))
        return actions.bin_tokens(bins), self.beta

    def practise(self) -> None:
        expert = ExpertPolicy()
        kept = []
        try:
            for number in itertools.count():
                kept.append(self.practise_once(expert, number))
                if len(kept) == CHUNK_SIZE:
                    self.save(kept, number + 1)
                    kept = []
        except _Stopped:
            self.save(kept, number)

    def practise_once(self, expert: ExpertPolicy, number: int) -> LabelledEpisode:
        spec = self.spec
        begun = time.perf_counter()
        key = (spec.seed, spec.task, _PRACTICE_CHUNKS + spec.number, number)
        rng = np.random.default_rng(key)
        policy = MixingPolicy(self.simulator, layout_seed(*key), expert, self.ask, rng, self.beta)
        succeeded = practise(policy)
        result = Practised(
            task=spec.task,
            free=policy.turns.free,
            own=policy.layout.target == self.simulator.targets[0],
            wide=policy.layout.wide,
            success=succeeded,
            steps=len(policy.steps),
            seconds=round(time.perf_counter() - begun, 1),
        )
        self.connection.send(result)
        return policy.episode()

    def save(self, episodes: list[LabelledEpisode], number: int) -> None:
        spec = self.spec
        if spec.out and episodes:
            name = f"task{spec.task:02d}_chunk9{spec.number:03d}{number:04d}.npz"
            save_chunk(spec.out / name, Chunk(spec.task, len(episodes), tuple(episodes)))
