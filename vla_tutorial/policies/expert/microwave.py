"""A mug into the microwave, and its door shut. Metres, radians, world frame (z up).

The microwave's mouth faces −y. A mug does not fit in beside the hand that holds it: it is put down
in the mouth by its handle, let go and pushed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.control import CLOSE, OPEN, Command
from vla_tutorial.policies.expert.fixtures import Push, tilted_command
from vla_tutorial.policies.expert.geometry import ramp, smooth_ramp
from vla_tutorial.policies.expert.grasp import HOME_YAW
from vla_tutorial.policies.expert.grasps import HandleGrasp
from vla_tutorial.policies.expert.picking import PickPlace, in_the_way
from vla_tutorial.policies.expert.places import Inside
from vla_tutorial.policies.expert.predicates import holds, parent
from vla_tutorial.policies.expert.steering import GAIN, Skill, downward, stay, turn_toward
from vla_tutorial.policies.expert.world import World
from vla_tutorial.sim.rotations import norm

# All from the middle of the heating region. The place of the mug's origin in the mouth:
_PLACE = (-0.035, -0.080, -0.068)
# A mug that is held is let go from here on, or from `_JUST_IN` on where the palm meets the frame.
_IN = -0.094
_JUST_IN = -0.104
_PALM_AT_FRAME = -0.128
# Once it stands it counts as far as this; it would tip out before.
_STANDS = -0.110
# Where its nearest point must be for the door to shut.
_DOOR = -0.122
# Least and largest height of its origin over the place.
_HEIGHTS = (-0.020, 0.016)


def into_microwave(world: World, thing: str, region: str) -> Iterator[Skill]:
    """Put the mug into the mouth, then push it in."""

    def in_mouth(world: World) -> bool:
        middle = world.site(region).center
        offset = world.position(thing) - middle
        height = offset[2] - _PLACE[2]
        if thing not in world.held:
            return bool(offset[1] > _STANDS and height > _HEIGHTS[0])
        stopped = world.hand.position[1] - middle[1] > _PALM_AT_FRAME
        far = offset[1] > (_JUST_IN if stopped else _IN)
        return bool(far and _HEIGHTS[0] < height < _HEIGHTS[1])

    def deep(world: World) -> bool:
        nearest = world.solid(thing).corners[:, 1].min() - world.site(region).center[1]
        return bool(nearest > _DOOR) and holds(world, ("in", thing, region))

    def front(world: World) -> Floats:
        corners = world.solid(thing).corners
        nearest = corners[corners[:, 1] < corners[:, 1].min() + 0.012]
        height = world.position(thing)[2] + 0.046
        return np.array([nearest[:, 0].mean(), nearest[:, 1].min(), height])

    place = Inside(region, _PLACE, lift=0.017, yaw=0.0, entered=parent(world, region))
    yield PickPlace(thing, HandleGrasp(thing), place, in_mouth, fly=0.08)
    yield Push(front, lambda world: np.array([0, 1.0, 0]), deep)


@dataclass(frozen=True)
class CloseDoor:
    """Sweep the microwave's door shut from outside, tips under its top edge."""

    joint: str
    finished: Callable[[World], bool]
    # Metres from the hinge to where the fingers push, their height, and off the door.
    radius: float = 0.20
    height: float = 1.085
    off: float = 0.035
    thing: None = None

    def done(self, world: World) -> bool:
        """Whether the door is shut."""
        return self.finished(world)

    def act(self, world: World) -> Command:
        """Over the outer side, down, round."""
        hand = world.hand
        joint = world.joint(self.joint)
        hinge = joint.anchor[:2]
        angle = joint.value
        rotation, _ = turn_toward(hand, downward(HOME_YAW))
        if world.held:
            return stay(OPEN, "drop")
        offset = hand.position[:2] - hinge
        # At 0 the door lies along +x from the hinge, and outside is −y.
        outside = float(offset @ (np.sin(angle), -np.cos(angle)))
        along = float(offset @ (np.cos(angle), np.sin(angle)))
        down = hand.position[2] < self.height + 0.02
        if 0 < outside < 0.08 and 0.10 < along < 0.27 and down:
            level = self._beside(hinge, min(angle + 0.5, 0.15), self.off - 0.02)
            error = np.array([*level, self.height]) - hand.position
            return tilted_command(GAIN * error, rotation, CLOSE, 0.7, "sweep")
        error = self._beside(hinge, angle, self.off + 0.012) - hand.position[:2]
        above = self.height + 0.07 * smooth_ramp(norm(error), 0.015, 0.04)
        sideways = ramp(hand.position[2], above - 0.03, above - 0.01)
        move = GAIN * np.array([*(sideways * error), above - hand.position[2]])
        may_turn = ramp(hand.position[2], self.height, self.height + 0.04)
        # Fingers that have closed to push stay so.
        closed = hand.opening < 0.03 or in_the_way(world, None) is None
        gripper = CLOSE if closed else OPEN
        return tilted_command(move, may_turn * rotation, gripper, 0.8, "over")

    def _beside(self, hinge: Floats, angle: float, off: float) -> Floats:
        """(2,) a point off the door's outer face."""
        along = np.array([np.cos(angle), np.sin(angle)])
        out = np.array([np.sin(angle), -np.cos(angle)])
        beside: Floats = hinge + self.radius * along + off * out
        return beside
