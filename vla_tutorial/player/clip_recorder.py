"""Records the player's clips, in as many processes as the machine bears."""

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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step
from vla_tutorial.pixels import orient
from vla_tutorial.player.clips import FILES, Clip, read, script, write_index
from vla_tutorial.player.episode_data import FORMAT, changes, episode_data
from vla_tutorial.policies import load_policy
from vla_tutorial.policies.base import Policy
from vla_tutorial.provenance import weights_hash
from vla_tutorial.record import record_episode
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import PUBLISHED_WIRING
from vla_tutorial.wiring import Wiring

Progress = Callable[[int, int], None]
"""Called with the clips done and the control steps taken so far, at least twice a second while processes record."""


class ClipRecorder:
    """Records clips one after the other and keeps the simulator for as long as it fits.

    Args:
        policy: acts.
        out: folder of the clips.
        wiring: the published wiring; tests shorten its episodes.
    """

    def __init__(self, policy: Policy, out: Path, wiring: Wiring = PUBLISHED_WIRING) -> None:
        self.policy, self.out, self.wiring = policy, out, wiring
        self.weights = weights_hash(policy)
        self._built: tuple[tuple[str, int, int], Simulator] | None = None

    def is_current(self, clip: Clip) -> bool:
        """Whether a complete clip is there, of these weights and of what the conditions mean today."""
        folder = self.out / clip.key
        if not all((folder / name).is_file() for name in FILES):
            return False
        with contextlib.suppress(TutorialError):
            data = read(folder / "episode.js")
            wiring, scene = clip.settings(self.wiring)
            expected = changes(
                {**asdict(scene), "conditions": clip.conditions, "wiring": asdict(wiring)}
            )
            return (data.get("format"), data.get("weights"), data.get("changes")) == (
                FORMAT,
                self.weights,
                expected,
            )
        return False

    def record(self, clip: Clip, on_step: Callable[[Step], None] = lambda step: None) -> None:
        """Record one clip; what was there before is replaced when the new one is complete."""
        wiring, scene = clip.settings(self.wiring)
        part, last = (
            self.out / f".part-{clip.key.replace('/', '-')}",
            dict[str, NDArray[np.uint8]](),
        )

        def watch(step: Step) -> None:
            last["picture"] = step.observation.image
            on_step(step)

        try:
            record_episode(
                self.policy,
                self._simulator(wiring, scene),
                wiring,
                scene,
                part,
                clip.conditions,
                overwrite=True,
                on_step=watch,
            )
            self._finish(clip, part, orient(last["picture"], "rotate_180"))
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _finish(self, clip: Clip, part: Path, end: NDArray[np.uint8]) -> None:
        data = {
            "key": clip.key,
            **episode_data(part),
            "task": clip.task,
            "init": clip.init,
            "weights": self.weights,
        }
        Image.open(part / "agentview.png").save(part / "poster.webp", quality=80)
        Image.fromarray(end).save(part / "end.webp", quality=80)
        (part / "episode.js").write_text(
            script(f"(globalThis.VLA_EPISODES??={{}})[{json.dumps(clip.key)}]", data),
            encoding="utf-8",
        )
        for path in part.iterdir():
            if path.name not in FILES:
                path.unlink()
        folder = self.out / clip.key
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.rename(folder)

    def _simulator(self, wiring: Wiring, scene: Scene) -> Simulator:
        wanted = (scene.suite, scene.task, wiring.camera_size)
        if self._built is None or self._built[0] != wanted:
            self.close()
            self._built = (wanted, Simulator(*wanted))
        return self._built[1]

    def close(self) -> None:
        """Release the simulator."""
        if self._built:
            self._built[1].close()
        self._built = None


def record_all(
    policy: str,
    out: Path,
    clips: Sequence[Clip],
    workers: int = 1,
    *,
    wiring: Wiring = PUBLISHED_WIRING,
    on_progress: Progress = lambda done, steps: None,
) -> None:
    """Record clips in processes that each load the policy, and write the index when it ends, however it ends.

    Raises:
        TutorialError: a process died; what was finished is kept.
    """
    context = mp.get_context("spawn")
    stop, steps = context.Event(), context.Value("q", 0)
    pool = ProcessPoolExecutor(workers, context, _start, (policy, out, wiring, stop, steps))
    try:
        waiting = {pool.submit(_record, clip) for clip in clips}
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            on_progress(len(clips) - len(waiting), steps.value)
    except BrokenProcessPool as e:
        raise TutorialError(
            "A recording process died, most likely for lack of memory. What is finished is kept: try --workers 1."
        ) from e
    finally:
        stop.set()  # a worker looks at it after every control step
        pool.shutdown(cancel_futures=True)
        write_index(out)


_here: dict[str, Any] = {}
"""A worker's own studio and what it shares with the main process."""


def _start(policy: str, out: Path, wiring: Wiring, stop: Any, steps: Any) -> None:
    import torch

    torch.set_num_threads(1)  # so that a clip does not depend on the number of workers
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the main process's business, which then says stop
    os.nice(5)
    _here.update(studio=ClipRecorder(load_policy(policy), out, wiring), stop=stop, steps=steps)


def _record(clip: Clip) -> None:
    def watch(_step: Step) -> None:
        with _here["steps"].get_lock():
            _here["steps"].value += 1
        if _here["stop"].is_set():
            raise InterruptedError("told to stop")

    _here["studio"].record(clip, watch)
