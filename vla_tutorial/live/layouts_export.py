"""Random layouts for the page: starts that nobody saved, by the seeds of `sweep --layouts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.live.site_files import write_bytes
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.builder import Layout
from vla_tutorial.sim.simulator import BASKET_REGION

SEEDS = tuple(range(20))
"""The page's sampler would have to be MuJoCo's and numpy's, so it gets draws of these seeds."""


class LayoutEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A layout in the manifest; its state is a row of the task's file.

    Attributes:
        seed: as `vla-tutorial sweep --layouts` takes it.
        target: LIBERO's name of the object that shall go into the basket.
        instruction: the sentence for it.
        settle_steps: no-op control steps before the episode begins, at most.
        wide: whether the hand starts somewhere else than at home.
    """

    seed: int
    target: str
    instruction: str
    settle_steps: int
    wide: bool


def draw(simulator: Simulator) -> list[Layout]:
    """The layouts of all `SEEDS`. The simulator's state is overwritten: reset after it.

    Raises:
        TutorialError: the scene has no layouts, or one asks for more than an object in the basket.
    """
    return [_draw(simulator, seed) for seed in SEEDS]


def _draw(simulator: Simulator, seed: int) -> Layout:
    layout = simulator.layout(seed)
    if layout.goal != (("in", layout.target, BASKET_REGION),) or layout.fixtures.size:
        task = simulator.task
        raise TutorialError(
            f"Layout {seed} of {task.suite} task {task.index} asks for {layout.goal} and moves "
            f"{len(layout.fixtures)} fixtures; the page knows one object in the basket. "
            "Choose libero_object."
        )
    return layout


def states(layouts: list[Layout]) -> Floats:
    """(N, S): where each begins, as `sim.initial_states` has the saved ones."""
    return np.array([layout.state for layout in layouts], np.float64)


def export(folder: Path, task: int, layouts: list[Layout]) -> dict[str, Any]:
    """Write data/states/taskN_layouts.bin; the task's entries in the manifest, by key."""
    file = f"data/states/task{task}_layouts.bin"
    write_bytes(folder / file, states(layouts).astype("<f8").tobytes())
    entries = [
        LayoutEntry(seed, one.target, one.instruction, one.settle_steps, one.wide)
        for seed, one in zip(SEEDS, layouts, strict=True)
    ]
    return {"layouts": entries, "layoutStates": file}
