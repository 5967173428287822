"""Grasps at the rim of a round thing: which side is free, near home and within reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.control import nearest_yaw
from vla_tutorial.policies.expert.geometry import Solid, ramp
from vla_tutorial.policies.expert.grasp import HOME_YAW
from vla_tutorial.policies.expert.parts import TABLE, Obstacles
from vla_tutorial.policies.expert.steering import HandPose, PlaceFinder
from vla_tutorial.policies.expert.world import World
from vla_tutorial.sim.rotations import norm

# Directions from the middle to the rim that are tried, each with three angles between it and the
# finger axis.
_TURNS: Floats = np.repeat(np.radians([0, -30, 30]), 24)
_ANGLES: Floats = np.tile(np.radians(np.arange(-165, 195, 15)), 3)
_DIRECTIONS: Floats = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
_YAWS: Floats = np.array([nearest_yaw(angle, HOME_YAW) for angle in _ANGLES + _TURNS])
_FINGER_AXES: Floats = np.stack([np.cos(_YAWS), np.sin(_YAWS)], 1)
# Metres along and across the finger axis: the palm, and both open fingers with what is between.
PALM_HALF = (0.112, 0.040)
FINGERS_HALF = (0.064, 0.016)
# Metres from the grip site up to the palm, less 8 mm of air, and down to the finger tips.
PALM_HEIGHT = 0.026
TIP_DEPTH = 0.009
# Metres from shoulder to wrist, up from the grip site to the wrist, and from the wrist to the hand
# (see `control.limit_translation`).
_REACH = 0.70
_FLANGE = 0.21
_WRIST_OFFSET = 0.088
# Metres inside the reach that a grasp should stay.
_REACH_MARGIN = 0.035
_NEAR = 0.30
_HAND_RADIUS = 0.12
# Cost of closing at an angle to the radius.
_OBLIQUE = 3.0
_KEPT = 64


@dataclass(frozen=True)
class RimGrasp:
    """One finger inside, one outside, the finger axis along a radius, or 30° off it at need.

    What speaks against a direction is turning, collisions and the limit of reach. The one that the
    hand is already at is kept, as a thing that is nudged would else change the choice.
    """

    thing: str
    # Metres of the rim's circle, and from the top down to the grip site.
    radius: float
    depth: float
    tolerance: tuple[float, float, float]
    # Metres from the thing's origin to the middle of the circle, in the thing's frame.
    middle: tuple[float, float] = (0.0, 0.0)
    # Directions that are allowed: world angles (radians) around which 45° are; None allows all.
    only: float | None = None
    # Direction in the thing's frame (radians) where a handle is.
    handle: float | None = None
    # Where the thing goes, which the hand must reach as well.
    place: PlaceFinder | None = None

    def __call__(self, world: World) -> HandPose:
        """The cheapest direction's pose."""
        middle = self._middle(world.position(self.thing), world.rotation(self.thing))
        top = world.solid(self.thing).top
        centers = middle + self.radius * _DIRECTIONS
        cost = self._kept_cost(world) - self._begun(world, centers, top)
        cost += self._reach_cost(world, centers, top - self.depth)
        if self.place is not None:
            shift = self.place(world).position - world.position(self.thing)
            cost += self._reach_cost(world, centers + shift[:2], top - self.depth + shift[2])
        best = int(cost.argmin())
        position = np.array([*centers[best], top - self.depth])
        return HandPose(position, float(_YAWS[best]), self.tolerance)

    def _middle(self, position: Floats, rotation: Floats) -> Floats:
        offset: Floats = rotation[:2, :2] @ np.array(self.middle)
        return position[:2] + offset

    def _begun(self, world: World, centers: Floats, top: float) -> Floats:
        """(c,) bonus of the direction that the hand is at already."""
        hand = world.hand
        down = ramp(hand.position[2] - top, 0.06, 0.03)
        bonus = np.zeros(len(centers))
        if down == 0:
            return bonus
        for k in np.flatnonzero(((centers - hand.position[:2]) ** 2).sum(1) < 0.03**2):
            at = ramp(norm(centers[k] - hand.position[:2]), 0.03, 0.01)
            turned = abs(nearest_yaw(_YAWS[k], hand.yaw) - hand.yaw)
            bonus[k] = 8 * at * down * ramp(turned, 0.4, 0.2)
        return bonus

    def _kept_cost(self, world: World) -> Floats:
        poses = world.reader.parts.rounded_poses(world.data)
        key = (self, poses.tobytes())
        kept = world.reader.kept
        if key not in kept:
            while len(kept) >= _KEPT:
                del kept[next(iter(kept))]
            kept[key] = self._cost(world, poses)
        found: Floats = kept[key]
        return found

    def _cost(self, world: World, poses: Floats) -> Floats:
        """(c,) cost of each direction with all things at the given poses."""
        solids = world.reader.parts.solids(poses)
        target = solids.pop(self.thing)
        solids.pop(TABLE, None)
        middle = self._middle(target.position, target.rotation)
        centers = middle + self.radius * _DIRECTIONS
        height = target.top - self.depth
        near = [solid for solid in solids.values() if _is_near(solid, middle)]
        cost = np.abs(_YAWS - HOME_YAW) / 0.2 * 0.3 + 0.02 * (_ANGLES < 0)
        cost += _OBLIQUE * (_TURNS != 0)
        cost += self._forbidden(target.rotation)
        if near:
            boxes = Obstacles.of(near)
            radii = np.hypot(*boxes.half_sizes.T)
            close = np.hypot(*(boxes.centers - middle).T) < radii + self.radius + _HAND_RADIUS
            high = boxes.tops > height - TIP_DEPTH
            cost += _collision_cost(boxes.select(close & high), centers, height)
        return cost

    def _reach_cost(self, world: World, centers: Floats, height: float) -> Floats:
        shoulder = world.hand.shoulder
        rise = height + _FLANGE - shoulder[2]
        farthest = np.sqrt(max(_REACH**2 - rise**2, 0.01)) + _WRIST_OFFSET
        distance = np.hypot(*(centers - shoulder[:2]).T)
        cost: Floats = 300 * np.maximum(distance - farthest + _REACH_MARGIN, 0)
        return cost

    def _forbidden(self, rotation: Floats) -> Floats:
        """(c,) cost of directions that the grasp does not allow."""
        cost = np.zeros(len(_ANGLES))
        if self.only is not None:
            cost += 1e3 * (np.cos(_ANGLES - self.only) < 0.72)
        if self.handle is not None:
            ahead = rotation @ (np.cos(self.handle), np.sin(self.handle), 0)
            toward = np.cos(_ANGLES - np.arctan2(ahead[1], ahead[0]))
            cost += 40 * np.clip((toward + 0.5) / 1.2, 0, 1)
        return cost


def _is_near(solid: Solid, middle: Floats) -> bool:
    return bool(np.abs(solid.corners[:, :2] - middle).max(1).min() < _NEAR)


def _collision_cost(boxes: Obstacles, centers: Floats, height: float) -> Floats:
    """(c,) cost of palm or fingers in a box: 15 up to 6 mm, then 3 a 10 mm."""
    if not len(boxes.tops):
        return np.zeros(len(centers))
    palm = boxes.depth(centers, _FINGER_AXES, PALM_HALF)
    palm[:, boxes.tops <= height + PALM_HEIGHT] = 0
    fingers = boxes.depth(centers, _FINGER_AXES, FINGERS_HALF)
    fingers[:, boxes.tops <= height - TIP_DEPTH] = 0
    depth = np.maximum(np.maximum(palm, fingers).max(1), 0)
    cost: Floats = 15 * np.minimum(depth / 0.006, 1) + 300 * depth
    return cost
