"""A desk that hands out episodes to simulators in processes, collects what became of them, and answers their questions with one policy."""

from __future__ import annotations

import contextlib
import math
import multiprocessing as mp
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.sweep.batching import serve
from vla_tutorial.training.episodes import Wrapper, work
from vla_tutorial.training.plans import Job, Pair
from vla_tutorial.training.results import Entry

GRACE = 60.0
"""Seconds after the time limit in which episodes under way may end; then their simulators are killed."""


def share(counts: Mapping[Pair, int], workers: int) -> list[Pair]:
    """Where each worker begins: one a pair in order, then each next one where the most episodes wait for a worker."""
    pairs = list(counts)[:workers]
    found = Counter(pairs)
    while found.total() < workers:
        found[max(pairs, key=lambda p: counts[p] / found[p])] += 1
    return list(found.elements())


@dataclass
class _Seat:
    """A worker as the desk sees it: where it is, and the episode that it runs."""

    pair: Pair
    job: Job | None = None


class _Counting(Wrapper):
    """A policy that counts what it has answered."""

    answered = 0

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        tokens: NDArray[np.int64] = self._inner.predict(batch)
        self.answered += len(batch)
        return tokens


class Desk(threading.Thread):
    """Workers, and the thread that hands out episodes and collects what became of them. `start` it, `serve` the policy, `stop` it.

    Attributes:
        entries: the finished episodes, errors included.
        error: what ended the thread early.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: int,
        on_episode: Callable[[Entry], None],
        on_tick: Callable[[int], None] = lambda answered: None,
        until: float = math.inf,
    ) -> None:
        """Start the processes; they build their simulators while the caller loads the policy.

        Args:
            on_episode: called with each entry, in the thread.
            on_tick: called at least once a second with the control steps answered so far, in the thread.
            until: `time.monotonic()` after which no episode is begun.
        """
        super().__init__(daemon=True)
        self.on_episode, self.on_tick, self.until = on_episode, on_tick, until
        self.entries = list[Entry]()
        self.error: Exception | None = None
        self._queues: dict[Pair, deque[Job]] = {}
        for job in jobs:
            queue = self._queues.setdefault((job.suite, job.task), deque())
            queue.extend(replace(job, inits=(init,)) for init in job.inits)
        self._plans = list(dict.fromkeys(job.plan for job in jobs))
        self._again: set[Job] = set()
        self._halted, self._policy = False, _Counting(None)
        self._seats, self._asks = dict[Connection, _Seat](), list[Connection]()
        self._processes = list[SpawnProcess]()
        for pair in share({pair: len(queue) for pair, queue in self._queues.items()}, min(workers, self.left)):
            self._hire(pair)

    @property
    def left(self) -> int:
        """Episodes that nobody has begun."""
        return sum(map(len, self._queues.values()))

    def _hire(self, pair: Pair) -> None:
        context = mp.get_context("spawn")
        (ask, asks), (desk, there) = context.Pipe(), context.Pipe()
        process = context.Process(target=work, args=(asks, there), daemon=True)
        process.start()
        asks.close()  # only the worker holds these ends now, so that its death is the end of the connection
        there.close()
        self._processes.append(process)
        self._asks.append(ask)
        self._seats[desk] = _Seat(pair)

    def run(self) -> None:
        """The thread's body: attend to workers until all have gone home."""
        try:
            while self._seats:
                for connection in wait(list(self._seats), 1.0):
                    assert isinstance(connection, Connection)
                    self._attend(connection)
                self.on_tick(self._policy.answered)
                if time.monotonic() > self.until + GRACE:
                    self._kill()
            if not self._halted:
                self._fail_lost()
        except Exception as e:
            self.error = e
        finally:
            for connection in self._seats:
                connection.close()  # the workers notice and end, and with them `serve`

    def _attend(self, connection: Connection) -> None:
        seat = self._seats[connection]
        try:
            entry: Entry | None = connection.recv()
        except (EOFError, OSError):
            del self._seats[connection]
            self._lost(seat.job)
            return
        if entry is not None:
            self._keep(entry)
        seat.job = self._next(seat)
        with contextlib.suppress(OSError):  # it is gone: `wait` reports that next
            connection.send(seat.job)

    def _keep(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.on_episode(entry)

    def _lost(self, job: Job | None) -> None:
        """A worker has ended; an episode that it had is given to another worker, once."""
        if job is None:
            return
        if job in self._again:
            self._fail(job)
        else:
            self._again.add(job)
            self._queues[job.suite, job.task].appendleft(job)

    def _fail_lost(self) -> None:
        """Lost episodes for which no worker was left: they were begun, so they are accounted for."""
        for queue in self._queues.values():
            for job in [job for job in queue if job in self._again]:
                queue.remove(job)
                self._fail(job)

    def _fail(self, job: Job) -> None:
        self._keep({**job.label(), "error": "The simulator's process ended during this episode."})

    def _next(self, seat: _Seat) -> Job | None:
        """The next episode of the worker's own simulator, unless it has none left, or an earlier plan waits where nobody is."""
        waiting = {pair: queue for pair, queue in self._queues.items() if queue}
        if not waiting or time.monotonic() > self.until:
            return None
        here = Counter(s.pair for s in self._seats.values())
        rank = {pair: self._plans.index(queue[0].plan) for pair, queue in waiting.items()}
        best = min(waiting, key=lambda pair: (rank[pair], here[pair] > 0, -len(waiting[pair]) / (1 + here[pair])))
        if seat.pair not in waiting or (not here[best] and rank[best] < rank[seat.pair]):
            seat.pair = best
        return waiting[seat.pair].popleft()

    def serve(self, policy: Policy) -> list[Entry]:
        """Answer the workers with `policy` until all have gone home; returns `entries`.

        Raises:
            TutorialError: every simulator ended before the time was over, with episodes left.
        """
        self._policy = _Counting(policy)
        for ask in self._asks:
            with contextlib.suppress(OSError):  # that worker is dead already
                ask.send({"name": policy.name, "statistics": dict(policy.statistics)})
        serve(self._policy, self._asks)
        self.join()
        if self.error:
            raise self.error
        if self.left and time.monotonic() < self.until:
            why = next((e["error"] for e in reversed(self.entries) if "error" in e), "See what their processes printed.")
            raise TutorialError(f"Every simulator has ended, with {self.left} episodes left. {why}")
        return self.entries

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def stop(self) -> None:
        """End what still runs."""
        self._halted = True
        self._kill()
        for process in self._processes:
            process.join(5)
        if self.is_alive():
            self.join()


def evaluate(policy: Policy, jobs: Sequence[Job], workers: int, on_episode: Callable[[Entry], None] = lambda entry: None) -> list[Entry]:
    """Run every episode of the jobs on `workers` simulators; returns an entry an episode, in order of plan, suite, task and init.

    Args:
        policy: any that does not read the simulator's state.
        on_episode: called with each entry as it comes, in another thread.
    """
    desk = Desk(jobs, workers, on_episode)
    desk.start()
    try:
        entries = desk.serve(policy)
    finally:
        desk.stop()
    return sorted(entries, key=lambda e: (e["plan"], e["suite"], e["task"], e["named"] or "", e["init"]))
