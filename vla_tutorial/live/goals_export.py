"""What an episode asks for: LIBERO's predicates with the names and numbers that the page needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.expert import predicates
from vla_tutorial.policies.expert.predicates import kind
from vla_tutorial.scene import Goal
from vla_tutorial.sim import Simulator

THRESHOLDS: Mapping[str, Callable[[str], float]] = {
    "open": lambda fixture: predicates.OPEN_BELOW[fixture],
    "close": lambda fixture: predicates.CLOSED_ABOVE[fixture],
    "turnon": lambda fixture: predicates.ON_FROM,
    "turnoff": lambda fixture: predicates.OFF_BELOW,
}
"""Predicate of a joint → kind of fixture → the value of the joint at which it turns true."""


class GoalPart(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of LIBERO's predicates, with what `goals.js` looks up for it.

    Attributes:
        predicate: "in", "on", "open", "close", "turnon" or "turnoff".
        object: LIBERO's name of what must get somewhere, or of the fixture or drawer.
        body: name of the object's body in the model.
        site: name of the region; "" where the goal is a thing or a joint.
        size: (3,) metres, half sizes of the region as LIBERO knows them.
        support: name of the body that the object must lie on.
        touching: geoms of the object and of what it must touch.
        joints: indices in qpos. threshold: metres or radians that they are compared with.
    """

    predicate: str
    object: str
    body: str = ""
    site: str = ""
    size: list[float] = []
    support: str = ""
    touching: list[list[str]] = []
    joints: list[int] = []
    threshold: float = 0.0


def goal_parts(simulator: Simulator, goal: Goal) -> list[GoalPart]:
    """The parts of a goal.

    Raises:
        TutorialError: the page does not know a predicate.
    """
    return [_goal_part(simulator, *predicate) for predicate in goal]


def _goal_part(simulator: Simulator, predicate: str, name: str, place: str = "") -> GoalPart:
    inner = simulator._inner
    if predicate in THRESHOLDS:
        owner = name if name in simulator.bodies else inner.object_states_dict[name].parent_name
        moved = inner.object_sites_dict[name] if owner != name else inner.get_object(name)
        joints = [int(simulator.model.joint(joint).qposadr[0]) for joint in moved.joints]
        threshold = THRESHOLDS[predicate](kind(owner))
        return GoalPart(predicate, name, joints=joints, threshold=threshold)
    sites = inner.object_sites_dict
    if predicate not in ("in", "on") or (predicate == "in" and place not in sites):
        raise TutorialError(
            f"The goal of {simulator.task.suite} task {simulator.task.index} has "
            f"({predicate} {name} {place}); the page knows no such predicate. "
            "Choose another suite."
        )
    body = simulator.model.body(simulator.bodies[name]).name
    if place not in sites:
        support = simulator.model.body(simulator.bodies[place]).name
        return GoalPart(
            predicate, name, body, support=support, touching=_geoms(simulator, name, place)
        )
    size = np.asarray(sites[place].size, np.float64).tolist()
    parent = inner.object_states_dict[place].parent_name
    # A region of the table has no parent that could be touched.
    touched = predicate == "on" and inner.get_object(parent) is not None
    touching = _geoms(simulator, name, parent) if touched else []
    return GoalPart(predicate, name, body, place, size, touching=touching)


def _geoms(simulator: Simulator, *names: str) -> list[list[str]]:
    return [list(simulator._inner.get_object(name).contact_geoms) for name in names]
