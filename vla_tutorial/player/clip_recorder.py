"""Records the player's clips, in several processes."""

from __future__ import annotations

import contextlib
import json
import multiprocessing as mp
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step
from vla_tutorial.pixels import orient
from vla_tutorial.player.clip_script import read_clip_script, write_clip_script
from vla_tutorial.player.clips import CLIP_FILES, clip_key, write_clip_index
from vla_tutorial.player.episode_data import CLIP_FORMAT, changes, episode_data
from vla_tutorial.policies import Policy, load_policy
from vla_tutorial.provenance import weights_hash
from vla_tutorial.record import record_episode
from vla_tutorial.sim import WORKER_NICENESS, KeptSimulator, Simulator
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.video import SMALL, Video


class ClipRecorder:
    """Records clips in the folder `out`, one after the other.

    Args:
        build: makes a simulator from suite, task and camera size in pixels; tests pass another.

    Attributes:
        weights: `provenance.weights_hash` of the policy. A clip of other weights is not current.
    """

    def __init__(
        self, policy: Policy, out: Path, build: Callable[..., Simulator] = Simulator
    ) -> None:
        self.policy = policy
        self.out = out
        self.weights = weights_hash(policy)
        self._simulators = KeptSimulator(build)

    def is_current(self, clip: EpisodeSpec) -> bool:
        """Whether a complete clip is there, of these weights and of today's conditions."""
        folder = self.out / clip_key(clip)
        if not all((folder / name).is_file() for name in CLIP_FILES):
            return False
        try:
            data = read_clip_script(folder / "episode.js")
            wiring, scene = clip.settings()
        except TutorialError:
            return False
        described = {**asdict(scene), "conditions": clip.conditions, "wiring": asdict(wiring)}
        expected = {"format": CLIP_FORMAT, "weights": self.weights, "changes": changes(described)}
        return data == data | expected

    def record(self, clip: EpisodeSpec, on_step: Callable[[Step], None] = lambda _: None) -> None:
        """Record one clip. What was there before is replaced when the new one is complete.

        Args:
            on_step: called after each control step; an error that it raises ends the recording.

        Raises:
            TutorialError: the clip's settings contradict each other, or its task does not exist.
        """
        wiring, scene = clip.settings()
        staging = _staging(self.out, clip)
        last: list[Step] = []

        simulator = self._simulators.get(scene.suite, scene.task, wiring.camera_size)
        episode = (self.policy, simulator, wiring, scene, staging, clip.conditions)
        film = Video(staging / "episode.mp4", SMALL)

        def keep(step: Step) -> None:
            last[:] = [step]
            film.append(_upright(step))
            on_step(step)

        try:
            with contextlib.closing(film):
                record_episode(*episode, video=False, overwrite=True, on_step=keep)
            self._finish(clip, staging, last[0])
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _finish(self, clip: EpisodeSpec, staging: Path, last: Step) -> None:
        """Turn an episode's folder into a clip's, and move it to its place."""
        key = clip_key(clip)
        data = {"key": key, **episode_data(staging), "weights": self.weights}
        Image.open(staging / "agentview.png").save(staging / "poster.webp", quality=80)
        Image.fromarray(_upright(last)).save(staging / "end.webp", quality=80)
        target = f"(globalThis.VLA_EPISODES??={{}})[{json.dumps(key)}]"
        write_clip_script(staging / "episode.js", target, data)
        for path in staging.iterdir():
            if path.name not in CLIP_FILES:
                path.unlink()
        folder = self.out / key
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.rename(folder)


def _upright(step: Step) -> Picture:
    """The camera's picture as people hold it, (256, 256, 3)."""
    return orient(step.observation.image, "rotate_180")


def _staging(out: Path, clip: EpisodeSpec) -> Path:
    """Where a clip lies until it is complete."""
    return out / f".part-{clip_key(clip).replace('/', '-')}"


def record_clips(
    policy: str,
    out: Path,
    clips: Sequence[EpisodeSpec],
    workers: int = 1,
    *,
    on_progress: Callable[[int, int], None] = lambda done, steps: None,
) -> None:
    """Record clips in processes that each load the policy, and always write the index at the end.

    Args:
        policy: a key of `policies.POLICIES`.
        on_progress: called with the clips done and the control steps taken so far, at least twice
            a second.

    Raises:
        TutorialError: a process died; finished clips are kept.
    """
    context = mp.get_context("spawn")
    stop = context.Event()
    steps = context.Value("q", 0)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (policy, out, stop, steps))
    try:
        waiting = {pool.submit(_record_clip, clip) for clip in clips}
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            on_progress(len(clips) - len(waiting), steps.value)
    except BrokenProcessPool as e:
        raise TutorialError(
            "A recording process died, most likely for lack of memory. "
            "Finished clips are kept. Try --workers 1."
        ) from e
    finally:
        # A worker looks at it after every control step.
        stop.set()
        pool.shutdown(cancel_futures=True)
        # Of a process that was killed in the middle of one.
        for clip in clips:
            shutil.rmtree(_staging(out, clip), ignore_errors=True)
        write_clip_index(out)


_record_here: Callable[[EpisodeSpec], None]


def _start_worker(policy: str, out: Path, stop: Any, steps: Any) -> None:
    """Set `_record_here`. `stop` and `steps` are `multiprocessing`'s: an event and a number."""
    global _record_here
    import torch

    # One thread, so that a clip does not depend on the number of workers.
    torch.set_num_threads(1)
    # A terminal sends these to all processes; the main process handles them and sets `stop`.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(WORKER_NICENESS)

    def on_step(_step: Step) -> None:
        with steps.get_lock():
            steps.value += 1
        if stop.is_set():
            raise InterruptedError("the main process said stop")

    _record_here = partial(ClipRecorder(load_policy(policy), out).record, on_step=on_step)


def _record_clip(clip: EpisodeSpec) -> None:
    _record_here(clip)
