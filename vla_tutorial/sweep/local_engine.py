"""The engine `local`: simulators in processes of this machine, the policy in the main process."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.util import Finalize
from typing import Any

from vla_tutorial.policies.base import Policy, PolicyUnreachable
from vla_tutorial.sim import WORKER_NICENESS, one_thread
from vla_tutorial.sweep import worker_process
from vla_tutorial.sweep.messages import EpisodeRequest, Lost, Message
from vla_tutorial.sweep.policy_server import PolicyServer, Question
from vla_tutorial.sweep.remote_policy import SharedPicture, read_question, reserve_picture

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Of Ctrl-C, a time limit, a closed terminal: the main process alone decides what they end."""


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    picture: SharedPicture | None


class LocalEngine:
    """Workers at pipes, with a thread each that listens: one that hangs holds up no other."""

    def __init__(
        self, policy: Policy, workers: int, warm_up: Callable[[], Mapping[int, float]] | None = None
    ) -> None:
        """Get ready to serve.

        Args:
            workers: how many there will be at a time.
            warm_up: called once, while the first simulators are being built. It returns how long
                batches of which size take (`policy_server.warm_up`).
        """
        threads = None
        self._niceness = 0
        # A lone worker and the policy never compute at the same time: neither has to give way.
        if workers > 1:
            threads = max(1, (os.cpu_count() or 1) - workers)
            self._niceness = WORKER_NICENESS
        self._server = PolicyServer(policy, threads)
        self.policy_info = self._server.policy_info
        self.serving: Mapping[str, Any] = self._server.serving
        self._warm_up = warm_up
        self._workers: dict[int, _Worker] = {}
        self._inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._count = 0
        # At this process's end `multiprocessing` waits for workers, which do not obey SIGTERM.
        Finalize(None, _kill, [self._workers], exitpriority=100)

    @property
    def waited(self) -> float:
        """Seconds that simulators have waited for answers, all together."""
        return self._server.waited

    def start_worker(self) -> int:
        """Start a process; it says `Ready` when it can take a request."""
        number = self._count
        self._count += 1
        context = mp.get_context("spawn")
        here, there = context.Pipe()
        picture = reserve_picture()
        given = (there, picture, os.getpid(), self._niceness)
        process = context.Process(target=worker_process.main, args=given, daemon=True)
        worker = _Worker(process, here, picture)
        self._workers[number] = worker
        with _inherited():
            process.start()
        # Only the worker holds this end now, so that its death is the end of the connection.
        there.close()
        # If the worker died at once, the reading thread reports it.
        with contextlib.suppress(OSError):
            here.send(self.policy_info)
        threading.Thread(target=self._read, args=(number, worker), daemon=True).start()
        return number

    def _read(self, number: int, worker: _Worker) -> None:
        try:
            while True:
                message = worker.connection.recv()
                if isinstance(message, list):
                    message = Question(read_question(message, worker.picture))
                    message.answer.add_done_callback(partial(_send_answer, worker.connection))
                self._inbox.put((number, message))
        except Exception as e:
            # The end of the connection, or half a message.
            self._inbox.put((number, Lost(type(e).__name__)))

    def send(self, worker: int, request: EpisodeRequest | None) -> None:
        """Send a worker its next episode; None ends it."""
        # If the worker is gone, the reading thread reports it.
        with contextlib.suppress(OSError):
            self._workers[worker].connection.send(request)

    def poll(self, seconds: float) -> list[tuple[int, Message]]:
        """What workers have said, after at most `seconds`; answers questions on the way."""
        if self._warm_up:
            self._server.batch_seconds = dict(self._warm_up())
            self._warm_up = None
        messages = self._listen(0 if self._server.questions else seconds)
        if self._server.questions:
            self._server.answer_next_batch()
        return messages

    def _listen(self, seconds: float) -> list[tuple[int, Message]]:
        """What has arrived by now, or first within `seconds`; questions go to the server."""
        messages: list[tuple[int, Message]] = []
        with contextlib.suppress(queue.Empty):
            number, message = self._inbox.get(seconds > 0, seconds)
            while True:
                if isinstance(message, Question):
                    self._server.questions.append(message)
                else:
                    if isinstance(message, Lost):
                        message = self._bury(number)
                    messages.append((number, message))
                number, message = self._inbox.get_nowait()
        return messages

    def _bury(self, number: int) -> Lost:
        """Forget a worker and say how its process ended."""
        worker = self._workers.pop(number)
        # Where only the pipe has broken, the process still runs.
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode or 0
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        return Lost(f"The simulator's process ended with {how}.")

    def kill(self, worker: int) -> None:
        """End a worker at once; `Lost` follows."""
        self._workers[worker].process.kill()

    def close(self) -> None:
        """End what still runs; no process is left."""
        _kill(self._workers)


def _kill(workers: Mapping[int, _Worker]) -> None:
    started = [worker.process for worker in workers.values() if worker.process.pid]
    for process in started:
        process.kill()
    for process in started:
        process.join()


def _send_answer(connection: Connection, answer: Future[Any]) -> None:
    # A worker that died while it waited is reported where its connection is read.
    with contextlib.suppress(OSError):
        error = answer.exception()
        if error is None:
            connection.send(answer.result())
        # Any other error stops the sweep.
        elif isinstance(error, PolicyUnreachable):
            connection.send(error)


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """What a process inherits that starts in the block: one thread for numerics, no `SIGNALS`.

    Variables that the user has set stay. Terminals and batch systems send signals to all processes;
    this one gets them after the block.
    """
    # When `multiprocessing` itself starts the tracker, it unblocks them.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with one_thread():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
