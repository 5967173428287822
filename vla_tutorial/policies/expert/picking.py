"""Pick a thing up and put it somewhere: approach, carry, release. Metres, world frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.control import CLOSE, OPEN, Command, nearest_yaw
from vla_tutorial.policies.expert.geometry import ramp, smooth_ramp
from vla_tutorial.policies.expert.parts import TABLE
from vla_tutorial.policies.expert.rims import FINGERS_HALF, PALM_HALF, PALM_HEIGHT, TIP_DEPTH
from vla_tutorial.policies.expert.steering import (
    FIRM,
    GAIN,
    SPEED,
    GraspFinder,
    HandPose,
    Place,
    PlaceFinder,
    downward,
    is_near,
    near_home,
    offsets,
    rise_to,
    stay,
    turn_toward,
)
from vla_tutorial.policies.expert.world import World
from vla_tutorial.sim.rotations import norm

# Share of the speed with which a thing leaves what it stands on; see `control.hold`.
_FIRST_LIFT = 0.25
# Metres before the place from which on its own height over the place is enough.
_AT_PLACE = 0.08
# Metres that a hand which stands on something may sink in.
_ON_TOP = 0.03
# Metres before the grasp from which on the choice of the grasp keeps the hand off obstacles.
_AT_POSE = 0.06


@dataclass(frozen=True)
class PickPlace:
    """Until `finished`: grasp the thing, carry it to its place, let go."""

    thing: str
    grasp: GraspFinder
    place: PlaceFinder
    finished: Callable[[World], bool]
    # Height over the grasp at which the hand flies.
    fly: float = 0.10

    def done(self, world: World) -> bool:
        """Whether the thing is where the goal wants it, and let go."""
        return self.thing not in world.held and self.finished(world)

    def act(self, world: World) -> Command:
        """Carry what is held; finish a release that has begun; else approach."""
        place = self.place(world)
        if self.thing in world.held:
            if self.finished(world):
                place = replace(place, tolerance=2 * place.tolerance)
            return carry(world, self.thing, place)
        hand = world.hand
        pose = self.grasp(world)
        near = is_near(hand, pose)
        # A contact that breaks for one step is still a hold.
        if near and world.fingers_at(self.thing) and hand.opening < 0.05:
            return carry(world, self.thing, place)
        error = place.position - world.position(self.thing)
        level = norm(error[:2])
        low = -error[2] < place.above + 0.01
        if near and hand.opening < 0.07 and level < 1.6 * place.tolerance and low:
            return stay(OPEN, "release")
        return approach(world, self.thing, pose, self.fly)


def in_the_way(world: World, thing: str | None) -> float | None:
    """Height to rise to first where another movable thing stands around the fingers."""
    at = world.hand.position
    for name in world.movable:
        if name == thing or norm(world.position(name)[:2] - at[:2]) > 0.25:
            continue
        corners = world.solid(name).corners
        low = corners.min(0)
        high = corners.max(0)
        inside = (at[:2] > low[:2] - 0.05).all() and (at[:2] < high[:2] + 0.05).all()
        if inside and at[2] < high[2] + 0.012:
            return float(high[2]) + 0.03
    return None


def approach(world: World, thing: str, pose: HandPose, fly: float) -> Command:
    """Come down to the pose in a cone above it; close where the tolerances allow."""
    hand = world.hand
    yaw = near_home(pose.yaw, hand)
    rotation, angle = turn_toward(hand, downward(yaw))
    error = pose.position - hand.position
    height = _cone_height(world, thing, pose, angle, fly)
    blocked = in_the_way(world, thing) if norm(error[:2]) > 0.05 else None
    if blocked is not None:
        return rise_to(hand, max(blocked, height), "up")
    # First up, then across: the hand may be beside a thing.
    near = 1.4 + 0.4 * ramp(norm(error[:2]), 0.04, 0.015)
    sideways = near * FIRM * ramp(hand.position[2], height - 0.05, height - 0.02)
    up = height - 0.002 - hand.position[2]
    translation = GAIN * np.array([*(sideways * error[:2]), FIRM * up])
    # Fingers that have begun to close do not stop (up to twice the tolerance).
    allowed = 1 + ramp(hand.opening, 0.0765, 0.0725)
    if _strain(world, pose, angle) < allowed and hand.opening > 0.003:
        pace = ramp(hand.opening, 0.066, 0.076)
        return Command(translation, rotation, CLOSE, SPEED, pace, doing="close")
    return Command(translation, rotation, OPEN, SPEED, doing="approach")


def _strain(world: World, pose: HandPose, angle: float) -> float:
    """How far the hand is from the pose, in tolerances."""
    along, across, above = offsets(world.hand, pose)
    allowed_along, allowed_across, allowed_above = pose.tolerance
    level = max(along / allowed_along, across / allowed_across)
    return max(level, above / allowed_above, -above / 0.02, angle / 0.3)


def _cone_height(world: World, thing: str, pose: HandPose, angle: float, fly: float) -> float:
    """Height to fly at: the pose's, over the thing 2 cm outside, `fly` above it at 10 cm."""
    along, across, _ = offsets(world.hand, pose)
    outside_along = max(along - 0.6 * pose.tolerance[0], 0)
    outside_across = max(across - 0.6 * pose.tolerance[1], 0)
    for_angle = 0.06 * max(angle - 0.15, 0)
    for_opening = 0.03 * (1 - ramp(world.hand.opening, 0.064, 0.074))
    outside = float(np.hypot(outside_along, outside_across)) + for_angle + for_opening
    over = max(world.solid(thing).top - pose.position[2], 0) + 0.03
    further_up = max(fly - over + 0.03, 0.03) * ramp(outside, 0.02, 0.10)
    height = float(pose.position[2] + over * smooth_ramp(outside, 0, 0.02) + further_up)
    height = max(height, _way_over(world, thing, pose))
    # A hand that has come down on something beside its way rises off it.
    aside = ramp(norm(pose.position[:2] - world.hand.position[:2]), 0.015, 0.030)
    return height + aside * max(_over_what_is_below(world, thing) - height, 0)


def _over_what_is_below(world: World, thing: str) -> float:
    """Height at which a hand that stands on something would be free of it; −inf if on nothing.

    What reaches higher than `_ON_TOP` beside it is not what it stands on.
    """
    hand = world.hand
    at = hand.position[None, :2]
    axis = np.array([[np.cos(hand.yaw), np.sin(hand.yaw)]])
    best = -np.inf
    for name, boxes in world.obstacles.items():
        if name in (thing, TABLE):
            continue
        for half, rise in ((PALM_HALF, -PALM_HEIGHT), (FINGERS_HALF, TIP_DEPTH)):
            over = boxes.depth(at, axis, half)[0] > 0
            low = boxes.tops + rise < hand.position[2] + _ON_TOP
            best = max(best, float(boxes.tops[over & low].max(initial=-np.inf)) + rise)
    return best


def _way_over(world: World, thing: str, pose: HandPose) -> float:
    """Height that clears what is on the hand's way to a pose, up to a few cm before it."""
    start = world.hand.position[:2]
    way = pose.position[:2] - start
    distance = norm(way)
    if distance < _AT_POSE:
        return -np.inf
    end = pose.position[:2] - way * (_AT_POSE / distance)
    for_fingers = world.highest_between(start, end, 0.04, thing) + 0.035
    for_palm = world.highest_between(start, end, 0.11, thing) - 0.015
    return max(for_fingers, for_palm)


def carry(world: World, thing: str, place: Place) -> Command:
    """Close, lift, carry and lower, blended by height and distance; open in the place.

    The lift begins slowly: a camera can hardly tell closed fingers from closing ones, but it sees
    how high the thing is.
    """
    hand = world.hand
    origin = world.position(thing)
    error = place.position - origin
    distance = norm(error[:2])
    via = max(place.via, _over_obstacles(world, thing, place))
    # What is entered from the side has a lip.
    lip = 0.0 if place.entered is None else 1 - ramp(distance, 0.10, 0.18)
    lifted = smooth_ramp(origin[2], via - 0.06 + 0.045 * lip, via - 0.02 + 0.014 * lip)
    rotation, angle = _turn(world, place, lifted, distance)
    if distance < place.tolerance and -error[2] < place.above:
        # It goes on to the middle, as a sudden stop would recoil.
        translation = np.array([*(0.5 * GAIN * error[:2]), -0.1])
        return Command(translation, np.zeros(3), OPEN, SPEED, doing="release")
    begin, end = place.lowering
    far = smooth_ramp(distance, end, begin)
    if place.yaw is not None and distance < 0.3:
        far = max(far, smooth_ramp(angle, 0.12, 0.3))
    lift = via - origin[2]
    rise = far * lift + (1 - far) * min(error[2], lift)
    from_under = _from_under(world, thing) if place.entered is None else None
    if from_under is not None:
        rotation = 0 * rotation
        error = from_under
        lifted = 1.0
        rise = from_under[2]
    sideways = FIRM * max(lifted, ramp(distance, begin + 0.01, begin - 0.005))
    translation = GAIN * np.array([*(sideways * error[:2]), rise])
    clear = world.solid(thing).bottom - world.support(thing)
    # Fingers that tremble under a push hold on; only what still stands waits for them.
    firm = max(ramp(hand.finger_speed, 0.05, 0.015), ramp(clear, 0.015, 0.030))
    share = _FIRST_LIFT + (1 - _FIRST_LIFT) * max(ramp(clear, 0.002, 0.025), 1 - far)
    speed = SPEED * (0.5 + 0.5 * far)
    return Command(translation, firm * rotation, CLOSE, speed, firm * share, doing="carry")


def _over_obstacles(world: World, thing: str, place: Place) -> float:
    """Height of the thing's origin that clears what stands on the way to its place."""
    origin = world.position(thing)
    way = place.position[:2] - origin[:2]
    distance = norm(way)
    if distance < _AT_PLACE:
        return -np.inf
    corners = world.solid(thing).corners
    width = float(np.ptp(corners[:, :2], axis=0).max()) / 2
    end = place.position[:2] - way * (_AT_PLACE / distance)
    top = world.highest_between(origin[:2], end, width, thing, place.entered)
    return top + float(origin[2] - corners[:, 2].min()) + 0.05


def _from_under(world: World, thing: str) -> Floats | None:
    """Way out (3,) for what is held under an open drawer, hardly lifted."""
    corners = world.solid(thing).corners
    low = corners.min(0)
    high = corners.max(0)
    radius = float((high - low)[:2].max()) / 2
    height = float(world.hand.position[2]) - 0.01
    way = world.way_out((low[:2] + high[:2]) / 2, radius, height)
    if way is None:
        return None
    rise = world.support(thing) + 0.025 - float(low[2])
    return np.array([*(way * (1 + 0.04 / norm(way))), rise])


def _turn(world: World, place: Place, lifted: float, distance: float) -> tuple[Floats, float]:
    """Rotation command and angle left: upright, and to the place's yaw once lifted."""
    yaw = world.hand.yaw
    if place.yaw is not None and not (lifted < 0.1 and distance > 0.06):
        yaw = nearest_yaw(place.yaw, yaw)
    return turn_toward(world.hand, downward(yaw))
