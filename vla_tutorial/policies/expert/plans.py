"""From an episode's goal to a plan: skills in order, of which the first that is not done acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.expert.control import OPEN, Command
from vla_tutorial.policies.expert.fixtures import OpenDrawer, Push, TurnKnob
from vla_tutorial.policies.expert.geometry import ramp
from vla_tutorial.policies.expert.grasps import grasp_of
from vla_tutorial.policies.expert.microwave import CloseDoor, into_microwave
from vla_tutorial.policies.expert.parts import TABLE
from vla_tutorial.policies.expert.picking import PickPlace
from vla_tutorial.policies.expert.places import Inside, InTopDrawer, OnTop
from vla_tutorial.policies.expert.predicates import holds, joint_of, kind, parent
from vla_tutorial.policies.expert.steering import GAIN, PlaceFinder, Skill, stay, wide_first
from vla_tutorial.policies.expert.world import World
from vla_tutorial.scene import Goal
from vla_tutorial.sim.rotations import norm

Predicate = tuple[str, ...]

# The bar of each drawer's handle.
_BARS = {"top": "g18", "middle": "g29", "bottom": "g40"}
# Where a stove has room for two pots, metres from its middle along x.
_SLOTS = (-0.045, 0.045)
_RISE = 0.3
# A top drawer's joint where a bowl has room in it; it runs on some 10 mm while the hand lets go.
_ROOM = -0.122
# Metres from the shoulder, sideways, beyond which nothing can be grasped.
_FARTHEST = 0.90


def act(world: World, plan: tuple[Skill, ...]) -> Command:
    """What the plan does now."""
    waiting = [skill for skill in plan if not skill.done(world)]
    held = world.held
    if not waiting:
        return stay(OPEN, "drop") if held else _rise(world)
    skill = waiting[0]
    if held and skill.thing not in held:
        # What is in the fingers goes first, if it may.
        carried = [other for other in waiting if other.thing in held]
        if skill.thing is None or not carried:
            return stay(OPEN, "drop")
        skill = carried[0]
    if skill.thing is not None and _is_lost(world, skill.thing):
        return _rise(world)
    return wide_first(world, skill.act(world))


def _is_lost(world: World, thing: str) -> bool:
    """Whether a thing has fallen off the table or lies out of reach."""
    position = world.position(thing)
    fallen = position[2] < world.solid(TABLE).top - 0.05
    return bool(fallen) or norm(position[:2] - world.hand.shoulder[:2]) > _FARTHEST


def _rise(world: World) -> Command:
    """Nothing is left to do: open and rise a little."""
    up = _RISE * ramp(world.hand.position[2], 1.25, 1.15)
    command = Command(np.array([0, 0, up]), np.zeros(3), OPEN, GAIN, doing="rise")
    return wide_first(world, command)


def make_plan(world: World, goal: Goal) -> tuple[Skill, ...]:
    """The skills that make all predicates true; a goal that none can is an error."""
    unknown = [predicate for predicate in goal if predicate[0] not in _MAKERS]
    if unknown:
        raise TutorialError(f"The expert has no skill for the goal {' '.join(unknown[0])}.")
    ordered = sorted(goal, key=lambda predicate: list(_MAKERS).index(predicate[0]))
    skills: list[Skill] = []
    for predicate in ordered:
        skills.extend(_MAKERS[predicate[0]](world, predicate, goal))
    return tuple(skills)


def _until(*predicates: Predicate) -> Callable[[World], bool]:
    return lambda world: all(holds(world, predicate) for predicate in predicates)


def _open(world: World, predicate: Predicate, _: Goal) -> Iterator[Skill]:
    # LIBERO takes a drawer as open below −0.14; less is enough to put something in.
    yield replace(_open_drawer(world, predicate[1]), enough=-0.14)


def _open_drawer(world: World, region: str) -> OpenDrawer:
    # Over the top drawer there is no handle, so less of a tilt will do.
    tilt = np.radians(64 if region.endswith("_top_region") else 72)
    return OpenDrawer(joint_of(world, region), _bar(world, region), tilt=tilt)


def _bar(world: World, region: str) -> str:
    cabinet = parent(world, region)
    assert cabinet is not None
    level = region.removeprefix(f"{cabinet}_").partition("_")[0]
    return f"{cabinet}_{_BARS[level]}"


def _turn_on(world: World, predicate: Predicate, _: Goal) -> Iterator[Skill]:
    yield TurnKnob(joint_of(world, predicate[1]), _until(predicate))


def _on(world: World, predicate: Predicate, goal: Goal) -> Iterator[Skill]:
    thing, support = predicate[1:]
    sharing = [p[1] for p in goal if p[0] == "on" and p[2] == support]
    shift = (0.0, 0.0)
    if kind(thing) == "moka_pot":
        shift = (0.0, 0.02)
        if len(sharing) > 1:
            shift = (_SLOTS[sharing.index(thing) % 2], 0.02)
    if support.endswith("top_side"):
        shift = (0.0, 0.045)
    # A plate is hardly lifted: it hangs from its rim.
    lift = 0.035 if kind(thing) == "plate" else 0.07
    place = OnTop(thing, support, shift, lift)
    yield PickPlace(thing, grasp_of(thing, place), place, _until(predicate))


def _in(world: World, predicate: Predicate, _: Goal) -> Iterator[Skill]:
    thing, region = predicate[1:]
    owner = parent(world, region)
    holder = kind(owner or region)
    if holder in ("wooden_cabinet", "white_cabinet"):
        yield from _into_drawer(world, thing, region)
    elif holder == "desk_caddy":
        spot = Inside(
            region,
            shift=(0, -0.003, -0.03),
            lift=0.125,
            tolerance=0.02,
            yaw=0.0,
            lowering=(0.02, 0.008),
            centered=f"{thing}_g1" if kind(thing) == "black_book" else None,
        )
        yield PickPlace(thing, grasp_of(thing, spot), spot, _until(predicate), fly=0.08)
    elif holder == "microwave":
        yield from into_microwave(world, thing, region)
    else:
        raise TutorialError(f"The expert cannot put {thing} into {region}.")


def _into_drawer(world: World, thing: str, region: str) -> Iterator[Skill]:
    def lies(world: World) -> bool:
        # LIBERO's region reaches over the drawer's walls; a thing let go there would jam it.
        low = world.position(thing)[2] < world.site(region).center[2] - 0.014
        return low and holds(world, ("in", thing, region))

    opening = _open_drawer(world, region)
    if region.endswith("_top_region"):
        # Farther open it would hang over what stands before the cabinet.
        opening = replace(opening, far=_ROOM)
    yield _Before(opening, lies)
    place: PlaceFinder
    if region.endswith("_top_region"):
        place = InTopDrawer(region, opening.joint)
        yield PickPlace(thing, grasp_of(thing, place), place, lies)
    else:
        # Turned by 90° the palm is clear of the cabinet's front.
        # It is entered under the handles above it.
        cabinet = parent(world, region)
        place = Inside(region, (0, -0.018, -0.022), lift=0.085, yaw=0.0, entered=cabinet)
        yield PickPlace(thing, grasp_of(thing, place, only=0.0), place, lies)


def _close(world: World, predicate: Predicate, _: Goal) -> Iterator[Skill]:
    name = predicate[1]
    joint = joint_of(world, name)
    if kind(name) == "microwave":
        yield CloseDoor(joint, _until(predicate))
        return
    bar = _bar(world, name)

    def inward(world: World) -> Floats:
        return world.joint(joint).axis

    def face(world: World) -> Floats:
        return world.geom(bar).center - 0.008 * inward(world)

    yield Push(face, inward, _until(predicate))


@dataclass(frozen=True)
class _Before:
    """A skill that is only needed while something else is not so."""

    skill: Skill
    needless: Callable[[World], bool]

    @property
    def thing(self) -> str | None:
        """What the skill handles."""
        return self.skill.thing

    def done(self, world: World) -> bool:
        """Done, or needless."""
        return self.needless(world) or self.skill.done(world)

    def act(self, world: World) -> Command:
        """As the skill."""
        return self.skill.act(world)


# In the order in which predicates are made true.
_MAKERS = {"open": _open, "turnon": _turn_on, "on": _on, "in": _in, "close": _close}
