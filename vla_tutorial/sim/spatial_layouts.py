"""libero_spatial drawn anew: two equal bowls at two of ten places; the sentence says which to take.

Metres, radians, world frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_tutorial.scene import BOWL_PLACES, About
from vla_tutorial.sim.builder import KITCHEN_HAND, Drawn, SceneBuilder
from vla_tutorial.sim.protocol import task_instructions

_SUITE = "libero_spatial"
_TABLE = 0.9
_PLATE = "plate_1"
_COOKIES = "cookies_1"
_RAMEKIN = "glazed_rim_porcelain_ramekin_1"
_BOWLS = ("akita_black_bowl_1", "akita_black_bowl_2")
_CABINET = "wooden_cabinet_1"
_STOVE = "flat_stove_1"
_DRAWER = f"{_CABINET}_top_level"

_PLACES = {_PLATE: (0.06, 0.20), _COOKIES: (0.07, 0.03), _RAMEKIN: (-0.20, 0.20)}
"""The middles of LIBERO's regions, from which its samplers draw within ±0.01."""

_OTHERS = (
    "next_to_ramekin", "next_to_cookie_box", "next_to_plate", "on_wooden_cabinet",
    "on_wooden_cabinet", "on_cookie_box", "on_stove", "on_wooden_cabinet", "next_to_ramekin",
    "on_stove",
)  # fmt: skip
"""Where each task's second bowl stands."""

_LEANING = 0.4
"""Radians that a bowl may lean: on the ramekin, or against the wall of a drawer."""

_UNDER_THE_DRAWER = ("next_to_cookie_box", "on_cookie_box")
"""Places that the open drawer hangs over, or nearly."""


def draw_spatial(builder: SceneBuilder) -> Drawn:
    """Half of the scenes keep the bowl that is asked for at the task's own place."""
    rng = builder.rng
    asked, other = builder.once("places", lambda: _draw_places(builder))
    bowls = rng.permutation(_BOWLS)
    builder.move_fixtures(0.015, np.radians(3))
    for name, middle in _PLACES.items():
        yaw = rng.uniform(-0.3, 0.3) if name == _COOKIES else rng.uniform(-np.pi, np.pi)
        builder.put(name, builder.around(middle, 0.03), _TABLE, yaw)
    opened = "in_top_drawer" in (asked, other)
    builder.set_joint(_DRAWER, rng.uniform(-0.158, -0.142) if opened else 0.0)
    for bowl, place in zip(bowls, (asked, other), strict=True):
        _put_bowl(builder, str(bowl), place)
    task = BOWL_PLACES.index(asked)
    bowl = str(bowls[0])
    return Drawn(
        goal=(("on", bowl, _PLATE),),
        instruction=task_instructions(_SUITE)[task],
        about=About(_SUITE, task, (bowl,), asked),
        hand=KITCHEN_HAND,
        gap=0.004,
    )


def _draw_places(builder: SceneBuilder) -> tuple[str, str]:
    """The places of the bowl that is asked for and of the other one."""
    rng = builder.rng
    task = builder.simulator.task.index
    while True:
        asked, other = (str(place) for place in rng.choice(BOWL_PLACES, 2, replace=False))
        if rng.random() < 0.5:
            asked = BOWL_PLACES[task]
            if rng.random() < 0.5:
                other = _OTHERS[task]
        places = {asked, other}
        if len(places) == 2 and not ("in_top_drawer" in places and places & set(_UNDER_THE_DRAWER)):
            return asked, other


def _put_bowl(builder: SceneBuilder, bowl: str, place: str) -> None:
    _PUT[place](builder, bowl)


def _between(builder: SceneBuilder, bowl: str) -> None:
    plate = builder.xy(_PLATE)
    ramekin = builder.xy(_RAMEKIN)
    share = builder.rng.uniform(0.50, 0.59)
    builder.put(bowl, builder.around(ramekin + share * (plate - ramekin), 0.01), _TABLE)


def _beside(name: str, offset: tuple[float, float]) -> Callable[[SceneBuilder, str], None]:
    """Next to `name`, at about LIBERO's own offset from it."""

    def put(builder: SceneBuilder, bowl: str) -> None:
        builder.put(bowl, builder.beside(name, offset, angle=0.25), _TABLE)

    return put


def _on_the_cookie_box(builder: SceneBuilder, bowl: str) -> None:
    builder.put_on(bowl, _COOKIES)


def _on_the_ramekin(builder: SceneBuilder, bowl: str) -> None:
    """Mostly as LIBERO's bowls come to lie that fall on it: aside, leaning by 16°."""
    aside = (-0.015, 0.0) if builder.rng.random() < 0.7 else (0.0, 0.0)
    spot = builder.around(builder.xy(_RAMEKIN) + aside, 0.005)
    builder.put(bowl, spot, builder.top(_RAMEKIN), on=_RAMEKIN, tilt=_LEANING)


def _in_the_drawer(builder: SceneBuilder, bowl: str) -> None:
    middle = builder.site(f"{_CABINET}_top_region")
    # Where LIBERO's bowls come to lie, which fall into it.
    spot = builder.around(middle[:2] - (0.002, 0.009), 0.016)
    builder.put(bowl, spot, middle[2], on=_CABINET, tilt=_LEANING)


def _on_site(site: str, fixture: str, reach: float) -> Callable[[SceneBuilder, str], None]:
    """Above a region of a fixture, up to `reach` from its middle."""

    def put(builder: SceneBuilder, bowl: str) -> None:
        middle = builder.site(f"{fixture}_{site}")
        builder.put(bowl, builder.around(middle[:2], reach), middle[2], on=fixture)

    return put


def _at_the_center(builder: SceneBuilder, bowl: str) -> None:
    builder.put(bowl, builder.rng.uniform((-0.115, -0.025), (-0.035, 0.025)), _TABLE)


_PUT: dict[str, Callable[[SceneBuilder, str], None]] = {
    "between_plate_and_ramekin": _between,
    "next_to_ramekin": _beside(_RAMEKIN, (0.02, 0.12)),
    "table_center": _at_the_center,
    "on_cookie_box": _on_the_cookie_box,
    "in_top_drawer": _in_the_drawer,
    "on_ramekin": _on_the_ramekin,
    "next_to_cookie_box": _beside(_COOKIES, (0.06, -0.10)),
    "on_stove": _on_site("cook_region", _STOVE, 0.025),
    "next_to_plate": _beside(_PLATE, (-0.05, 0.11)),
    "on_wooden_cabinet": _on_site("top_side", _CABINET, 0.04),
}
"""Offsets are the distances between the middles of LIBERO's regions."""
