"""robosuite's physics step without the work that it does twice: the same numbers, bit for bit.

For each physics step robosuite calls `mj_forward` twice and `mj_step` once, and each of the three computes anew where everything is and how it moves.
Between them only the controls change, so the second call may skip both stages and the third may begin behind them (`mj_step2`). What depends on
the solver's warm start is still computed three times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class Physics:
    """Takes the place of an `MjSim`'s `forward` and `step`; lean within `once`, as robosuite has them outside of it."""

    def __init__(self, sim: Any) -> None:
        import mujoco  # not above: `libero.load` must choose the GL backend first

        self._mujoco, self._model, self._data = mujoco, sim.model._model, sim.data._data
        self._lean = self._placed = False
        sim.forward, sim.step = self.forward, self.step

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """While nothing but robosuite's own loop of control and physics steps touches the state."""
        self._lean, self._placed = True, False
        try:
            yield
        finally:
            self._lean = self._placed = False

    def forward(self) -> None:
        """`mj_forward`; without positions and velocities where they are known."""
        if self._placed:
            self._mujoco.mj_forwardSkip(self._model, self._data, int(self._mujoco.mjtStage.mjSTAGE_VEL), 0)
        else:
            self._mujoco.mj_forward(self._model, self._data)
            self._placed = self._lean

    def step(self, with_udd: bool = True) -> None:
        """`mj_step`, or its second half where the first is known."""
        (self._mujoco.mj_step2 if self._placed else self._mujoco.mj_step)(self._model, self._data)
        self._placed = False
