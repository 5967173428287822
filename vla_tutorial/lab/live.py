"""One episode in the background: the `Session` keeps what episodes share, a `LiveEpisode` runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from vla_tutorial.decoding import decode, read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step
from vla_tutorial.policies import Policy
from vla_tutorial.record import Result, check_folder, record_episode
from vla_tutorial.sim import KeptSimulator, Simulator
from vla_tutorial.spec import EpisodeSpec

# "failure" reached its step limit, "stopped" was ended by the reader, "error" could not be run.
State = Literal["waiting", "preparing", "running", "success", "failure", "stopped", "error"]


class Session:
    """The policy and the simulator, kept between episodes. Nothing is loaded before it is needed.

    All their work happens in `pool`'s one thread, to which the simulator's GL context belongs.

    Args:
        load: makes the policy of an episode; tests pass another.
        build: makes a simulator from suite, task and camera size in pixels; tests pass another.
    """

    def __init__(
        self,
        load: Callable[[EpisodeSpec], Policy] = EpisodeSpec.load_policy,
        build: Callable[..., Simulator] = Simulator,
    ) -> None:
        self.simulators = KeptSimulator(build)
        self.pool = ThreadPoolExecutor(1, "vla-lab")
        self._load = load
        self._policy: Policy | None = None
        self._loaded_for: tuple[str | None, ...] | None = None
        self._closed = False

    def policy(self, spec: EpisodeSpec) -> Policy:
        """The episode's policy; the last one is kept. Call it in the session's thread only."""
        wanted = (spec.policy, spec.checkpoint, spec.revision, spec.device)
        if self._policy is None or self._loaded_for != wanted:
            # Before the next one is loaded: two at a time may not fit.
            self._drop_policy()
            self._policy = self._load(spec)
            self._loaded_for = wanted
        return self._policy

    def _drop_policy(self) -> None:
        if self._policy is not None:
            self._policy.close()
            self._policy = None

    def close(self) -> None:
        """Release policy and simulator, after the episode that runs. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self.pool.submit(self.simulators.close).result()
            self.pool.submit(self._drop_policy).result()
            self.pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _Stopped(Exception):
    """Raised between two control steps when the reader asked to stop."""


@dataclass(eq=False)
class LiveEpisode:
    """One episode: start it, look at it while it runs, stop it.

    Attributes:
        folder: where it is recorded; it must not hold an episode yet.
        state: how far it is, see `State`.
        watch: called in the session's thread whenever something changed.
        steps: control steps taken so far, of at most `limit`.
        latest: the last step, with its pictures.
        result: the outcome; its `success` is None if the episode was stopped. None until the end,
            and when nothing was recorded.
        error: one line, when `state` is "error".
    """

    spec: EpisodeSpec
    folder: Path
    session: Session
    watch: Callable[[LiveEpisode], None] = lambda episode: None
    state: State = "waiting"
    steps: int = 0
    latest: Step | None = None
    result: Result | None = None
    error: str = ""

    def __post_init__(self) -> None:
        self.limit = self.spec.limit()
        self._asked_to_stop = threading.Event()
        self._future: Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("success", "failure", "stopped", "error")

    def start(self) -> None:
        """Begin, and return at once.

        Raises:
            TutorialError: the settings contradict each other, or the folder cannot take an
                episode. Nothing was started.
        """
        self.spec.settings()
        check_folder(self.folder)
        self._future = self.session.pool.submit(self._work)

    def stop(self) -> None:
        """End after the present control step. The record is kept and marked incomplete."""
        self._asked_to_stop.set()

    def wait(self, seconds: float | None = None) -> Result | None:
        """Wait for the end; the result, or None where nothing was recorded.

        Raises:
            TimeoutError: it had not ended after `seconds`.
            Exception: what ended it, if that was neither a TutorialError nor a stop.
        """
        if self._future is not None:
            self._future.result(seconds)
        return self.result

    def _work(self) -> None:
        try:
            self._record()
        except _Stopped:
            self._become("stopped")
        except TutorialError as e:
            self.error = str(e)
            self._become("error")
        # Shown as an error, never as a failure of the policy. The future keeps the traceback.
        except Exception as e:
            self.error = f"{type(e).__name__}: {e}"
            self._become("error")
            raise

    def _record(self) -> None:
        self._become("preparing")
        wiring, scene = self.spec.settings()
        policy = self.session.policy(self.spec)
        simulators = self.session.simulators
        simulator = simulators.get(scene.suite, scene.task, wiring.camera_size, scene.own)
        self._stop_if_asked()
        self._become("running")
        names = self.spec.conditions
        result = record_episode(
            policy,
            simulator,
            wiring,
            scene,
            self.folder,
            names,
            on_step=self._on_step,
        )
        self._become("success" if result.success else "failure")

    def _on_step(self, step: Step) -> None:
        self.latest = step
        self.steps = step.step + 1
        self.watch(self)
        if not step.done:
            self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._asked_to_stop.is_set():
            raise _Stopped

    def _become(self, state: State) -> None:
        recorded = self.folder / "episode.json"
        if self.steps and recorded.is_file():
            remedy = "Run the episode again."
            self.result = decode(read_bytes(recorded, remedy), Result, str(recorded), remedy)
        self.state = state
        self.watch(self)


def run(folder: str | Path, session: Session | None = None, **settings: Any) -> Result | None:
    """Record one episode in a new folder and wait for it; Ctrl-C keeps what was recorded.

    Args:
        folder: a new folder.
        session: keeps policy and simulator for the next episode; without one they are made and
            closed.
        settings: fields of `EpisodeSpec`, for example `task=0, conditions=("no_flip",)`.

    Raises:
        TutorialError: the episode cannot be run.
    """
    if session is None:
        with Session() as own:
            return run(folder, own, **settings)
    episode = LiveEpisode(EpisodeSpec(**settings), Path(folder), session)
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
