"""Drawers and knobs: pull, push, turn. Metres, radians, world frame (z up)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.control import CLOSE, OPEN, Command
from vla_tutorial.policies.expert.geometry import ramp, smooth_ramp
from vla_tutorial.policies.expert.grasp import HOME_YAW
from vla_tutorial.policies.expert.picking import in_the_way
from vla_tutorial.policies.expert.steering import (
    FIRM,
    GAIN,
    UNLIMITED,
    downward,
    rise_to,
    stay,
    tilted,
    turn_toward,
)
from vla_tutorial.policies.expert.world import World
from vla_tutorial.sim.rotations import norm

_Z = np.array([0, 0, 1.0])
# Metres that the fingers go farther in once they have closed so far that the front leaves room.
_IN = 0.006


@dataclass(frozen=True)
class OpenDrawer:
    """Point the tilted hand at the cabinet, fingers above and below the bar; close, pull, back off.

    The palm is ±104 mm wide along the finger axis: an upright hand would hit the handle above.
    """

    # Names of the drawer's joint and of its bar's geom.
    joint: str
    bar: str
    # The joint's value, negative, at which the drawer is open enough.
    far: float = -0.148
    # The value that counts as open once the hand is away.
    enough: float = -0.098
    thing: None = None
    tilt: float = np.radians(72)
    speed: float = 0.6

    def done(self, world: World) -> bool:
        """Open, and the hand away; farther away one that slid back a little counts as open."""
        near = self._near(world)
        return not near and world.joint(self.joint).value < self.enough

    def act(self, world: World) -> Command:
        """Aim, grip, pull, leave."""
        hand = world.hand
        bar = world.geom(self.bar).center
        wanted = self._wanted(world)
        rotation, angle = turn_toward(hand, wanted)
        if world.joint(self.joint).value < self.far:
            away = -0.7 * wanted[:, 2] * ramp(hand.opening, 0.04, 0.06)
            # What comes next wants the hand upright; one that stayed tilted would be called back.
            upright = turn_toward(hand, downward(HOME_YAW))[0]
            free = ramp(norm(bar - hand.position), 0.04, 0.07)
            return tilted_command(away, free * upright, OPEN, 0.7, "leave")
        ahead = wanted[:, 2]
        error = bar - 0.004 * ahead - hand.position
        depth = float(error @ ahead)
        # The bar is 89 mm long: along it the fingers need not be in the middle.
        off = float(np.hypot(error @ wanted[:, 0], 0.5 * (error @ wanted[:, 1])))
        closing = ramp(hand.opening, 0.06, 0.04)
        loose = 0.018 + 0.012 * closing
        # Fingers that have closed before the bar, not around it, open again.
        missed = 0.005 * ramp(hand.opening, 0.045, 0.03)
        deep = 0.010 + 0.008 * ramp(hand.opening, 0.078, 0.068) - missed
        if off < loose and angle < 0.35 and abs(depth) < deep:
            return self._pull(world, error + _IN * ahead * closing, rotation)
        for_opening = 0.016 * (1 - ramp(hand.opening, 0.06, 0.074))
        outside = off + 0.05 * max(angle - 0.2, 0) + for_opening
        back = 0.09 * smooth_ramp(outside, 0.010, 0.028)
        move = 1.3 * FIRM * GAIN * (bar - (0.004 + back) * ahead - hand.position)
        return tilted_command(move, rotation, OPEN, 0.7, "aim")

    def _pull(self, world: World, error: Floats, rotation: Floats) -> Command:
        """Close around the bar, then draw it out."""
        # The bar keeps the fingers 20 mm apart.
        firm = ramp(world.hand.opening, 0.028, 0.022)
        outward = _outward(world, self.joint)
        across = error - (error @ outward) * outward
        pulling = GAIN * across + 0.6 * outward
        move = (1 - firm) * 2 * GAIN * error + firm * pulling
        return tilted_command(move, rotation, CLOSE, self.speed, "pull")

    def _near(self, world: World) -> bool:
        apart = norm(world.hand.position - world.geom(self.bar).center)
        angle = turn_toward(world.hand, self._wanted(world))[1]
        return apart < 0.09 and angle < 0.6

    def _wanted(self, world: World) -> Floats:
        return tilted(HOME_YAW, self.tilt, -_outward(world, self.joint))


@dataclass(frozen=True)
class Push:
    """Push a face along a horizontal direction with closed, tilted fingers.

    Straight down the palm would meet a cabinet's upper handles before the drawer is shut.
    """

    # A point of the face, and the unit vector (3,).
    face: Callable[[World], Floats]
    direction: Callable[[World], Floats]
    finished: Callable[[World], bool]
    # Height over the face at which the hand comes, and how far behind it it comes down.
    safe: float = 0.16
    back: float = 0.05
    thing: None = None

    def done(self, world: World) -> bool:
        """Whether it has been pushed far enough."""
        return self.finished(world)

    def act(self, world: World) -> Command:
        """Come down behind the face, then push."""
        hand = world.hand
        face = self.face(world)
        direction = self.direction(world)
        rotation, angle = turn_toward(hand, tilted(0.0, np.radians(45), direction))
        if world.held:
            return stay(OPEN, "drop")
        left = np.cross(_Z, direction)
        offset = hand.position - face
        ahead = float(offset @ direction)
        side = float(offset @ left)
        lined = abs(side) < 0.03 and abs(offset[2]) < 0.03 and angle < 0.35 and ahead < 0.02
        if lined:
            move = GAIN * ((0.05 - min(ahead, 0)) * direction - side * left - offset[2] * _Z)
            return tilted_command(move, rotation, CLOSE, 0.6, "push")
        error = face - self.back * direction - hand.position
        outside = norm(error[:2]) + 0.1 * max(angle - 0.3, 0)
        height = face[2] + self.safe * smooth_ramp(outside, 0.015, 0.05)
        blocked = in_the_way(world, None) if angle > 0.5 else None
        if blocked is not None and offset[2] > -0.02:
            return rise_to(hand, max(blocked, height), "up")
        sideways = ramp(hand.position[2], height - 0.05, height - 0.02)
        move = GAIN * np.array([*(sideways * error[:2]), height - hand.position[2]])
        may_turn = 1.0
        if angle > 0.35:
            clear = ramp(offset[2], self.safe * 0.55, self.safe * 0.8)
            may_turn = max(clear, ramp(-ahead, 0.025, 0.04))
        gripper = CLOSE if blocked is None else OPEN
        return tilted_command(move, may_turn * rotation, gripper, 0.8, "behind")


@dataclass(frozen=True)
class TurnKnob:
    """Straddle the tall end of the knob's bar with open fingers and push it round."""

    joint: str
    finished: Callable[[World], bool]
    # Metres of the tall end from the axis, along the bar.
    end: float = -0.035
    thing: None = None

    def done(self, world: World) -> bool:
        """Whether the burner is red."""
        return self.finished(world)

    def act(self, world: World) -> Command:
        """Over the end, down, round."""
        hand = world.hand
        joint = world.joint(self.joint)
        along = np.array([np.cos(joint.value), np.sin(joint.value)])
        tangent = np.array([-along[1], along[0]]) * np.sign(self.end)
        point = joint.anchor[:2] + self.end * along
        height = joint.anchor[2] + 0.040
        rotation, _ = turn_toward(hand, downward(HOME_YAW))
        blocked = in_the_way(world, None)
        if blocked is not None:
            return rise_to(hand, blocked, "up")
        off = hand.position[:2] - point
        straddles = abs(off @ along) < 0.025 and abs(off @ tangent) < 0.045
        if straddles and hand.position[2] < height + 0.012:
            level = point + 0.06 * tangent - hand.position[:2]
            move = GAIN * np.array([*level, height - hand.position[2]])
            return Command(move, rotation, OPEN, 0.5, doing="turn")
        outside = max(norm(off) - 0.008, 0)
        near = 0.05 * smooth_ramp(outside, 0, 0.02)
        above = height + near + 0.06 * ramp(outside, 0.02, 0.1)
        sideways = 1.5 * ramp(hand.position[2], above - 0.05, above - 0.02)
        move = GAIN * np.array([*(-sideways * off), above - hand.position[2]])
        return Command(move, rotation, OPEN, 0.8, doing="over")


def _outward(world: World, joint: str) -> Floats:
    """Unit vector (3,) in which a drawer opens: its joint's negative direction."""
    return -world.joint(joint).axis


def tilted_command(
    move: Floats, rotation: Floats, gripper: float, speed: float, doing: str
) -> Command:
    """A command for a hand whose wrist is not above it: no limit of reach."""
    return Command(move, rotation, gripper, speed, reach=UNLIMITED, doing=doing)
