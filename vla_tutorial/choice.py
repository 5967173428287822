"""What to run, as a form or a line of code says it, and both lines of code that say the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from vla_tutorial.conditions import apply
from vla_tutorial.scene import Scene
from vla_tutorial.sim import base_suite, check_task, step_limit
from vla_tutorial.wiring import Wiring


def native_key(policy: str, suite: str) -> str:
    """Whose action statistics a policy's tokens are meant for, unless somebody says otherwise.

    The expert and `mini` speak libero_object's, whatever the suite; a published checkpoint carries those of the suite that it was trained on.
    """
    return "libero_object" if policy in ("expert", "mini") else base_suite(suite)


@dataclass(frozen=True)
class Choice:
    """Everything that a form (or a line of code) says about an episode.

    Attributes:
        suite, task, init: LIBERO's task and the number of its saved initial state.
        policy, checkpoint: as `load_policy` takes them.
        conditions: names from the catalogue, in the order in which they are applied.
        max_steps: None takes the published limit of the suite.
    """

    suite: str = "libero_object"
    task: int = 0
    init: int = 0
    policy: str = "mini"
    checkpoint: str | None = None
    conditions: tuple[str, ...] = ()
    max_steps: int | None = None

    def settings(self) -> tuple[Wiring, Scene]:
        """The wiring and scene with the conditions applied.

        Raises:
            TutorialError: the task does not exist, or two conditions contradict each other.
        """
        wiring, scene = apply(
            self.conditions,
            Wiring(unnorm_key=native_key(self.policy, self.suite), max_steps=self.max_steps),
            Scene(self.suite, self.task, self.init),
        )
        check_task(self.suite, self.task, self.init)
        return wiring, scene

    def limit(self) -> int:
        """Control steps after which the episode has failed."""
        return self.max_steps or step_limit(self.suite)

    def command(self, folder: Path) -> str:
        """The line of shell that records the same episode."""
        parts = ["vla-tutorial", "rollout", "--suite", self.suite, "--task", str(self.task), "--init", str(self.init)]
        parts += ["--policy", self.policy] + (["--checkpoint", self.checkpoint] if self.checkpoint else [])
        parts += [word for name in self.conditions for word in ("--condition", name)]
        parts += ["--max-steps", str(self.max_steps)] if self.max_steps else []
        return shlex.join([*parts, "--out", str(folder)])

    def python(self, folder: Path) -> str:
        """The line of Python that records the same episode."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default or f.name in ("task", "init")}
        return f"vla_tutorial.lab.run({str(folder)!r}, {', '.join(f'{k}={v!r}' for k, v in given.items())})"
