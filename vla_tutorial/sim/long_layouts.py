"""libero_10 drawn anew: its ten scenes with things and fixtures a little elsewhere.

In the scenes with a basket any two things may be asked for. Metres, radians, world frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vla_tutorial.scene import BASKET, About, Goal, put_both_sentence
from vla_tutorial.sim.builder import KITCHEN_HAND, Drawn, HandBox, SceneBuilder, published_task

_SUITE = "libero_10"
_KITCHEN = 0.90
_LIVING_ROOM = 0.437
_STUDY = 0.885
"""Heights of the tables, as a mug finds them that has come to rest."""

_LIVING_ROOM_HAND = HandBox((-0.22, -0.28, 0.54), (0.17, 0.28, 0.82))
_STUDY_HAND = HandBox((-0.42, -0.26, 1.00), (0.00, 0.26, 1.30))

Places = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class _Task:
    """One task's scene.

    Attributes:
        places: name → the middle of the region from which LIBERO's sampler draws, ±0.025.
        table: height of the table.
        hand: where a wide start puts the hand.
        exchanged: things that may change places among themselves.
        reach: how far from its place each thing may stand, along x and y; by name where it differs.
        turned: how far each thing is turned.
        joints: drawers, doors and knobs, and the range that they are drawn from.
        fixtures: how far fixtures move and turn.
    """

    places: Places
    table: float
    hand: HandBox
    exchanged: tuple[str, ...] = ()
    reach: float = 0.04
    reaches: Mapping[str, float] = field(default_factory=dict)
    turned: float = 0.25
    joints: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fixtures: tuple[float, float] = (0.015, np.radians(3))


_PANTRY = {
    "alphabet_soup_1": (-0.10, -0.15),
    "cream_cheese_1": (0.10, -0.20),
    "tomato_sauce_1": (-0.10, 0.05),
    "ketchup_1": (-0.25, -0.15),
    "orange_juice_1": (0.00, -0.25),
    "milk_1": (0.05, -0.10),
    "butter_1": (0.05, 0.05),
}
_FEWER = {
    "alphabet_soup_1": (0.05, -0.10),
    "cream_cheese_1": (-0.15, 0.06),
    "tomato_sauce_1": (0.10, -0.20),
    "ketchup_1": (-0.20, -0.15),
}
_BASKET = {BASKET: (0.0, 0.26)}
_MUGS = {
    "porcelain_mug_1": (-0.10, -0.15),
    "red_coffee_mug_1": (-0.20, 0.00),
}

_TASKS: tuple[_Task, ...] = (
    _Task({**_PANTRY, **_BASKET}, _LIVING_ROOM, _LIVING_ROOM_HAND, tuple(_PANTRY), reach=0.03),
    _Task({**_PANTRY, **_BASKET}, _LIVING_ROOM, _LIVING_ROOM_HAND, tuple(_PANTRY), reach=0.03),
    _Task(
        {"chefmate_8_frypan_1": (-0.05, -0.25), "moka_pot_1": (0.05, 0.0)},
        _KITCHEN,
        KITCHEN_HAND,
    ),
    _Task(
        {"akita_black_bowl_1": (0.03, -0.05), "wine_bottle_1": (-0.15, 0.05)},
        _KITCHEN,
        KITCHEN_HAND,
        joints={"white_cabinet_1_bottom_level": (-0.158, -0.142)},
    ),
    _Task(
        {
            **_MUGS,
            "white_yellow_mug_1": (-0.05, 0.10),
            "plate_1": (0.0, -0.30),
            "plate_2": (0.0, 0.30),
        },
        _LIVING_ROOM,
        _LIVING_ROOM_HAND,
        ("porcelain_mug_1", "red_coffee_mug_1", "white_yellow_mug_1"),
        reaches={"plate_1": 0.03, "plate_2": 0.03},
    ),
    _Task(
        {"black_book_1": (-0.20, 0.15), "white_yellow_mug_1": (-0.10, 0.0)},
        _STUDY,
        _STUDY_HAND,
    ),
    _Task(
        {**_MUGS, "plate_1": (0.15, 0.0), "chocolate_pudding_1": (-0.05, 0.10)},
        _LIVING_ROOM,
        _LIVING_ROOM_HAND,
        ("porcelain_mug_1", "red_coffee_mug_1", "chocolate_pudding_1"),
        reaches={"plate_1": 0.025},
    ),
    _Task({**_FEWER, **_BASKET}, _LIVING_ROOM, _LIVING_ROOM_HAND, tuple(_FEWER), reach=0.03),
    _Task(
        {"moka_pot_1": (-0.05, 0.25), "moka_pot_2": (0.05, 0.05)},
        _KITCHEN,
        KITCHEN_HAND,
        joints={"flat_stove_1_button": (0.52, 2.05)},
    ),
    _Task(
        {"porcelain_mug_1": (-0.10, -0.25), "white_yellow_mug_1": (0.0, 0.0)},
        _KITCHEN,
        KITCHEN_HAND,
        joints={"microwave_1_microjoint": (-2.05, -1.33)},
    ),
)
"""In the order of the tasks. Ranges of joints are those that LIBERO draws from."""

_TURN_ON = 2
_STOVE = "flat_stove_1"
_CABINET = "white_cabinet_1"
_SLOTS = {"moka_pot_1": -0.045, "moka_pot_2": 0.045}
"""Where the stove has room for both pots, metres from its middle along x."""

_BOOK = "black_book_1"
_BOOK_YAW = (np.radians(-136), np.radians(-89))
"""LIBERO draws −135° … −90° about the vertical."""


def draw_long(builder: SceneBuilder) -> Drawn:
    """Half of the scenes with a basket keep the task's own two things."""
    rng = builder.rng
    task = _TASKS[builder.simulator.task.index]
    builder.move_fixtures(*task.fixtures)
    for name, span in task.joints.items():
        builder.set_joint(name, rng.uniform(*span))
    places = builder.once("places", lambda: _draw_places(builder, task))
    for name, place in places.items():
        reach = task.reaches.get(name, task.reach)
        builder.put(name, builder.around(place, reach), task.table, _draw_yaw(builder, task, name))
    goal, instruction = builder.once("goal", lambda: _draw_goal(builder))
    begun, done = _begin(builder, task, goal) if builder.midway else ("", ())
    if "flat_stove_1_button" in task.joints:
        done = (*done, ("turnon", "flat_stove_1"))
    things = dict.fromkeys(name for _, name, *_ in goal if name in builder.things)
    return Drawn(
        goal=goal,
        instruction=instruction,
        about=About(_SUITE, published_task(_SUITE, instruction), tuple(things)),
        hand=task.hand,
        gap=0.012,
        begun=begun,
        done=done,
    )


def _draw_places(builder: SceneBuilder, task: _Task) -> dict[str, tuple[float, float]]:
    """Name → place; in half of the scenes, things that may change places do."""
    places = dict(task.places)
    if task.exchanged and builder.rng.random() < 0.5:
        shuffled = builder.rng.permutation(np.array([places[name] for name in task.exchanged]))
        for name, (x, y) in zip(task.exchanged, shuffled.tolist(), strict=True):
            places[name] = (x, y)
    return places


def _draw_yaw(builder: SceneBuilder, task: _Task, name: str) -> float:
    rng = builder.rng
    if name == _BOOK:
        # The reset, from which this turns, has drawn one of its own.
        return rng.uniform(*_BOOK_YAW) - builder.own_yaw(name)
    if name == BASKET:
        return 0.0
    return rng.uniform(-task.turned, task.turned)


def _draw_goal(builder: SceneBuilder) -> tuple[Goal, str]:
    """The task's own goal with its sentence, or with a basket any two things."""
    simulator = builder.simulator
    if BASKET not in builder.things or builder.rng.random() < 0.5:
        return simulator.goal, simulator.task.instruction
    things = [name for name in builder.things if name != BASKET]
    first, second = (str(name) for name in builder.rng.choice(things, 2, replace=False))
    region = f"{BASKET}_contain_region"
    return (("in", first, region), ("in", second, region)), put_both_sentence(first, second)


def _begin(builder: SceneBuilder, task: _Task, goal: Goal) -> tuple[str, Goal]:
    """Do part of the task, where it has one; what was done, and which predicates hold by it."""
    rng = builder.rng
    if builder.simulator.task.index == _TURN_ON:
        builder.set_joint(f"{_STOVE}_button", rng.uniform(0.52, 1.6))
        return "stove on", (("turnon", _STOVE),)
    placing = [predicate for predicate in goal if predicate[0] in _PLACERS]
    if len(goal) < 2 or not placing:
        return "", ()
    # In the goal's order, as the expert goes, but for one in five.
    predicate = placing[-1 if rng.random() < 0.2 else 0]
    _PLACERS[predicate[0]](builder, task, predicate)
    return f"{predicate[1]} placed", (predicate,)


def _put_in(builder: SceneBuilder, task: _Task, predicate: tuple[str, ...]) -> None:
    """Into the basket, the drawer, which may be half closed, or the microwave."""
    rng = builder.rng
    _, thing, region = predicate
    if region.startswith(BASKET):
        yaw = rng.uniform(-np.pi, np.pi)
        middle = builder.around(builder.xy(BASKET), 0.025)
        builder.put(thing, middle, task.table + 0.04, yaw, on=BASKET, tilt=np.inf)
        return
    for name, (low, _) in task.joints.items():
        builder.set_joint(name, rng.uniform(low, 0.2 * low))
    owner = next(name for name in builder.simulator.fixtures if region.startswith(name))
    middle = builder.site(region)
    # Just above the floor of it: there is no room to fall in a drawer half closed.
    below = 0.026 if owner == _CABINET else 0.075
    yaw = rng.uniform(-0.3, 0.3)
    builder.put(thing, builder.around(middle[:2], 0.015), middle[2] - below, yaw, on=owner)


def _put_on(builder: SceneBuilder, task: _Task, predicate: tuple[str, ...]) -> None:
    """On a plate, on the stove, or at a place of the table."""
    _, thing, support = predicate
    yaw = builder.rng.uniform(-0.3, 0.3)
    if support in builder.things:
        builder.put_on(thing, support, 0.01, yaw)
        return
    middle = builder.site(support)
    if support.startswith(_STOVE):
        shift = (_SLOTS[thing], 0.02)
        spot = builder.around(middle[:2] + shift, 0.008)
        builder.put(thing, spot, middle[2] + 0.02, yaw, on=_STOVE)
    else:
        builder.put(thing, builder.around(middle[:2], 0.03), task.table, yaw)


_PLACERS = {"in": _put_in, "on": _put_on}
