"""Random layouts for the page: starts that nobody saved, by the seeds of `sweep --layouts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.live.goals_export import GoalPart, goal_parts
from vla_tutorial.live.site_files import stem, write_bytes
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.builder import Layout

SEEDS = tuple(range(20))
"""The page's sampler would have to be MuJoCo's and numpy's, so it gets draws of these seeds."""


class LayoutEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A layout in the manifest; its state is a row of the task's file.

    Attributes:
        seed: as `vla-tutorial sweep --layouts` takes it.
        target: LIBERO's name of the object that is handled first, "" where none is.
        goal: all of it must hold.
        fixtures: (F, 7), metres and quaternions, where the fixtures of `Physics.fixtures` stand.
        instruction: the sentence for it.
        settle_steps: no-op control steps before the episode begins, at most.
        wide: whether the hand starts somewhere else than at home.
    """

    seed: int
    target: str
    instruction: str
    settle_steps: int
    wide: bool
    goal: list[GoalPart]
    fixtures: list[list[float]]


def draw(simulator: Simulator) -> list[Layout]:
    """The layouts of all `SEEDS`. The simulator's state is overwritten: reset after it.

    Raises:
        TutorialError: the scene has no layouts.
    """
    return [simulator.layout(seed) for seed in SEEDS]


def states(layouts: list[Layout]) -> Floats:
    """(N, S): where each begins, as `sim.initial_states` has the saved ones."""
    return np.array([layout.state for layout in layouts], np.float64)


def export(folder: Path, simulator: Simulator, layouts: list[Layout]) -> dict[str, Any]:
    """Write data/states/SUITE_taskN_layouts.bin; the task's entries in the manifest, by key.

    Raises:
        TutorialError: a goal has a predicate that the page does not know.
    """
    file = f"data/states/{stem(simulator.task.suite, simulator.task.index)}_layouts.bin"
    write_bytes(folder / file, states(layouts).astype("<f8").tobytes())
    return {"layouts": entries(simulator, layouts), "layoutStates": file}


def entries(simulator: Simulator, layouts: list[Layout]) -> list[LayoutEntry]:
    """What the manifest says of the layouts of the first seeds; raises as `export`."""
    return [
        LayoutEntry(
            seed=seed,
            target=one.target,
            instruction=one.instruction,
            settle_steps=one.settle_steps,
            wide=one.wide,
            goal=goal_parts(simulator, one.goal),
            fixtures=one.fixtures.tolist(),
        )
        for seed, one in zip(SEEDS, layouts, strict=False)
    ]
