"""One episode in the background: what is kept between runs (`Session`), and a run to watch and stop (`Run`)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step
from vla_tutorial.policies import Policy, load_policy
from vla_tutorial.record import Result, check_folder, record_episode
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import EpisodeSpec

State = Literal["waiting", "preparing", "running", "success", "failure", "stopped", "error"]
"""How far a run is. `failure` is an episode that reached its step limit; `error` is one that could not be run."""


class Session:
    """The policy and the simulator, kept between runs. All their work happens in one thread, to which the simulator's GL context belongs."""

    def __init__(
        self,
        load: Callable[[str, str | None], Policy] = load_policy,
        build: Callable[..., Simulator] = Simulator,
    ) -> None:
        """Nothing is loaded before a run asks for it.

        Args:
            load, build: make a policy and a simulator; tests pass others.
        """
        self._load, self._build = load, build
        self._pool = ThreadPoolExecutor(1, "vla-lab")
        self._kept: dict[str, tuple[Any, Any]] = {}

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Do `work` in the session's thread, after whatever it is doing."""
        return self._pool.submit(work)

    def policy(self, name: str, checkpoint: str | None) -> Policy:
        """The policy; the last one is kept. Only for work in the session's thread."""
        found: Policy = self._keep(
            "policy", (name, checkpoint), lambda: self._load(name, checkpoint)
        )
        return found

    def simulator(self, suite: str, task: int, camera_size: int) -> Simulator:
        """The task's simulator; the last one is kept. Only for work in the session's thread."""
        found: Simulator = self._keep(
            "simulator", (suite, task, camera_size), lambda: self._build(suite, task, camera_size)
        )
        return found

    def _keep(self, what: str, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if what not in self._kept or self._kept[what][0] != key:
            self._drop(what)
            self._kept[what] = (key, make())
        return self._kept[what][1]

    def _drop(self, *whats: str) -> None:
        for what in whats:
            if what in self._kept:
                self._kept.pop(what)[1].close()

    def close(self) -> None:
        """Release policy and simulator, after the run that is on. Safe to call twice."""
        if self._kept:
            self._pool.submit(self._drop, "simulator", "policy").result()
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Stopped(Exception):
    """Raised between two control steps when somebody asked to stop."""


class Run:
    """One episode: start it, look at it while it runs, stop it.

    Attributes:
        state: see `State`.
        steps: control steps taken so far, of at most `limit`.
        latest: the last step, with its pictures.
        result: the outcome; `success` is None when it was stopped. None until then, and when nothing was recorded.
        error: one line, when `state` is "error".
    """

    def __init__(
        self,
        choice: EpisodeSpec,
        folder: Path,
        session: Session,
        watch: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Prepare, without starting.

        Args:
            folder: where the episode is recorded.
            watch: called in the session's thread whenever something changed.
        """
        self.choice, self.folder, self.session, self.watch = choice, folder, session, watch
        self.state: State = "waiting"
        self.steps, self.limit = 0, choice.limit()
        self.latest: Step | None = None
        self.result: Result | None = None
        self.error = ""
        self._asked_to_stop = threading.Event()
        self._future: Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("success", "failure", "stopped", "error")

    def start(self) -> None:
        """Begin, and return at once.

        Raises:
            TutorialError: settings or folder are impossible; nothing was started.
        """
        self.choice.settings()
        check_folder(self.folder)
        self._future = self.session.submit(self._work)

    def stop(self) -> None:
        """End after the present control step. What was recorded is kept and marked incomplete."""
        self._asked_to_stop.set()

    def wait(self, seconds: float | None = None) -> Result | None:
        """Wait for the end; the result."""
        if self._future is not None:
            self._future.result(seconds)
        return self.result

    def _work(self) -> None:
        try:
            self._episode()
        except _Stopped:
            self._end("stopped")
        except TutorialError as e:
            self.error = str(e)
            self._end("error")
        except Exception as e:  # shown as an error, never counted as a failure of the policy; the future keeps the traceback
            self.error = f"{type(e).__name__}: {e}"
            self._end("error")
            raise

    def _episode(self) -> None:
        self._become("preparing")
        wiring, scene = self.choice.settings()
        policy = self.session.policy(self.choice.policy, self.choice.checkpoint)
        simulator = self.session.simulator(scene.suite, scene.task, wiring.camera_size)
        self._obey()
        self._become("running")
        result = record_episode(
            policy,
            simulator,
            wiring,
            scene,
            self.folder,
            self.choice.conditions,
            on_step=self._on_step,
        )
        self._end("success" if result.success else "failure")

    def _on_step(self, step: Step) -> None:
        self.latest, self.steps = step, step.step + 1
        self.watch(self)
        if not step.done:
            self._obey()

    def _obey(self) -> None:
        if self._asked_to_stop.is_set():
            raise _Stopped

    def _become(self, state: State) -> None:
        self.state = state
        self.watch(self)

    def _end(self, state: State) -> None:
        recorded = self.folder / "episode.json"
        if self.steps and recorded.is_file():
            entry = json.loads(recorded.read_text(encoding="utf-8"))
            self.result = Result(**{f.name: entry[f.name] for f in fields(Result)})
        self._become(state)


def run(folder: str | Path, session: Session | None = None, **choice: Any) -> Result | None:
    """Record one episode in `folder` and wait for it; Ctrl-C keeps what was recorded.

    Args:
        folder: a new folder.
        session: a session to use again; without one, policy and simulator are made and closed.
        choice: fields of `EpisodeSpec`, for example `task=0, conditions=("no_flip",)`.

    Raises:
        TutorialError: the episode cannot be run.
    """
    if session is None:
        with Session() as own:
            return run(folder, own, **choice)
    episode = Run(EpisodeSpec(**choice), Path(folder), session)
    episode.start()
    try:
        result = episode.wait()
    except KeyboardInterrupt:
        episode.stop()
        episode.wait()
        raise
    if episode.error:
        raise TutorialError(episode.error)
    return result
