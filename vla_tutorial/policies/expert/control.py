"""From a situation to an action: approach, hold and release as goals that blend, within limits.

Nothing is remembered. What tells the goals apart is physical: how the object lies between the
fingers, how far these are closed, and where the object is relative to the basket. Lengths are in
metres, world frame; translations in OSC_POSE commands (1 is a goal 0.05 m ahead).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.geometry import ramp, smooth_ramp
from vla_tutorial.policies.expert.grasp import HOME_YAW, Grasp
from vla_tutorial.policies.expert.situation import Hand, Parameters, Situation
from vla_tutorial.sim.rotations import norm, rotation_vector

OPEN = -1.0
CLOSE = 1.0
# Metres from the grip site up to the wrist: Franka's flange (0.107) and hand (0.103).
_FLANGE = 0.21
# Metres that joint 6 stands nearer to the robot than the hand (Franka's DH parameter a7).
_WRIST_OFFSET = 0.088


@dataclass(frozen=True)
class Command:
    """What a goal asks for, before the limits of speed and reach."""

    # (3,) in OSC commands, the rotation as a rotation vector.
    translation: Floats
    rotation: Floats
    # OPEN or CLOSE.
    gripper: float
    # Largest norm of the translation.
    speed: float
    # 0 … 1, by which the limited translation is scaled; 0 waits.
    pace: float = 1.0
    # Metres from shoulder to wrist: upper arm 0.316, forearm 0.384, elbow's offset allow 0.72.
    # Infinite for a tilted hand, whose wrist is elsewhere: then only speed and pace limit.
    reach: float = 0.715
    # What a skill is doing, in a word, for those who watch it.
    doing: str = ""


def releasing(s: Situation, p: Parameters) -> bool:
    """Whether the target is where the fingers may open: over the basket's middle, low.

    The zone grows once the fingers are off the object, so that a release that began is finished.
    """
    release = s.basket.region_top + p.release_height
    height = float(s.target.position[2])
    let_go = ramp(s.grip.slack, 0.003, 0.006) * (s.hand.opening < 0.078)
    radius = s.slack + 0.030 * max(ramp(height, release, release - 0.03), let_go)
    return s.distance < radius and height < release + 0.010 + 0.02 * let_go


def holding(s: Situation, p: Parameters) -> bool:
    """Whether the fingers are closing or closed on the target and it is still to be carried."""
    gripped = s.grip.beams >= 2 and s.hand.opening < 0.074
    return gripped and not s.delivered and not releasing(s, p)


def turn_to(s: Situation, yaw: float, p: Parameters) -> tuple[Floats, float]:
    """Rotation command (3,) that points down, finger axis at `yaw`; and the radians left."""
    c = np.cos(yaw)
    n = np.sin(yaw)
    wanted = np.array([[c, n, 0], [n, -c, 0], [0, 0, -1.0]])
    error = rotation_vector(wanted @ s.hand.rotation.T)
    command = p.turn_gain * error
    shortened = command * min(1.0, p.turn_speed / max(norm(command), 1e-9))
    return shortened, norm(error)


def nearest_yaw(yaw: float, reference: float) -> float:
    """`yaw` or its opposite, whichever is nearer to `reference`: the two fingers are alike."""
    return float(yaw + np.pi * np.round((reference - yaw) / np.pi))


def approach(s: Situation, grasp: Grasp, p: Parameters) -> Command:
    """Come down to the grasp in a cone above it; close when the target is between the fingers."""
    hand = s.hand
    z = hand.position[2]
    # The hand prefers to stay near its home yaw, where the wrist has room to either side.
    yaw = nearest_yaw(grasp.yaw, HOME_YAW + 0.6 * (hand.yaw - HOME_YAW))
    rotation, angle = turn_to(s, yaw, p)
    c = np.cos(yaw)
    n = np.sin(yaw)
    error = grasp.center - hand.position[:2]
    along = abs(float(error @ (c, n)))
    across = abs(float(error @ (n, -c)))
    slack_along, slack_across, slack_above = _tolerances(s, grasp, p)
    outside_along = max(along - 0.6 * slack_along, 0)
    outside_across = max(across - 0.6 * slack_across, 0)
    outside = float(np.hypot(outside_along, outside_across))
    for_angle = 0.06 * max(angle - 0.15, 0)
    for_opening = 0.03 * (1 - ramp(hand.opening, 0.064, 0.074))
    height = _cone_height(s, grasp, outside + for_angle + for_opening)
    # First up, then across: the hand may be beside an object.
    sideways = ramp(z, height - 0.05, height - 0.02)
    translation = p.gain * np.array([*(1.5 * sideways * error), height - 0.002 - z])
    above = z - grasp.height
    sideways_strain = max(along / slack_along, across / slack_across)
    strain = max(sideways_strain, above / slack_above, -above / 0.02, angle / 0.3)
    # Fingers that have begun to close do not stop (up to twice the tolerance), so that the command
    # does not flicker at its edge.
    allowed = 1 + ramp(hand.opening, 0.0765, 0.0725)
    if strain < allowed and hand.opening > 0.064 and s.grip.beams >= 2:
        pace = ramp(hand.opening, 0.068, 0.076)
        return Command(translation, rotation, CLOSE, p.speed, pace=pace)
    return Command(translation, rotation, OPEN, p.speed)


def _tolerances(s: Situation, grasp: Grasp, p: Parameters) -> tuple[float, float, float]:
    """Metres off the grasp along the finger axis, across it and above, where fingers may close."""
    # The fingers still go around the object: half their opening less half of it, within reason.
    along = float(np.clip(0.037 - grasp.width / 2 - abs(grasp.shift), 0.004, 0.016))
    across = min(p.close_across, grasp.length / 2 - 0.006)
    above = min(p.close_above, 0.28 * (s.target.top - s.target.bottom))
    return along, across, above


def _cone_height(s: Situation, grasp: Grasp, outside: float) -> float:
    """Height to fly at: the grasp's, over the object 2 cm outside, over the rim at 10 cm."""
    over_target = s.target.top - grasp.height + 0.030
    further_up = max(s.basket.rim + 0.06 - grasp.height - over_target, 0.03)
    near = over_target * smooth_ramp(outside, 0, 0.02)
    far = further_up * ramp(outside, 0.02, 0.10)
    return grasp.height + near + far


def hold(s: Situation, p: Parameters) -> Command:
    """Close, lift, carry and lower, blended by how firm the grip is and how far the basket.

    The lift begins slowly, closed or still closing. A camera can hardly tell the two apart, but it
    sees the object's height, which says how fast.
    """
    hand = s.hand
    target = s.target
    rim = s.basket.rim
    distance = s.distance
    firm = ramp(s.grip.slack, 0.006, 0.002) * ramp(hand.finger_speed, 0.05, 0.02)
    off_floor = ramp(target.bottom, 0.002, 0.030)
    share = p.first_lift + (1 - p.first_lift) * off_floor
    pace = max(firm * share, p.first_lift / 2)
    home = nearest_yaw(HOME_YAW, hand.yaw)
    middle = s.basket.center[2]
    clear_of_others = smooth_ramp(target.bottom, middle, middle + 0.08)
    yaw = hand.yaw + (home - hand.yaw) * clear_of_others
    rotation, _ = turn_to(s, yaw, p)
    far = smooth_ramp(distance, 0.02, 0.08)
    lift = rim + p.carry_clearance - target.bottom
    lower = s.basket.region_top + p.release_height - 0.012 - target.position[2]
    rise = far * lift + (1 - far) * min(lower, lift)
    # Sideways only as far as the object's bottom clears the rim; it must only near the basket.
    needed = rim + 0.012 - 0.10 * smooth_ramp(distance, 0.12, 0.24)
    clears_rim = smooth_ramp(target.bottom, needed - 0.05, needed)
    sideways = max(clears_rim, ramp(distance, 0.07, 0.05))
    translation = p.gain * np.array([*(sideways * s.offset), rise])
    speed = p.speed * (0.6 + 0.4 * far)
    return Command(translation, firm * rotation, CLOSE, speed, pace=pace, reach=0.700)


def release(s: Situation, p: Parameters) -> Command:
    """Open; sink while the object still hangs between the fingers; rise once it is inside."""
    rim = s.basket.rim
    height = s.hand.position[2]
    rotation, _ = turn_to(s, s.hand.yaw, p)
    if s.delivered:
        up = 0.5 * ramp(height, rim + 0.15, rim + 0.10)
        return Command(np.array([0, 0, up]), rotation, OPEN, p.speed)
    gripped = ramp(s.grip.slack, 0.004, 0.001)
    down = 0.3 * ramp(height, rim - 0.02, rim)
    translation = np.array([*(p.gain * gripped * s.offset), -down])
    return Command(translation, rotation, OPEN, p.speed)


def stretch(hand: Hand, over: float, p: Parameters) -> Floats:
    """Translation (3,) that frees an arm locked over libero_object's floor, at the height `over`.

    So low, pulling inward locks it even more; stretching lets the elbow fold back.
    """
    upward = p.gain * (over - hand.position[2])
    return np.array([*(0.5 * _outward(hand)), np.clip(upward, -0.3, 0.5)])


def fold(hand: Hand) -> Floats:
    """Translation (3,) that frees an arm locked over a table.

    An upright hand goes inward, the wrist to the shoulder's height: that bends the elbow within a
    second. A hand whose wrist leans outward goes outward until it is upright; pulled inward it
    would lean more, the elbow at its limit. (Both by trial from states in which the arm locked.)
    """
    outward = _outward(hand)
    lean = -float(hand.rotation[:2, 2] @ outward)
    radial = 1.3 * ramp(lean, 0.15, 0.35) - 0.8
    level = hand.shoulder[2] - _FLANGE
    return np.array([*(radial * outward), np.clip(10 * (level - hand.position[2]), -0.3, 0.3)])


def _outward(hand: Hand) -> Floats:
    """Unit vector (2,) from the shoulder to the hand."""
    level = hand.position[:2] - hand.shoulder[:2]
    outward: Floats = level / norm(level)
    return outward


def limit_translation(command: Command, hand: Hand, free: Floats, p: Parameters) -> Floats:
    """Translation (3,) within reach and speed; a locked arm moves by `free` (3,) instead.

    Near a straight elbow the Jacobian is nearly singular: pushing outward does little, and pulling
    inward needs several times the command. Beyond straight (joint 4 above about −0.6) the arm is
    taken as locked.
    """
    if command.reach == np.inf:
        shortened = min(1.0, command.speed / max(norm(command.translation), 1e-9))
        return command.translation * (command.pace * shortened)
    elbow = hand.elbow
    level = hand.position[:2] - hand.shoulder[:2]
    distance = norm(level)
    outward = level / distance
    height = hand.position[2] + _FLANGE - hand.shoulder[2]
    farthest = np.sqrt(max(command.reach**2 - height**2, 0.01)) + _WRIST_OFFSET
    move = command.translation.copy()
    move[:2] -= outward * p.gain * max(distance - farthest, 0)
    radial = float(move[:2] @ outward)
    factor = -ramp(elbow, -0.9, -0.7)
    if radial < 0:
        factor = 3 * ramp(elbow, -1.2, -0.7)
    move[:2] += outward * radial * factor
    move *= command.pace * min(1.0, command.speed / max(norm(move), 1e-9))
    locked = ramp(elbow, -0.70, -0.60)
    return (1 - locked) * move + locked * free


def fit_into_box(vector: Floats, low: Floats, high: Floats) -> Floats:
    """Shorten a vector (3,) until it lies in the box low … high, which contains 0.

    Clipping each number alone would bend it: LIBERO-object tokens reach y = 0.84, but x = −0.54.
    """
    room = np.where(vector > 0, high, low)
    zero = vector == 0
    fractions = np.where(zero, 1.0, room / np.where(zero, 1.0, vector))
    return vector * min(1.0, float(np.min(fractions)))
