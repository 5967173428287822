"""Poses of the hand and commands toward them, which all skills share. Metres, world frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.control import CLOSE, OPEN, Command, nearest_yaw
from vla_tutorial.policies.expert.geometry import ramp
from vla_tutorial.policies.expert.grasp import HOME_YAW
from vla_tutorial.policies.expert.situation import Hand
from vla_tutorial.policies.expert.world import World
from vla_tutorial.sim.rotations import norm, rotation_vector

GAIN = 10.0
"""OSC command per metre of error, as `Parameters.gain`."""

FIRM = 1.4
"""Factor on `GAIN` where noise must not keep the hand off its goal."""

SPEED = 0.8
"""Largest norm of a translation command, if nothing else is said."""

WIDE = 0.070
"""Metres between fingers that are open, visibly."""

UNLIMITED = float("inf")
"""The reach of a command whose hand is tilted."""

_TURN_GAIN = 2.0
_TURN_SPEED = 0.35
_STILL = np.zeros(3)
# Largest norm of a translation command while fingers open at a thing.
_CREEP = 0.12


@dataclass(frozen=True)
class HandPose:
    """Where the grip site goes so that the fingers may close."""

    # (3,) metres.
    position: Floats
    # Radians of the finger axis; the opposite direction is as good.
    yaw: float
    # Metres off the position along the finger axis, across it and above, where fingers may close.
    tolerance: tuple[float, float, float] = (0.012, 0.012, 0.010)


GraspFinder = Callable[[World], HandPose]
"""How one thing is grasped, wherever it is."""


@dataclass(frozen=True)
class Place:
    """Where a thing goes, for its origin."""

    position: Floats
    # Height on the way there.
    via: float
    # Sideways, and above the position, where the fingers may open.
    tolerance: float = 0.012
    above: float = 0.010
    # Radians of the hand's finger axis; None keeps what it has.
    yaw: float | None = None
    # Metres sideways from which it is lowered, and within which it may be all the way down.
    lowering: tuple[float, float] = (0.05, 0.015)
    # A fixture that is entered from the side, and so is no obstacle to fly over.
    entered: str | None = None


PlaceFinder = Callable[[World], Place]
"""Where one thing goes, wherever its support is."""


class Skill(Protocol):
    """One step of a plan: what to do in any state until it is done."""

    @property
    def thing(self) -> str | None:
        """The movable thing that it handles, if any."""

    def done(self, world: World) -> bool:
        """Whether nothing is left to do."""

    def act(self, world: World) -> Command:
        """What to do now."""


def downward(yaw: float) -> Floats:
    """Rotation (3, 3) of a hand that points down, its finger axis at `yaw`."""
    c = np.cos(yaw)
    s = np.sin(yaw)
    return np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])


def tilted(yaw: float, angle: float, toward: Floats) -> Floats:
    """`downward(yaw)` turned by `angle` so that it points toward the horizontal (3,) as well."""
    axis = np.cross((0, 0, -1.0), toward)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    rotation: Floats = turn @ downward(yaw)
    return rotation


def turn_toward(hand: Hand, wanted: Floats) -> tuple[Floats, float]:
    """Rotation command (3,) toward a rotation (3, 3), and the radians left."""
    error = rotation_vector(wanted @ hand.rotation.T)
    command = _TURN_GAIN * error
    return command * min(1.0, _TURN_SPEED / max(norm(command), 1e-9)), norm(error)


def stay(gripper: float, doing: str) -> Command:
    """No motion."""
    return Command(_STILL, _STILL, gripper, SPEED, doing=doing)


def rise_to(hand: Hand, height: float, doing: str) -> Command:
    """Straight up, open."""
    up = np.array([0, 0, GAIN * (height - hand.position[2])])
    return Command(up, _STILL, OPEN, SPEED, doing=doing)


def near_home(yaw: float, hand: Hand) -> float:
    """`yaw` or its opposite, whichever is nearer to home and, a little less, to the hand's."""
    if abs(yaw - HOME_YAW) >= 1.5:
        return yaw
    return nearest_yaw(yaw, HOME_YAW + 0.6 * (hand.yaw - HOME_YAW))


def offsets(hand: Hand, pose: HandPose) -> tuple[float, float, float]:
    """Metres that the hand is off along the finger axis, across it (both ≥ 0), and above."""
    error = hand.position - pose.position
    c = np.cos(pose.yaw)
    s = np.sin(pose.yaw)
    along = abs(error[0] * c + error[1] * s)
    across = abs(error[0] * s - error[1] * c)
    return float(along), float(across), float(error[2])


def is_near(hand: Hand, pose: HandPose, slack: float = 1.6) -> bool:
    """Whether the hand is about where the fingers close."""
    along, across, above = offsets(hand, pose)
    level = along < slack * pose.tolerance[0] and across < slack * pose.tolerance[1]
    return level and abs(above) < 0.022


def wide_first(world: World, command: Command) -> Command:
    """The command, but neither up nor fast while fingers that open are at a thing."""
    hand = world.hand
    if command.gripper == CLOSE or hand.opening >= WIDE + 0.004:
        return command
    near = (n for n in world.movable if norm(world.position(n) - hand.position) < 0.2)
    if not any(world.grip(name).beams for name in near):
        return command
    free = ramp(hand.opening, WIDE - 0.006, WIDE + 0.002)
    slow = command.translation * min(1.0, _CREEP / max(norm(command.translation), 1e-9))
    slow[2] = min(slow[2], 0)
    translation = free * command.translation + (1 - free) * slow
    return replace(command, translation=translation, rotation=free * command.rotation)
