"""LIBERO's predicates, computed from the state: what an episode asks for.

The thresholds are LIBERO's own (`object_states/base_object_states.py`, `objects/site_object.py`,
`objects/articulated_objects.py`). None of them asks that the fingers have let go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vla_tutorial.errors import unknown
from vla_tutorial.policies.expert.world import Box, World
from vla_tutorial.sim.rotations import norm

# Metres between the origins, sideways.
_ON_A_THING = 0.03
# Metres of an origin above a site's half height.
_ABOVE_SITE = (-0.005, 0.10)
# Metres that a region reaches farther down than its box.
_BELOW_REGION = 0.01
# A fixture's joint, m or radians, by LIBERO's name of the fixture without its number.
OPEN_BELOW = {"microwave": -1.3, "white_cabinet": -0.14, "wooden_cabinet": -0.14}
CLOSED_ABOVE = {"microwave": -0.005, "white_cabinet": 0.0, "wooden_cabinet": 0.0}
ON_FROM = 0.5
OFF_BELOW = 0.0


def kind(name: str) -> str:
    """A thing's name without its number: "plate" of "plate_1"."""
    return name.rpartition("_")[0]


def parent(world: World, site: str) -> str | None:
    """The thing that a site is part of; None for a region of the table."""
    owners = [name for name in world.reader.things if site.startswith(f"{name}_")]
    return max(owners, key=len) if owners else None


def joint_of(world: World, name: str) -> str:
    """The joint that a fixture, or a region of one, moves with: a drawer's region its slide."""
    model = world.model
    if name in world.reader.things:
        root = world.reader.things[name]
        joints = [j for j in range(model.njnt) if model.body_rootid[model.jnt_bodyid[j]] == root]
        return str(model.joint(joints[0]).name)
    body = int(model.site_bodyid[model.site(name).id])
    return str(model.joint(int(model.body_jntadr[body])).name)


def holds(world: World, predicate: Sequence[str]) -> bool:
    """Whether a predicate holds, as `Simulator.holds` says; an unknown one is an error."""
    name = predicate[0]
    if name not in _PREDICATES:
        raise unknown("predicate", name, _PREDICATES)
    return _PREDICATES[name](world, *predicate[1:])


def _inside(world: World, thing: str, region: str) -> bool:
    box = world.site(region)
    half = np.abs(box.rotation @ box.half_size)
    offset = world.position(thing) - box.center
    low = -half - (0, 0, _BELOW_REGION)
    return bool((offset > low).all() and (offset < half).all())


def _on(world: World, thing: str, support: str) -> bool:
    if support in world.reader.things:
        offset = world.position(support) - world.position(thing)
        near = norm(offset[:2]) < _ON_A_THING
        return bool(offset[2] <= 0) and near and world.in_contact(thing, support)
    if not _above(world.site(support), world.position(thing)):
        return False
    owner = parent(world, support)
    return owner is None or world.in_contact(owner, thing)


def _above(box: Box, point: np.ndarray) -> bool:
    # LIBERO turns by the matrix, not by its transpose.
    offset = box.rotation @ (point - box.center)
    height = offset[2] - box.half_size[2]
    level = np.abs(offset[:2]) < box.half_size[:2]
    return bool(_ABOVE_SITE[0] < height < _ABOVE_SITE[1] and level.all())


def _value(world: World, name: str) -> tuple[str, float]:
    """Kind of the fixture and value of the joint."""
    fixture = name if name in world.reader.things else parent(world, name)
    assert fixture is not None
    return kind(fixture), world.joint(joint_of(world, name)).value


def _opened(world: World, name: str) -> bool:
    fixture, value = _value(world, name)
    return value < OPEN_BELOW[fixture]


def _closed(world: World, name: str) -> bool:
    fixture, value = _value(world, name)
    return value > CLOSED_ABOVE[fixture]


def _turned_on(world: World, name: str) -> bool:
    return _value(world, name)[1] >= ON_FROM


def _turned_off(world: World, name: str) -> bool:
    return _value(world, name)[1] < OFF_BELOW


_PREDICATES: dict[str, Callable[..., bool]] = {
    "in": _inside,
    "on": _on,
    "open": _opened,
    "close": _closed,
    "turnon": _turned_on,
    "turnoff": _turned_off,
}
