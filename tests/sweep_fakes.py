"""A simulator without MuJoCo and a policy without a network, for tests that kill processes by the dozen.

`VLA_TUTORIAL_SIMULATOR=sweep_fakes:Fake` puts it into workers; SWEEP_FAKE says what goes wrong there, as "WHAT TASK_INIT FOLDER": at the third step of that
episode, once for each mark that is missing in FOLDER (or always, without a folder).
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vla_tutorial.actions import embedded_statistics
from vla_tutorial.sim import Observation

KEY = "libero_object"
STEP_SECONDS = float(os.environ.get("SWEEP_FAKE_SECONDS", "0.002"))


class Fake:
    """The hand moves as it is told; the task is done at a step that depends on all actions so far."""

    model = data = None
    bodies, targets, asked = {}, (), ()

    def __init__(self, suite, task, camera_size, own=None):
        assert multiprocessing.parent_process() is None or "torch" not in sys.modules
        self.task = SimpleNamespace(suite=suite, index=task, instruction=f"do task {task}")
        self.misdeed = (*os.environ.get("SWEEP_FAKE", "").split(), "", "", "")[:3]
        if self.misdeed[0] == "build":
            time.sleep(3600)

    def start(self, scene, settle_steps):
        self.scene = scene
        self.init = scene.init
        self.steps = 0
        self.hand = np.array([0.1 * scene.init, 0.1 * self.task.index, 0.3])
        return self._see()

    def succeeded(self):
        return self.init % 2 == 0

    def _see(self):
        rng = np.random.default_rng(np.abs(self.hand * 1e6).astype(int))
        image = np.broadcast_to(rng.integers(0, 256, (1, 1, 3), np.uint8), (224, 224, 3))
        return Observation(
            image, self.hand.copy(), np.zeros(4), np.array([0.04, -0.04]), np.zeros(7)
        )

    def step(self, action):
        time.sleep(STEP_SECONDS)
        self.steps += 1
        self.hand += 0.05 * np.asarray(action)[:3]
        if self.steps == 3:
            self._misbehave()
        done = self.steps >= 5 and int(abs(self.hand.sum()) * 1e4) % 7 == 0
        return self._see(), float(done), done

    def _misbehave(self):
        what, where, folder = self.misdeed
        if where != f"{self.task.index}_{self.init}":
            return
        if folder:
            try:
                (Path(folder) / what).touch(exist_ok=False)
            except FileExistsError:
                return
        if what == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif what == "hang":
            time.sleep(3600)
        elif what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif what == "raise":
            raise ValueError("the simulator's own mistake")

    def close(self):
        pass


def blind(suite, task, camera_size):
    """Real LIBERO without its camera."""
    from vla_tutorial.sim import Simulator

    return Simulator(suite, task, camera_size, render=False)


class Follow:
    """Answers with tokens that depend on the picture alone."""

    name, privileged, provenance = "follow", False, {"device": "cpu"}

    def __init__(self, fail_after=None):
        self.statistics = {KEY: embedded_statistics()[KEY]}
        self.fail_after, self.answered, self.batches = fail_after, 0, []

    def predict(self, batch):
        self.answered += len(batch)
        self.batches.append(len(batch))
        if self.fail_after is not None and self.answered > self.fail_after:
            raise RuntimeError("the policy's own mistake")
        return np.array(
            [
                np.random.default_rng(list(item.pixels[0, 0])).integers(31744, 32000, 7)
                for item in batch
            ]
        )

    def close(self):
        pass


def main(out, workers="2", tasks="3", inits="4", build="30", step="30"):
    """A small sweep with the real scheduler; `python tests/sweep_fakes.py OUT`."""
    from vla_tutorial.cli.terminal import Interrupt
    from vla_tutorial.errors import TutorialError
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.sweep import LocalEngine, SweepPlan, run_sweep
    from vla_tutorial.sweep.scheduler import Timeouts

    plan = SweepPlan(
        EpisodeSpec(KEY, policy="follow", max_steps=25),
        tuple(range(int(tasks))),
        tuple(range(int(inits))),
        ("published", "wrong_prompt"),
    )
    fail_after = os.environ.get("SWEEP_FAKE_POLICY")
    with Interrupt(graceful=True) as stop, contextlib.suppress(KeyboardInterrupt):
        try:
            engine = LocalEngine(Follow(fail_after and int(fail_after)), int(workers))
            timeouts = Timeouts(float(step), float(build))
            progress = run_sweep(
                plan,
                Path(out),
                engine,
                int(workers),
                timeouts=timeouts,
                stopping=lambda: stop.asked,
                watch=stop.check,
                say=print,
            )
        except TutorialError as e:
            print(e)
            sys.exit(2)
        sys.exit(0 if progress.done == progress.total else stop.exit_code)
    sys.exit(stop.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
