"""Simulators in processes, and the thread that serves them: pictures and labels in, answers out."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing as mp
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import shared_memory_folder
from vla_tutorial.pixels import SIZE
from vla_tutorial.sim import one_thread
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.labels import Labels
from vla_tutorial.training.samples import Samples
from vla_tutorial.training.schedule import Schedule
from vla_tutorial.training.simulator_worker import (
    Practised,
    Question,
    Ready,
    Rendered,
    RenderingDone,
    Unbuildable,
    WorkerSpec,
    run_worker,
)

BLOCK = 48
"""Pictures that a renderer hands over at once."""

GATHER = 256
"""Practised pictures that are added at once, or what came within a second: adding costs the same
time for one as for many, and workers wait for their answers meanwhile."""

log = logging.getLogger(__name__)


@dataclass
class Service:
    """Where the time of practice went since the last look.

    Attributes:
        batches, questions: answers given at once, and workers that got one.
        answering, adding: seconds of the serving thread.
        steps, seconds, waiting: of the episodes that ended: steps, seconds of their workers, and
            seconds of these that passed until an answer came.
    """

    batches: int = 0
    questions: int = 0
    answering: float = 0.0
    adding: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0

    def summary(self) -> dict[str, float]:
        """Name → number for the curves; a mean of nothing is 0."""
        batches = max(self.batches, 1)
        steps = max(self.steps, 1)
        return {
            "answered_at_once": self.questions / batches,
            "ms_an_answer": 1000 * self.answering / batches,
            "ms_adding_an_answer": 1000 * self.adding / batches,
            "ms_a_practised_step": 1000 * self.seconds / steps,
            "ms_of_it_waiting": 1000 * self.waiting / steps,
        }


class SimulatorPool(threading.Thread):
    """Workers and the thread that serves them until `stop`.

    Attributes:
        beta: 0 … 1, set by the trainer: how much the policy acts.
        practising: set by the trainer: whether workers that are ready may practise.
        rendering: workers that still render demonstrations.
        lost: workers that died while they did.
        episodes: how many were practised so far.
        schedule: which task needs practice, and how the policy does in each.
        service: where the time went; who looks may set a fresh one.
        error: the thread's own, if it died.
    """

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        samples: Samples,
        answers: InferenceCopy | None,
        schedule: Schedule,
        keep: float = 1.0,
    ) -> None:
        """Start a process for each spec.

        Args:
            specs: the workers.
            samples: where pictures and labels go.
            answers: the policy in training; None where nobody practises.
            schedule: of the same tasks as the specs.
            keep: share of the practised steps that is kept, 0 … 1, beside all fine work:
                neighbours differ little.
        """
        super().__init__(daemon=True)
        self.samples = samples
        self.answers = answers
        self.keep = keep
        self.beta = 0.0
        self.practising = True
        self._waiting: list[tuple[Connection, Ready]] = []
        self.rendering = len(specs)
        self.lost = 0
        self.episodes = 0
        self.error = ""
        self.schedule = schedule
        self.service = Service()
        self._gathered: list[tuple[Picture, Labels]] = []
        self._gathered_since = 0.0
        self._rng = np.random.default_rng(0)
        self._stop_asked = threading.Event()
        shape = (len(specs), BLOCK, SIZE, SIZE, 3)
        handle, name = tempfile.mkstemp(prefix="vla_pictures_", dir=shared_memory_folder())
        os.close(handle)
        self._slot_file = Path(name)
        self._slots: Picture = np.memmap(self._slot_file, np.uint8, "w+", shape=shape)
        self._number: dict[Connection, int] = {}
        # Where each worker practises now.
        self._scene: dict[Connection, int] = {}
        self._has_rendered: set[Connection] = set()
        self._processes = [self._start_process(spec) for spec in specs]

    def _start_process(self, spec: WorkerSpec) -> BaseProcess:
        context = mp.get_context("spawn")
        here, there = context.Pipe()
        arguments = (spec, self._slot_file, self._slots.shape, there)
        process = context.Process(target=run_worker, args=arguments, daemon=True)
        with one_thread():
            process.start()
        there.close()
        self._number[here] = spec.number
        return process

    @property
    def alive(self) -> int:
        """Workers that still answer."""
        return len(self._number)

    def check(self) -> None:
        """Raise a TutorialError if nothing more can come."""
        if self.schedule.hopeless:
            raise TutorialError(
                "No task has a layout that can be built; the warnings above give the reasons. "
                "Choose other --tasks, or mend the layouts."
            )
        finished = self.answers is None and not (self.rendering or self.lost)
        if self.error or not (self.alive or finished):
            raise TutorialError(
                "No simulator answers any more; each needs about 1 GB of memory. "
                f"Run again with fewer --workers.\n{self.error}"
            )

    def run(self) -> None:
        """Serve: the thread's body."""
        try:
            stream = None
            if self.samples.device.type == "cuda":
                stream = torch.cuda.Stream(self.samples.device, priority=-1)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                self._serve()
        except Exception:
            self.error = traceback.format_exc()

    def _serve(self) -> None:
        while self._number and not self._stop_asked.is_set():
            asked = {}
            for connection, message in self._receive():
                if isinstance(message, Question):
                    asked[connection] = message.labels
                elif isinstance(message, Ready):
                    self._waiting.append((connection, message))
                else:
                    self._note(connection, message)
            if asked and self.answers:
                self._answer(asked, self.answers)
            self._add_gathered()
            if self.practising:
                self._send_to_practise()

    def _send_to_practise(self) -> None:
        for connection, _ in self._waiting:
            # Not what the message says: a worker counted twice would divide the work by zero.
            scene = self.schedule.next_scene(self._scene.get(connection))
            self._scene[connection] = scene
            _reply(connection, (scene, self.beta))
        self._waiting = []

    def _receive(self) -> list[tuple[Connection, Any]]:
        """What workers sent within 0.2 s; one that died is struck off."""
        received = []
        for connection in wait(list(self._number), 0.2):
            assert isinstance(connection, Connection)
            try:
                received.append((connection, connection.recv()))
            except (EOFError, ConnectionResetError):
                self._strike_off(connection)
        return received

    def _strike_off(self, connection: Connection) -> None:
        """Forget a worker whose end of the pipe is closed."""
        del self._number[connection]
        self.schedule.leave(self._scene.pop(connection, None))
        if connection not in self._has_rendered:
            self.rendering -= 1
            self.lost += 1

    def _note(
        self, connection: Connection, message: Rendered | RenderingDone | Unbuildable | Practised
    ) -> None:
        if isinstance(message, Rendered):
            images = self._slots[self._number[connection], : len(message.labels)]
            self.samples.append(torch.from_numpy(images), message.labels, message.origin)
            _reply(connection, True)
        elif isinstance(message, RenderingDone):
            self._has_rendered.add(connection)
            self.rendering -= 1
        elif isinstance(message, Unbuildable):
            self._give_up(message)
        else:
            self.episodes += 1
            self.schedule.note(message)
            service = self.service
            service.steps += message.steps
            service.seconds += message.seconds
            service.waiting += message.waiting

    def _give_up(self, message: Unbuildable) -> None:
        if self.schedule.give_up(message.scene):
            suite, task = self.schedule.tasks[message.scene]
            log.warning("%s task %d is not practised any more. %s", suite, task, message.reason)

    def _answer(self, asked: Mapping[Connection, Labels], answers: InferenceCopy) -> None:
        """Answer everybody in one batch; keep what they asked about."""
        begun = time.perf_counter()
        pictures = self._slots[[self._number[connection] for connection in asked], 0]
        images = torch.from_numpy(pictures).to(answers.device)
        labels = Labels.join(list(asked.values()))
        family = torch.from_numpy(labels.family).to(answers.device)
        wording = torch.from_numpy(labels.wording).to(answers.device)
        bins = answers(images, answers.prompts.rows(family, wording)).numpy()
        for connection, row in zip(asked, bins, strict=True):
            _reply(connection, (row, self.beta))
        chosen = labels.fine | (self._rng.random(len(labels)) < self.keep)
        kept = np.flatnonzero(chosen)
        if len(kept):
            self._gathered_since = self._gathered_since if self._gathered else begun
            self._gathered.append((pictures[kept], labels[kept]))
        service = self.service
        service.batches += 1
        service.questions += len(labels)
        service.answering += time.perf_counter() - begun

    def _add_gathered(self) -> None:
        """Add what was practised, if that is much or old."""
        begun = time.perf_counter()
        count = sum(len(labels) for _, labels in self._gathered)
        if not count or (count < GATHER and begun - self._gathered_since < 1):
            return
        pictures = np.concatenate([part for part, _ in self._gathered])
        labels = Labels.join([part for _, part in self._gathered])
        self._gathered = []
        self.samples.append(torch.from_numpy(pictures), labels)
        self.service.adding += time.perf_counter() - begun

    def stop(self, patience: float = 20.0) -> None:
        """Let the workers save what they have, for so many seconds, and end them."""
        self._stop_asked.set()
        self.join(patience)
        for connection, _ in self._waiting:
            _reply(connection, None)
            self._number.pop(connection, None)
        until = time.monotonic() + patience
        while self._number and time.monotonic() < until:
            for connection, message in self._receive():
                if isinstance(message, Rendered | Question | Ready):
                    _reply(connection, None)
                    del self._number[connection]
        for process in self._processes:
            process.join(max(0.1, until - time.monotonic()))
            process.kill()
        self._slot_file.unlink(missing_ok=True)


def _reply(connection: Connection, content: object) -> None:
    # A worker that died is struck off when it is next read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(content)
