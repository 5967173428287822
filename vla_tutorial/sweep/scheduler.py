"""Drives a sweep, whatever the engine: hands out episodes, keeps what comes back, replaces workers that die or hang."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from vla_tutorial.errors import TutorialError
from vla_tutorial.sweep.engine import DEFAULT_TIMEOUTS, Engine, SweepProgress, Timeouts
from vla_tutorial.sweep.journal import DiskFull, Entry, Journal, explained
from vla_tutorial.sweep.messages import Alive, Ended, EpisodeRequest, Failed, Lost, Message, Ready
from vla_tutorial.sweep.plan import Job, Sweep
from vla_tutorial.sweep.remote_policy import PolicyError

ATTEMPTS = 2
"""An episode whose worker dies, hangs or fails is given out once more, then recorded as an error."""

BAD_STARTS, BAD_EPISODES = 3, 10
"""So many workers in a row that end before they are ready, or episodes in a row that end as errors, and the sweep stops: the machine is at fault."""

TICK = 0.5
"""Seconds after which `drive` looks around even if nobody has said anything."""


@dataclass
class _WorkerState:
    """A worker as the driver sees it.

    `silent` counts seconds without a sign of life, at most one a look: while this process itself was stopped (Ctrl-Z), workers were not at fault.
    """

    ready: bool = False
    building: bool = True
    silent: float = 0.0
    order: EpisodeRequest | None = None
    place: tuple[str, int, int] | None = None
    why: str | None = None


class Scheduler:
    """One run of a sweep from where its journal stands to the end of the plan."""

    def __init__(
        self,
        sweep: Sweep,
        journal: Journal,
        engine: Engine,
        workers: int,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """Find out what is left to do.

        Args:
            workers: how many to have at a time.
        """
        self._sweep, self._journal, self._engine, self._workers, self._timeouts = (
            sweep,
            journal,
            engine,
            workers,
            timeouts,
        )
        jobs = sweep.jobs()
        self._parts = journal.folder / ".parts"
        shutil.rmtree(self._parts, ignore_errors=True)  # of a run that was killed
        self._waiting = [
            self._order(k, job) for k, job in enumerate(jobs) if job not in journal.entries
        ]
        self._attempts, self._states = Counter[Job](), dict[int, _WorkerState]()
        self._bad_starts = self._bad_episodes = 0
        self._progress = SweepProgress(
            len(jobs), Counter(entry["outcome"] for entry in journal.entries.values())
        )
        self._started = self._looked = time.monotonic()

    def _order(self, number: int, job: Job) -> EpisodeRequest:
        return EpisodeRequest(
            job,
            *self._sweep.settings(job),
            self._sweep.video,
            self._parts / f"{os.getpid()}-{number}",
        )

    @property
    def progress(self) -> SweepProgress:
        """How it stands now."""
        return replace(self._progress, seconds=time.monotonic() - self._started)

    def run(self, stopping: Callable[[], bool], watch: Callable[[SweepProgress], None]) -> None:
        """Run everything that is left.

        Args:
            stopping: asked often; once it is true, what is in flight ends and nothing more is begun.
            watch: called at least twice a second.

        Raises:
            TutorialError: the policy raised an error, the disk is full, or workers cannot live here. What has ended is kept.
        """
        try:
            with explained(self._journal.folder):
                self._parts.mkdir(exist_ok=True)
            while self._busy or (self._waiting and not stopping()):
                self._staff(stopping())
                for worker, message in self._engine.poll(TICK):
                    self._hear(worker, message)
                self._look_for_silence()
                watch(self.progress)
        except PolicyError as e:
            raise TutorialError(
                f"The policy raised an error, so the sweep stopped. Mend it and give the same command again: it goes on from here.\n{e}"
            ) from e
        finally:
            self._engine.close()
            shutil.rmtree(self._parts, ignore_errors=True)

    @property
    def _busy(self) -> int:
        return sum(seat.order is not None for seat in self._states.values())

    def _staff(self, stopping: bool) -> None:
        """Give those who wait something to do or send them home; start as many as can be busy."""
        for worker, seat in list(self._states.items()):
            if seat.ready and seat.order is None:
                self._employ(worker, seat, None if stopping else self._next(seat.place))
        coming = sum(not seat.ready for seat in self._states.values())
        for _ in range(
            0 if stopping else min(self._workers - len(self._states), len(self._waiting) - coming)
        ):
            self._states[self._engine.start_worker()] = _WorkerState()

    def _employ(self, worker: int, seat: _WorkerState, order: EpisodeRequest | None) -> None:
        self._engine.send(worker, order)
        if order is None:
            del self._states[worker]
        else:
            seat.order, seat.place, seat.silent = order, order.place, 0.0
            self._attempts[order.job] += 1

    def _next(self, place: tuple[str, int, int] | None) -> EpisodeRequest | None:
        """The next episode of the worker's own simulator; if none is left, of the one where most wait for a worker."""
        waiting = Counter(order.place for order in self._waiting)
        if not waiting:
            return None
        if place not in waiting:
            staffed = Counter(
                seat.place for seat in self._states.values() if seat.order is not None
            )
            place = max(waiting, key=lambda p: waiting[p] / (1 + staffed[p]))
        return self._waiting.pop(
            next(k for k, order in enumerate(self._waiting) if order.place == place)
        )

    def _hear(self, worker: int, message: Message) -> None:
        if (seat := self._states.get(worker)) is None:
            return  # it was sent home
        seat.silent, seat.building = 0.0, False
        match message:
            case Ready():
                seat.ready, self._bad_starts = True, 0
            case Alive(steps, building):
                seat.building = building
                self._progress = replace(self._progress, steps=self._progress.steps + steps)
            case Ended():
                self._finish(seat, message)
            case Failed(blame, text):
                self._fail(seat, blame, text)
            case Lost(why):
                del self._states[worker]
                self._lose(seat, seat.why or why)

    def _finish(self, seat: _WorkerState, ended: Ended) -> None:
        order, seat.order = seat.order, None
        assert order is not None, "an episode ended that nobody had begun"
        with explained(self._journal.folder):
            for name, content in ended.files.items():
                order.part.mkdir(exist_ok=True)
                (order.part / name).write_bytes(content)
        self._progress = replace(self._progress, steps=self._progress.steps + ended.steps)
        self._keep(order, {**ended.outcome, "error": None})
        self._bad_episodes = 0

    def _fail(self, seat: _WorkerState, blame: str, text: str) -> None:
        if blame == "policy":
            raise TutorialError(
                f"The policy raised an error, so the sweep stopped. Mend it and give the same command again: it goes on.\n{text}"
            )
        if blame == "disk":
            raise DiskFull(self._journal.folder, text)
        order, seat.order = seat.order, None
        self._again(order, text)

    def _lose(self, seat: _WorkerState, why: str) -> None:
        if seat.ready:
            self._again(seat.order, why)
            return
        self._bad_starts += 1
        if self._bad_starts == BAD_STARTS:
            raise TutorialError(
                f"{BAD_STARTS} workers in a row ended before they were ready; see what they printed. The last: {why}"
            )

    def _again(self, order: EpisodeRequest | None, why: str) -> None:
        """Give an episode out once more, or record it as an error."""
        if order is None:
            return
        if self._attempts[order.job] < ATTEMPTS:
            shutil.rmtree(order.part, ignore_errors=True)
            self._waiting.insert(0, order)
            return
        self._keep(order, {"error": why})
        self._bad_episodes += 1
        if self._bad_episodes == BAD_EPISODES:
            raise TutorialError(
                f"{BAD_EPISODES} episodes in a row could not be run, so the sweep stopped. To run them again, delete their lines (outcome "
                f'"error") from {self._journal.folder / "episodes.jsonl"} and give the same command. The last said:\n{why}'
            )

    def _keep(self, order: EpisodeRequest, outcome: Entry) -> None:
        """Move the record to its place, then write the line: a record without a line is replaced when its episode runs again."""
        job, folder = order.job, self._journal.folder / order.job.folder
        kinds = {True: "success", False: "failure", None: "error"}
        entry = {
            "suite": self._sweep.suite,
            "task": job.task,
            "init": job.init,
            "condition": job.condition,
            "success": outcome.get("success"),
            "outcome": kinds[outcome.get("success")],
            **{key: outcome.get(key) for key in ("steps", "first_close", "closes", "seconds")},
            "attempt": self._attempts[job],
            "folder": job.folder,
            "error": outcome["error"],
        }
        shutil.rmtree(folder, ignore_errors=True)
        if order.part.exists():  # a worker that died may have left none
            with explained(self._journal.folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                order.part.rename(folder)
        self._journal.append(job, entry)
        self._progress = replace(
            self._progress,
            here=self._progress.here + 1,
            outcomes=self._progress.outcomes + Counter([entry["outcome"]]),
        )

    def _look_for_silence(self) -> None:
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, 2 * TICK), now
        for worker, seat in self._states.items():
            seat.silent += passed
            limit = self._timeouts.build if seat.building else self._timeouts.step
            if seat.silent > limit and (seat.order or not seat.ready):
                seat.why = f"The simulator hung: no sign of life for {limit:.0f} s{' while it was being built' if seat.building else ''}."
                seat.silent = 0.0
                self._engine.kill(worker)
