"""From a situation to an action: approach, hold and release as goals that blend.

Nothing is remembered. What tells the goals apart is physical: how the object lies between the
fingers, how far these are closed, and where the object is relative to the basket. Lengths are in
metres, world frame; translations in OSC_POSE commands (1 is a goal 0.05 m ahead).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial.policies.expert.geometry import Floats, ramp, smooth_ramp
from vla_tutorial.policies.expert.grasp import HOME_YAW, Grasp
from vla_tutorial.policies.expert.parameters import Parameters
from vla_tutorial.policies.expert.situation import Situation
from vla_tutorial.sim.rotations import norm, rotation_vector

OPEN = -1.0
CLOSE = 1.0


@dataclass(frozen=True)
class Command:
    """What a goal asks for, before the limits of speed and reach.

    Attributes:
        translation: (3,) OSC command.
        rotation: (3,) rotation vector in OSC commands.
        gripper: OPEN or CLOSE.
        speed: largest norm of the translation.
        pace: 0 … 1, by which the limited translation is scaled; 0 waits.
        reach: metres from shoulder to wrist that the arm may stretch. Upper arm 0.316, forearm
            0.384 and the elbow's offset allow 0.72.
    """

    translation: Floats
    rotation: Floats
    gripper: float
    speed: float
    pace: float = 1.0
    reach: float = 0.715


def releasing(s: Situation, p: Parameters) -> bool:
    """Whether the target is where the fingers may open: over the basket's middle, low.

    The zone grows once the fingers are off the object, so that a release that began is finished.
    """
    release = s.basket.region_top + p.release_height
    height = float(s.target.position[2])
    let_go = ramp(s.grip.slack, 0.003, 0.006) * (s.hand.opening < 0.078)
    radius = 0.035 + 0.030 * max(ramp(height, release, release - 0.03), let_go)
    return s.distance < radius and height < release + 0.010 + 0.02 * let_go


def holding(s: Situation, p: Parameters) -> bool:
    """Whether the fingers are closing or closed on the target and it is still to be carried."""
    return s.grip.beams >= 2 and s.hand.opening < 0.074 and not s.delivered and not releasing(s, p)


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
    error = grasp.center - hand.position[:2]
    along = abs(float(error @ (np.cos(yaw), np.sin(yaw))))
    across = abs(float(error @ (np.sin(yaw), -np.cos(yaw))))
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
    # The fingers still go around the object: half their opening, less half of the object, within
    # reason.
    along = float(np.clip(0.037 - grasp.width / 2 - abs(grasp.shift), 0.004, 0.016))
    across = min(p.close_across, grasp.length / 2 - 0.006)
    above = min(p.close_above, 0.28 * (s.target.top - s.target.bottom))
    return along, across, above


def _cone_height(s: Situation, grasp: Grasp, outside: float) -> float:
    """Height to fly at: the grasp's, over the object 2 cm outside, over the rim at 10 cm."""
    over_target = s.target.top - grasp.height + 0.030
    further_up = max(s.basket.solid.top + 0.06 - grasp.height - over_target, 0.03)
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
    rim = s.basket.solid.top
    distance = s.distance
    firm = ramp(s.grip.slack, 0.006, 0.002) * ramp(hand.finger_speed, 0.05, 0.02)
    off_floor = ramp(target.bottom, 0.002, 0.030)
    pace = max(firm * (p.first_lift + (1 - p.first_lift) * off_floor), p.first_lift / 2)
    home = nearest_yaw(HOME_YAW, hand.yaw)
    clear_of_others = smooth_ramp(target.bottom, s.basket.center[2], s.basket.center[2] + 0.08)
    rotation, _ = turn_to(s, hand.yaw + (home - hand.yaw) * clear_of_others, p)
    far = smooth_ramp(distance, 0.02, 0.08)
    lift = rim + p.carry_clearance - target.bottom
    lower = s.basket.region_top + p.release_height - 0.012 - target.position[2]
    rise = far * lift + (1 - far) * min(lower, lift)
    # Sideways only as far as the object's bottom clears the rim; it must only near the basket.
    needed = rim + 0.012 - 0.10 * smooth_ramp(distance, 0.12, 0.24)
    sideways = max(smooth_ramp(target.bottom, needed - 0.05, needed), ramp(distance, 0.07, 0.05))
    translation = p.gain * np.array([*(sideways * s.offset), rise])
    speed = p.speed * (0.6 + 0.4 * far)
    return Command(translation, firm * rotation, CLOSE, speed, pace=pace, reach=0.700)


def release(s: Situation, p: Parameters) -> Command:
    """Open; sink while the object still hangs between the fingers; rise once it is inside."""
    rim = s.basket.solid.top
    height = s.hand.position[2]
    rotation, _ = turn_to(s, s.hand.yaw, p)
    if s.delivered:
        up = 0.5 * ramp(height, rim + 0.15, rim + 0.10)
        return Command(np.array([0, 0, up]), rotation, OPEN, p.speed)
    gripped = ramp(s.grip.slack, 0.004, 0.001)
    down = 0.3 * ramp(height, rim - 0.02, rim)
    translation = np.array([*(p.gain * gripped * s.offset), -down])
    return Command(translation, rotation, OPEN, p.speed)
