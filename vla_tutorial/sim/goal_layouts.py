"""libero_goal drawn anew: one scene, its four things elsewhere, and any of its ten goals.

Metres, radians, world frame.
"""

from __future__ import annotations

import numpy as np

from vla_tutorial.scene import About, Goal
from vla_tutorial.sim.builder import KITCHEN_HAND, Drawn, SceneBuilder
from vla_tutorial.sim.protocol import task_instructions

_SUITE = "libero_goal"
_TABLE = 0.9
_BOWL = "akita_black_bowl_1"
_CHEESE = "cream_cheese_1"
_BOTTLE = "wine_bottle_1"
_PLATE = "plate_1"
_CABINET = "wooden_cabinet_1"
_STOVE = "flat_stove_1"

GOALS: tuple[Goal, ...] = (
    (("open", f"{_CABINET}_middle_region"),),
    (("on", _BOWL, f"{_STOVE}_cook_region"),),
    (("on", _BOTTLE, f"{_CABINET}_top_side"),),
    (("in", _BOWL, f"{_CABINET}_top_region"),),
    (("on", _BOWL, f"{_CABINET}_top_side"),),
    (("on", _PLATE, "main_table_stove_front_region"),),
    (("on", _CHEESE, _BOWL),),
    (("turnon", _STOVE),),
    (("on", _BOWL, _PLATE),),
    (("on", _BOTTLE, "wine_rack_1_top_region"),),
)
"""Of the ten tasks, in their order."""

_OPEN = 0
_OPEN_AND_PUT = 3
_PUSH = 5
_TURN_ON = 7

_PLACES = {
    _PLATE: (0.05, -0.02),
    _BOWL: (-0.09, 0.0),
    _CHEESE: (-0.05, 0.13),
    _BOTTLE: (-0.2, -0.05),
}
"""The middles of LIBERO's regions, from which its samplers draw within ±0.01."""

_EXCHANGES = ((_BOWL, _CHEESE), (_BOWL, _PLATE), (_PLATE, _CHEESE), (_BOTTLE, _CHEESE))
"""Pairs that may change places. The bottle must not stand where a drawer opens."""


def draw_goal(builder: SceneBuilder) -> Drawn:
    """Half of the scenes keep the task's own goal; one in four exchanges two things."""
    rng = builder.rng
    task, places = builder.once("task", lambda: _draw_task(builder))
    builder.move_fixtures(0.015, np.radians(3))
    for name, middle in places.items():
        yaw = rng.uniform(-0.3, 0.3) if name == _CHEESE else rng.uniform(-np.pi, np.pi)
        reach = 0.03 if name == _PLATE else 0.04
        builder.put(name, builder.around(middle, reach), _TABLE, yaw)
    goal = GOALS[task]
    begun, done = _begin(builder, task) if builder.midway else ("", ())
    return Drawn(
        goal=goal,
        instruction=task_instructions(_SUITE)[task],
        about=About(_SUITE, task, _handled(builder, goal)),
        hand=KITCHEN_HAND,
        gap=0.008,
        begun=begun,
        done=done,
    )


def _draw_task(builder: SceneBuilder) -> tuple[int, dict[str, tuple[float, float]]]:
    """Whose goal is asked for, and the places of the things."""
    rng = builder.rng
    own = rng.random() < 0.5
    task = builder.simulator.task.index if own else int(rng.integers(len(GOALS)))
    places = dict(_PLACES)
    pairs: tuple[tuple[str, str], ...] = _EXCHANGES
    if task == _PUSH:
        # A plate to be pushed keeps its place and a free way.
        pairs = _EXCHANGES[:1]
    elif task == _OPEN_AND_PUT:
        # At the plate's place the opened drawer would hang over the bowl.
        pairs = tuple(pair for pair in _EXCHANGES if pair != (_BOWL, _PLATE))
    if rng.random() < 0.25:
        a, b = pairs[rng.integers(len(pairs))]
        places[a], places[b] = places[b], places[a]
    return task, places


def _begin(builder: SceneBuilder, task: int) -> tuple[str, Goal]:
    """Do part of the task, where it has one; what was done, and which predicates hold by it."""
    rng = builder.rng
    if task == _OPEN:
        builder.set_joint(f"{_CABINET}_middle_level", rng.uniform(-0.12, -0.02))
        return "drawer half open", ()
    if task == _OPEN_AND_PUT:
        wide_open = rng.random() < 0.6
        span = (-0.158, -0.143) if wide_open else (-0.13, -0.02)
        builder.set_joint(f"{_CABINET}_top_level", rng.uniform(*span))
        if wide_open:
            return "drawer open", (("open", f"{_CABINET}_top_region"),)
        return "drawer half open", ()
    if task == _TURN_ON:
        builder.set_joint(f"{_STOVE}_button", rng.uniform(0.1, 0.42))
        return "knob half turned", ()
    return "", ()


def _handled(builder: SceneBuilder, goal: Goal) -> tuple[str, ...]:
    return tuple(name for _, name, *_ in goal if name in builder.things)
