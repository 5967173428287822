"""Scenes that nobody saved, drawn anew for training and for measuring in closed loop.

The saved initial states are not read: they are kept for measuring. Metres, radians, world frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import BASKET
from vla_tutorial.sim.builder import Drawn, Layout, SceneBuilder, Settable, pose_column
from vla_tutorial.sim.goal_layouts import draw_goal
from vla_tutorial.sim.hand_starts import shake_arm, start_wide
from vla_tutorial.sim.long_layouts import draw_long
from vla_tutorial.sim.object_layouts import object_layout
from vla_tutorial.sim.spatial_layouts import draw_spatial

__all__ = ["BASKET", "Layout", "Settable", "pose_column", "random_layout"]

_SAMPLERS: dict[str, Callable[[SceneBuilder], Drawn]] = {
    "libero_spatial": draw_spatial,
    "libero_goal": draw_goal,
    "libero_10": draw_long,
}

SUITES = ("libero_object", *_SAMPLERS)
"""Suites with layouts. `object_layout` also draws other scenes with as many things as these."""

_WIDE = 0.3
"""Share of episodes that begin with the hand anywhere above the table."""

FIRST_TRAINING_SEED = 2**32
"""Training draws its seeds from here on. Only its episodes begin in the middle of a task."""

_MIDWAY = 0.25
"""Share of them, where the task has a middle."""

_TRIES = 60


def random_layout(simulator: Settable, seed: int) -> Layout:
    """A layout of the simulator's scene, the same for the same seed and task.

    It takes milliseconds for libero_object and a tenth of a second for the suites in which things
    settle. It overwrites the simulator's state and moves its fixtures: reset after it.

    Raises:
        TutorialError: no layouts are known for this scene, or none without collision was found.
    """
    task = simulator.task
    draw = _SAMPLERS.get(task.suite)
    if draw is None:
        return object_layout(simulator, seed)
    number = list(_SAMPLERS).index(task.suite)
    rng = np.random.default_rng([seed, task.index, number])
    midway = bool(rng.random() < _MIDWAY and seed >= FIRST_TRAINING_SEED)
    builder = SceneBuilder(simulator, rng, midway)
    drawn = _build(builder, draw)
    # After the first half of a task the hand is anywhere but at home.
    share = 0.8 if drawn.begun else _WIDE
    wide = bool(rng.random() < share) and start_wide(
        simulator,
        rng,
        drawn.hand,
        builder.robot_near,
    )
    if not wide:
        shake_arm(simulator, rng)
    model = simulator.model
    return Layout(
        state=np.concatenate([[0.0], simulator.data.qpos, np.zeros(model.nv)]),
        target=next(iter(drawn.about.things), ""),
        instruction=drawn.instruction,
        settle_steps=int(rng.integers(1, 11)) if wide else 10,
        wide=wide,
        goal=drawn.goal,
        about=drawn.about,
        fixtures=builder.fixtures,
        begun=drawn.begun,
        done=drawn.done,
    )


def _build(builder: SceneBuilder, draw: Callable[[SceneBuilder], Drawn]) -> Drawn:
    """Draw scenes until one settles without falling, is not crowded and asks for something."""
    for _ in range(_TRIES):
        drawn = draw(builder)
        if not builder.crowded(drawn.gap) and builder.settle() and _asks(builder, drawn):
            return drawn
        builder.begin()
    task = builder.simulator.task
    raise TutorialError(f"No free layout of {task.suite} task {task.index} in {_TRIES} tries.")


def _asks(builder: SceneBuilder, drawn: Drawn) -> bool:
    """Whether what shall be done is done, nothing else, and not all."""
    holds = builder.simulator.holds
    waiting = [predicate for predicate in drawn.goal if predicate not in drawn.done]
    done = all(holds(predicate) for predicate in drawn.done)
    return bool(waiting) and done and not any(holds(predicate) for predicate in waiting)
