"""Simulators in processes and a thread that serves them: pictures and labels in, the policy's answers out."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import shared_memory_folder
from vla_tutorial.pixels import SIZE
from vla_tutorial.training.drive import Work, work
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.labels import Labels
from vla_tutorial.training.samples import Samples

BLOCK = 48
"""Pictures a worker hands over at once while it renders demonstrations."""

RECENT = 200
"""Episodes over which success is reported."""


def assign(
    files: Sequence[Path],
    workers: int,
    tasks: Sequence[int],
    out: Path | None,
    drive: bool,
    seed: int,
) -> list[Work]:
    """Tasks and demonstrations for so many workers, every task evenly; at least one worker a task."""
    workers = max(workers, len(tasks))
    mine = [[f for f in files if f.name.startswith(f"task{task:02d}")] for task in tasks]
    jobs = []
    for number in range(workers):
        k, turn = number % len(tasks), number // len(tasks)
        mates = len(range(k, workers, len(tasks)))
        jobs.append(Work(tasks[k], number, tuple(mine[k][turn::mates]), out, drive, seed))
    return jobs


class Crew(threading.Thread):
    """Workers and the thread that serves them until `stop`.

    Attributes:
        beta: 0 … 1, set by the trainer: how much the policy may drive.
        rendering: workers that still render demonstrations.
        episodes: what was driven so far; `recent` the last ones that the policy drove alone.
        error: the thread's own, if it died.
    """

    def __init__(
        self,
        jobs: Sequence[Work],
        samples: Samples,
        answers: InferenceCopy | None,
        keep: float = 1.0,
    ) -> None:
        """Start the processes.

        Args:
            keep: share of the driven steps that are kept; neighbours differ little. Fine work is always kept.
        """
        super().__init__(daemon=True)
        self.samples, self.answers, self.beta, self.keep = samples, answers, 0.0, keep
        self._rng = np.random.default_rng(0)
        self.rendering, self.episodes, self.error = len(jobs), 0, ""
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=RECENT)
        self._stop_asked = threading.Event()
        shape = (len(jobs), BLOCK, SIZE, SIZE, 3)
        handle, name = tempfile.mkstemp(prefix="vla_pictures_", dir=shared_memory_folder())
        os.close(handle)
        self._slot_file = Path(name)
        self._slots: NDArray[np.uint8] = np.memmap(self._slot_file, np.uint8, "w+", shape=shape)
        context = mp.get_context("spawn")
        self._number: dict[Connection, int] = {}
        self._processes = []
        for job in jobs:
            here, there = context.Pipe()
            process = context.Process(
                target=work, args=(job, self._slot_file, shape, there), daemon=True
            )
            process.start()
            there.close()
            self._number[here] = job.number
            self._processes.append(process)

    @property
    def alive(self) -> int:
        """Workers that still answer."""
        return len(self._number)

    def check(self) -> None:
        """Raise a TutorialError if nothing more can come."""
        finished = self.answers is None and self.rendering == 0
        if self.error or not (self.alive or finished):
            raise TutorialError(
                f"No simulator answers any more; each needs about 1 GB of memory. Run again with fewer --workers.\n{self.error}"
            )

    def run(self) -> None:
        """Serve; the thread's body."""
        try:
            if self.samples.device.type == "cuda":
                stream = torch.cuda.Stream(self.samples.device, priority=-1)  # type: ignore[no-untyped-call]
                with torch.cuda.stream(stream):
                    self._serve()
            else:
                self._serve()
        except Exception:
            self.error = traceback.format_exc()

    def _serve(self) -> None:
        while self._number and not self._stop_asked.is_set():
            asked: list[tuple[Connection, Labels]] = []
            for connection in wait(list(self._number), 0.2):
                assert isinstance(connection, Connection)
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionResetError):
                    del self._number[connection]
                    continue
                if kind == "frames":
                    self._keep(connection, *content)
                    self._reply(connection, True)
                elif kind == "ask":
                    asked.append((connection, content))
                elif kind == "rendered":
                    self.rendering -= 1
                else:
                    self._note(content)
            self._answer(asked)

    def _pictures(self, connection: Connection, count: int) -> NDArray[np.uint8]:
        return self._slots[self._number[connection], :count]

    def _reply(self, connection: Connection, content: object) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # a worker that died is struck off when it is next read
            connection.send(content)

    def _keep(self, connection: Connection, labels: Labels, origin: int) -> None:
        if not self.samples.full:
            self.samples.append(
                torch.from_numpy(self._pictures(connection, len(labels))), labels, origin
            )

    def _answer(self, asked: Sequence[tuple[Connection, Labels]]) -> None:
        if not asked or self.answers is None:
            return
        images = torch.from_numpy(np.concatenate([self._pictures(c, 1) for c, _ in asked])).to(
            self.answers.device
        )
        labels = Labels(
            *(np.concatenate([getattr(one, f.name) for _, one in asked]) for f in fields(Labels))
        )
        bins = self.answers(
            images, torch.from_numpy(labels.instruction).to(self.answers.device)
        ).numpy()
        for (connection, _), row in zip(asked, bins, strict=True):
            self._reply(connection, (row, self.beta))
        kept = np.flatnonzero(labels.fine | (self._rng.random(len(labels)) < self.keep))
        if len(kept) and not self.samples.full:
            self.samples.append(images[torch.from_numpy(kept).to(images.device)], labels[kept])

    def _note(self, facts: Mapping[str, Any]) -> None:
        self.episodes += 1
        if facts["free"]:
            self.recent.append(facts)

    def success(self) -> float:
        """Share of the recent episodes that the policy alone brought to success; NaN before there are any."""
        recent = list(self.recent)
        return sum(e["success"] for e in recent) / len(recent) if recent else float("nan")

    def stop(self, patience: float = 20.0) -> None:
        """Let the workers save what they have, and end them."""
        self._stop_asked.set()
        self.join(patience)
        until = time.monotonic() + patience
        waiting = dict(self._number)
        while waiting and time.monotonic() < until:  # each is told None when it next asks
            for connection in wait(list(waiting), 0.2):
                assert isinstance(connection, Connection)
                try:
                    kind, _ = connection.recv()
                    if kind in ("frames", "ask"):
                        connection.send(None)
                        del waiting[connection]
                except (EOFError, ConnectionResetError, BrokenPipeError):
                    del waiting[connection]
        for process in self._processes:
            process.join(max(0.1, until - time.monotonic()))
            process.kill()
        self._slot_file.unlink(missing_ok=True)
