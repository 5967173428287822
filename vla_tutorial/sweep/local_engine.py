"""The engine `local`: simulators in processes of this machine, the policy in the main process, batches of whatever has arrived."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.sweep import worker_process as child
from vla_tutorial.sweep.messages import EpisodeRequest, Lost, Message, PolicyInfo
from vla_tutorial.sweep.policy_server import best_batch_size
from vla_tutorial.sweep.remote_policy import ErrorTaggingPolicy, answer, received
from vla_tutorial.sweep.shared_picture import SharedPicture, reserve

MOST = 32
"""The largest batch: the engine's largest graph."""

NICENESS = 5
"""Several workers give way to the process that answers all of them."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""A simulator's matrices are tiny; numpy reads this at its import."""


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    slot: SharedPicture | None


@dataclass(frozen=True)
class _Question:
    connection: Connection
    items: list[PolicyInput]
    since: float


class LocalEngine:
    """Workers at pipes. A thread each listens, so that one which hangs in the middle of a message holds up nobody.

    Attributes:
        policy_info: what workers and records have to know of the policy.
        serving: how the policy is asked, for `sweep.json`.
        waited: seconds that simulators have waited for answers, all together.
    """

    def __init__(
        self, policy: Policy, workers: int, warm_up: Callable[[], Mapping[int, float]] | None = None
    ) -> None:
        """Get ready to serve; processes start with `start_worker`.

        Args:
            workers: how many there will be at a time.
            warm_up: called once, while the first simulators are being built; says how long batches of which size take (`serving.warm_up`).
        """
        self._warm_up, self._seconds = warm_up, dict[int, float]()
        self._asked: list[_Question] = []
        self.policy_info, self._policy, self._several = (
            PolicyInfo.of(policy),
            ErrorTaggingPolicy(policy),
            workers > 1,
        )
        self._workers = dict[int, _Worker]()
        self._inbox: queue.SimpleQueue[tuple[int, float, Any]] = queue.SimpleQueue()
        self._count, self.waited = 0, 0.0
        self.serving, self._together = serve_settings(self.policy_info, _threads(workers))

    def start_worker(self) -> int:
        """Start a process; it says `Ready` when it is."""
        number, context = self._count, mp.get_context("spawn")
        self._count += 1
        here, there = context.Pipe()
        slot = reserve()
        process = context.Process(
            target=child.main,
            args=(there, slot, os.getpid(), NICENESS if self._several else 0),
            daemon=True,
            name=f"simulator {number}",
        )
        with _environment(ONE_THREAD), _no_interrupt():
            process.start()
        there.close()  # only the worker holds this end now, so that its death is the end of the connection
        self._workers[number] = _Worker(process, here, slot)
        with contextlib.suppress(OSError):  # it died at once: the reader reports that
            here.send(self.policy_info)
        threading.Thread(target=self._read, args=(number, here), daemon=True).start()
        return number

    def _read(self, number: int, connection: Connection) -> None:
        try:
            while True:
                message = connection.recv()
                self._inbox.put((number, time.perf_counter(), message))
        except Exception as e:  # its end, or half a message
            self._inbox.put((number, time.perf_counter(), Lost(type(e).__name__)))

    def send(self, worker: int, order: EpisodeRequest | None) -> None:
        """Give an order; None sends the worker home."""
        with contextlib.suppress(OSError):  # it is gone: the reader reports that
            self._workers[worker].connection.send(order)

    def poll(self, seconds: float) -> list[tuple[int, Message]]:
        """What workers have said, after at most so many seconds; questions to the policy are answered on the way."""
        if self._warm_up:
            self._seconds = dict(self._warm_up())
            self._warm_up = None
        told = self._listen(0 if self._asked else seconds)
        if self._asked:
            count = best_batch_size(len(self._asked), self._seconds, MOST)
            now, self._asked = self._asked[:count], self._asked[count:]
            answer(
                self._policy,
                [(question.connection, question.items) for question in now],
                self._together,
            )
            self.waited += sum(time.perf_counter() - question.since for question in now)
        return told

    def _listen(self, seconds: float) -> list[tuple[int, Message]]:
        """What has been said by now, or comes first within so many seconds; questions are put with those that wait."""
        told: list[tuple[int, Message]] = []
        with contextlib.suppress(queue.Empty):
            number, when, message = (
                self._inbox.get(timeout=seconds) if seconds else self._inbox.get_nowait()
            )
            while True:
                if isinstance(message, list):
                    worker = self._workers[number]
                    self._asked.append(
                        _Question(worker.connection, received(message, worker.slot), when)
                    )
                else:
                    told.append(
                        (number, self._obituary(number) if isinstance(message, Lost) else message)
                    )
                number, when, message = self._inbox.get_nowait()
        return told

    def _obituary(self, number: int) -> Lost:
        worker = self._workers.pop(number)
        worker.process.kill()  # where only the pipe has broken
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        how = (
            f"signal {-code} ({signal.strsignal(-code)})"
            if code is not None and code < 0
            else f"exit code {code}"
        )
        return Lost(f"The simulator's process ended with {how}.")

    def kill(self, worker: int) -> None:
        """End a worker at once; `Lost` follows."""
        self._workers[worker].process.kill()

    def close(self) -> None:
        """End what still runs; no process is left."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.join()


def serve_settings(policy_info: PolicyInfo, threads: int | None) -> tuple[dict[str, Any], bool]:
    """How a policy is asked → (for the record, whether in batches).

    On a CPU a batch gains little and its products depend on its size (`openvla/packed.py` chooses by rows), so pictures are answered one at a time: a
    result then cannot depend on which simulators happened to ask together.

    Args:
        threads: PyTorch's on a CPU; None leaves what it has.
    """
    if policy_info.privileged:
        return {"batches": "none: the policy runs beside each simulator"}, True
    if policy_info.provenance.get("device") != "cpu":
        return {"batches": f"what has arrived, at most {MOST}"}, True
    served = {"batches": "one at a time: on a CPU results are the same bits whoever asks beside"}
    if "torch" in sys.modules:
        import torch  # it is there already

        if threads:
            torch.set_num_threads(threads)
        served["torch_threads"] = str(torch.get_num_threads())
    return served, False


def _threads(workers: int) -> int | None:
    """The cores that the simulators leave to PyTorch, at least one. A single simulator never computes while the policy does: nothing to leave."""
    return max(1, (os.cpu_count() or 1) - workers) if workers > 1 else None


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile; what the user has set stays."""
    mine = {key: value for key, value in changes.items() if key not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for key in mine:
            del os.environ[key]


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes started meanwhile (and their encoders) never get Ctrl-C, which a terminal sends to all; this one gets it afterwards."""
    resource_tracker.ensure_running()  # when `multiprocessing` starts it, it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
