"""Keep a simulator until another is needed: building takes seconds, resetting milliseconds."""

from __future__ import annotations

from collections.abc import Callable

from vla_tutorial.sim.simulator import Simulator


class KeptSimulator:
    """The simulator of the last episode, for as long as the next episode can use it too."""

    def __init__(self, build: Callable[[str, int, int], Simulator] = Simulator) -> None:
        """`build` makes a simulator from suite, task and the camera's size in pixels."""
        self._build = build
        self._simulator: Simulator | None = None
        self._built_for: tuple[str, int, int] | None = None

    def get(self, suite: str, task: int, camera_size: int) -> Simulator:
        """The task's simulator: the last one if it fits, else a new one (1–15 s)."""
        wanted = (suite, task, camera_size)
        if self._simulator is None or self._built_for != wanted:
            # Before the new one is built: two simulators at a time would take twice the memory.
            self.close()
            self._simulator = self._build(suite, task, camera_size)
            self._built_for = wanted
        return self._simulator

    def close(self) -> None:
        """Close the simulator, which frees its memory. Safe to call twice."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None
