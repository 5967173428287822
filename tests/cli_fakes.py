"""The command line in a forked process, with a simulator and a policy that cost next to nothing.

A fork starts at once: what a command imports has been imported here.
"""

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sweep_fakes import Fake, Follow

from vla_tutorial import policies, sim
from vla_tutorial.cli import main
from vla_tutorial.sim import Observation
from vla_tutorial.spec import EpisodeSpec

ROLLOUT = ["rollout", "--suite", "libero_object", "--task", "0", "--init", "0", "--max-steps"]


class Noisy(Fake):
    """Never done, and seen through a camera of noise, whose video is large."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _see(self):
        seen = super()._see()
        rng = np.random.default_rng(self.steps)
        image = rng.integers(0, 256, (64, 64, 3), np.uint8)
        return Observation(
            image, seen.eef_pos, *(getattr(seen, name) for name in seen.__match_args__[2:])
        )

    def step(self, action):
        seen, reward, _ = super().step(action)
        return seen, reward, False


@dataclass(frozen=True)
class Command:
    """A command in a process of its own, and the file to which it prints."""

    pid: int
    said: Path

    def wait(self):
        """The exit code, negative after a signal, and what was printed."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), self.said.read_text()


def start(said, *arguments):
    """Start `vla-tutorial` with these arguments."""
    pid = os.fork()
    if pid:
        return Command(pid, said)
    try:
        log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        run(*arguments)
    finally:
        os._exit(99)


def run(*arguments):
    """Run the command in this process and end it."""
    code = 99
    try:
        sim.Simulator = Noisy
        policies.POLICIES["mini"] = lambda *_, **options: Follow()
        EpisodeSpec.check = lambda self: None
        sys.argv = ["vla-tutorial", *map(str, arguments)]
        main()
    except SystemExit as e:
        code = e.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 98
        os._exit(code)
