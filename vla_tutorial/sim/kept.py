"""Keep a simulator until another is needed: building takes seconds, resetting milliseconds."""

from __future__ import annotations

from collections.abc import Callable

from vla_tutorial.scene import OwnScene
from vla_tutorial.sim.simulator import Simulator

Build = Callable[..., Simulator]
"""Makes a simulator from suite, task, the camera's size in pixels and, if there is one, `own`."""


class KeptSimulator:
    """The simulator of the last episode, for as long as the next episode can use it too."""

    def __init__(self, build: Build = Simulator) -> None:
        """`build` makes the simulators."""
        self._build = build
        self._simulator: Simulator | None = None
        self._built_for: object = None

    def get(
        self, suite: str, task: int, camera_size: int, own: OwnScene | None = None
    ) -> Simulator:
        """The simulator of a task or of an own scene: the last one if it fits, else a new one.

        Building one takes 1–15 s.
        """
        wanted = (suite, task, camera_size, own)
        if self._simulator is None or self._built_for != wanted:
            # Before the new one is built: two simulators at a time would take twice the memory.
            self.close()
            given = {} if own is None else {"own": own}
            self._simulator = self._build(suite, task, camera_size, **given)
            self._built_for = wanted
        return self._simulator

    def close(self) -> None:
        """Close the simulator, which frees its memory. Safe to call twice."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None
