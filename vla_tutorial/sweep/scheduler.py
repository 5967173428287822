"""Runs a sweep on any engine: sends episodes out, keeps the results, replaces lost workers."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from vla_tutorial.episodes import OUTCOMES, Episode, one_line
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import DiskFull, explain_full_disk
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep import messages
from vla_tutorial.sweep.journal import ATTEMPTS, Journal
from vla_tutorial.sweep.messages import Alive, Ended, Engine, EpisodeRequest, Failed, Lost, Ready
from vla_tutorial.sweep.plan import SweepPlan, key_of
from vla_tutorial.sweep.remote_policy import PolicyError

BAD_STARTS = 3
"""Workers in a row that end before they are ready; then the sweep stops, for the machine is bad."""

BAD_FIRST = 3
"""Attempts, or as many as there are workers, that fail before any has taken a control step; then no
episode can run here, and the sweep stops before it records errors of all."""

BAD_EPISODES = 10
"""Episodes in a row that end as errors; then the sweep stops as well."""

TICK = 0.5
"""Seconds after which the scheduler looks around even if no message has arrived."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds without a heartbeat after which a worker counts as hanging."""

    step: float = 120.0  # within an episode
    build: float = 300.0  # while it starts or builds a simulator: 2–15 s on an idle machine


@dataclass
class SweepProgress:
    """How a sweep stands."""

    total: int  # episodes of the plan
    # Episodes that have ended, by "success", "failure" and "error", without errors that run again.
    outcomes: Counter[str]
    causes: Counter[str] = field(default_factory=Counter)  # of those errors, in a line each
    given_up: int = 0  # errors that only `retry_errors` would run again
    # Since this process began:
    here: int = 0  # episodes that have ended
    steps: int = 0  # control steps
    seconds: float = 0.0  # wall time

    @property
    def done(self) -> int:
        """Episodes that have ended."""
        return self.outcomes.total()

    def count(self, episode: Episode, given_up: bool) -> None:
        """Add an episode that has ended."""
        self.outcomes[episode.outcome] += 1
        if episode.cause:
            self.causes[episode.cause] += 1
            self.given_up += given_up


@dataclass
class _WorkerState:
    """A worker as the scheduler sees it."""

    ready: bool = False
    building: bool = True
    silent: float = 0.0  # seconds without a heartbeat
    request: EpisodeRequest | None = None  # what it runs
    simulator_key: messages.SimulatorKey | None = None  # of the simulator that it has
    killed: str | None = None  # why the scheduler killed it


class Scheduler:
    """One run of a sweep, from where its journal stands to the end; `progress` is how it stands."""

    def __init__(
        self,
        plan: SweepPlan,
        journal: Journal,
        engine: Engine,
        workers: int,
        timeouts: Timeouts,
        retry_errors: bool = False,
    ) -> None:
        """Find out what is left to do (`Journal.is_left`), for `workers` at a time."""
        self._journal = journal
        self._engine = engine
        self._most_workers = workers
        self._timeouts = timeouts
        self._staging = journal.folder / ".parts"
        # What is there now is of a run that was killed.
        shutil.rmtree(self._staging, ignore_errors=True)
        specs = list(plan.specs())
        self.progress = SweepProgress(len(specs), Counter())
        self._waiting: list[EpisodeRequest] = []
        for number, spec in enumerate(specs):
            key = key_of(spec)
            if journal.is_left(key, retry_errors):
                staging_dir = self._staging / f"{os.getpid()}-{number}"
                simulator_key = _simulator_key(spec)
                request = EpisodeRequest(spec, plan.video, staging_dir, simulator_key)
                self._waiting.append(request)
            else:
                self.progress.count(journal.episodes[key], not journal.is_left(key))
        self._attempts = Counter[EpisodeRequest]()
        self._workers: dict[int, _WorkerState] = {}
        self._failed = Counter[messages.SimulatorKey]()
        self._moved = False
        self._bad_first = 0
        self._bad_starts = 0
        self._bad_episodes = 0
        self._started = time.monotonic()

    def run(self, stopping: Callable[[], bool], watch: Callable[[SweepProgress], None]) -> None:
        """Run everything that is left.

        Args:
            stopping: asked often. Once it is true, what is in flight ends and nothing more begins.
            watch: called at least twice a second.

        Raises:
            TutorialError: the policy raised an error, the disk is full, or workers cannot live
                here. What has ended is kept.
        """
        try:
            with explain_full_disk(self._journal.folder):
                self._staging.mkdir(exist_ok=True)
            while self._running() or (self._waiting and not stopping()):
                self._assign(stopping())
                for worker, message in self._engine.poll(TICK):
                    self._hear(worker, message)
                self._kill_silent_workers()
                watch(self.progress)
        except PolicyError as e:
            what = "The policy raised an exception, so the sweep stopped."
            remedy = "Fix it and give the same command again to resume."
            raise TutorialError(f"{what} {remedy}\n{e}") from e
        finally:
            self._engine.close()
            shutil.rmtree(self._staging, ignore_errors=True)

    def _running(self) -> list[_WorkerState]:
        return [state for state in self._workers.values() if state.request]

    def _assign(self, stopping: bool) -> None:
        """Send free workers their next episode or end them; start as many as can be busy."""
        for worker, state in list(self._workers.items()):
            if state.ready and state.request is None:
                self._send(worker, state, None if stopping else self._next(state.simulator_key))
        if stopping:
            return
        starting = sum(not state.ready for state in self._workers.values())
        room = self._most_workers - len(self._workers)
        for _ in range(min(room, len(self._waiting) - starting)):
            self._workers[self._engine.start_worker()] = _WorkerState()

    def _send(self, worker: int, state: _WorkerState, request: EpisodeRequest | None) -> None:
        self._engine.send(worker, request)
        if request is None:
            del self._workers[worker]
            return
        state.request = request
        state.simulator_key = request.simulator_key
        state.silent = 0.0
        self._attempts[request] += 1

    def _next(self, mine: messages.SimulatorKey | None) -> EpisodeRequest | None:
        """The next episode for a worker: of its own simulator while one is left.

        Then it takes the simulator that has failed least, and of those the one for which most
        episodes wait per worker.
        """
        waiting = Counter(request.simulator_key for request in self._waiting)
        if not waiting:
            return None
        chosen = mine
        if chosen not in waiting:
            busy = Counter(state.simulator_key for state in self._running())
            rank = {key: (-self._failed[key], waiting[key] / (1 + busy[key])) for key in waiting}
            chosen = max(waiting, key=rank.__getitem__)
        request = next(each for each in self._waiting if each.simulator_key == chosen)
        self._waiting.remove(request)
        return request

    def _hear(self, worker: int, message: messages.Message) -> None:
        state = self._workers.get(worker)
        if state is None:
            # It has been told to end.
            return
        state.silent = 0.0
        was_building = state.building
        state.building = False
        match message:
            case Ready():
                state.ready = True
                self._bad_starts = 0
            case Alive(steps, building):
                state.building = building
                self.progress.steps += steps
                self._moved = self._moved or steps > 0
            case Ended():
                self._moved = True
                self._finish(state, message)
            case Failed("policy", text):
                raise PolicyError(text)
            case Failed("disk", text):
                raise DiskFull(self._journal.folder, text)
            case Failed(blame, text):
                self._retry(state, text, blame == "building")
            case Lost(why):
                del self._workers[worker]
                self._lose(state, state.killed or why, was_building)

    def _finish(self, state: _WorkerState, ended: Ended) -> None:
        request = state.request
        state.request = None
        assert request is not None, "an episode ended that no worker had begun"
        with explain_full_disk(self._journal.folder):
            for name, content in ended.files.items():
                request.staging_dir.mkdir(exist_ok=True)
                (request.staging_dir / name).write_bytes(content)
        self.progress.steps += ended.steps
        result = asdict(ended.result)
        self._keep(
            request,
            **result,
            travel=ended.travel,
            own_target=ended.own_target,
            stages=ended.stages,
        )
        self._bad_episodes = 0

    def _lose(self, state: _WorkerState, why: str, building: bool) -> None:
        if state.ready:
            self._retry(state, why, building)
            return
        self._bad_starts += 1
        if self._bad_starts == BAD_STARTS:
            what = f"{BAD_STARTS} workers in a row ended before they were ready"
            raise TutorialError(f"{what}; see what they printed. The last: {why}")

    def _retry(self, state: _WorkerState, why: str, building: bool) -> None:
        """Put a worker's episode first in the queue again, or record it as an error.

        Args:
            building: whether building the simulator has failed.
        """
        request = state.request
        state.request = None
        if request is None:
            return
        # Another one, so that one broken task does not hold up or stop the whole sweep.
        state.simulator_key = None
        self._failed[request.simulator_key] += 1
        self._check_first(why, building)
        if self._attempts[request] < ATTEMPTS:
            shutil.rmtree(request.staging_dir, ignore_errors=True)
            self._waiting.insert(0, request)
            return
        self._keep(request, success=None, error=why)
        self._bad_episodes += 1
        if self._bad_episodes == BAD_EPISODES:
            what = f"{BAD_EPISODES} episodes in a row ended in errors, so the sweep stopped."
            remedy = "Fix the cause and give the same command again, which runs them once more."
            raise TutorialError(f"{what} {remedy} The last: {_cause_and_place(why)}")

    def _check_first(self, why: str, building: bool) -> None:
        """Stop where nothing can run: nothing has taken a step yet, and one more attempt failed."""
        self._bad_first += 1
        if self._moved or self._bad_first < max(BAD_FIRST, self._most_workers):
            return
        what = f"None of the first {self._bad_first} attempts at an episode took a step"
        if building:
            what = f"No simulator could be built in {self._bad_first} attempts"
        remedy = "Fix that and give the same command again; `vla-tutorial doctor` checks a machine."
        raise TutorialError(f"{what}, so the sweep stopped: {_cause_and_place(why)} {remedy}")

    def _keep(self, request: EpisodeRequest, *, success: bool | None, **more: Any) -> None:
        """Move the record to its place, then write the line, with `more` fields of `Episode`.

        In this order, because a record without a line is replaced when its episode runs again.
        """
        key = key_of(request.spec)
        folder = self._journal.folder / key.folder
        shutil.rmtree(folder, ignore_errors=True)
        # A worker that died may have left no record.
        if request.staging_dir.exists():
            with explain_full_disk(self._journal.folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                request.staging_dir.rename(folder)
        episode = Episode(
            suite=request.spec.suite,
            **key._asdict(),
            success=success,
            outcome=OUTCOMES[success],
            attempt=self._journal.tried(key) + self._attempts[request],
            folder=key.folder,
            **more,
        )
        self._journal.append(episode)
        self.progress.count(episode, not self._journal.is_left(key))
        self.progress.here += 1

    def _kill_silent_workers(self) -> None:
        seconds = time.monotonic() - self._started
        # At most 2 × TICK: while this process itself was stopped (Ctrl-Z), no worker was at fault.
        passed = min(seconds - self.progress.seconds, 2 * TICK)
        self.progress.seconds = seconds
        for worker, state in self._workers.items():
            state.silent += passed
            limit = self._timeouts.build if state.building else self._timeouts.step
            if state.silent > limit and (state.request or not state.ready):
                during = " while it was being built" if state.building else ""
                state.killed = f"The simulator hung: no sign of life for {limit:.0f} s{during}."
                state.silent = 0.0
                self._engine.kill(worker)


def _simulator_key(spec: EpisodeSpec) -> messages.SimulatorKey:
    wiring, scene = spec.settings()
    return scene.suite, scene.task, wiring.camera_size, scene.own


def _cause_and_place(error: str) -> str:
    """A worker's error in one line, with the place in the code where it has one."""
    cause = one_line(error)
    places = re.findall(r'^  File "(.+)", line (\d+)', error, re.MULTILINE)
    if not places:
        return cause
    file, line = places[-1]
    return f"{cause} ({file}, line {line})."
