"""Limits of a command: the arm's reach, the speed, and the range that action tokens can express."""

from __future__ import annotations

import numpy as np

from vla_tutorial.policies.expert.control import Command
from vla_tutorial.policies.expert.geometry import Floats, ramp
from vla_tutorial.policies.expert.parameters import Parameters
from vla_tutorial.policies.expert.situation import Situation
from vla_tutorial.sim.rotations import norm

_FLANGE = 0.21
"""Metres from the grip site up to the wrist: Franka's flange (0.107) and hand (0.103)."""

_WRIST_OFFSET = 0.088
"""Metres that joint 6 stands nearer to the robot than the hand (Franka's DH parameter a7)."""


def limit_translation(command: Command, s: Situation, p: Parameters) -> Floats:
    """Translation (3,) within reach and speed.

    Near a straight elbow the Jacobian is nearly singular: pushing outward does little, and pulling
    inward needs several times the command. Beyond straight (joint 4 above about −0.6) pulling
    inward even locks the arm; stretching lets the elbow fold back.
    """
    hand = s.hand
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
    over_rim = p.gain * (s.basket.solid.top + 0.10 - hand.position[2])
    stretch = np.array([*(0.5 * outward), np.clip(over_rim, -0.3, 0.5)])
    return (1 - locked) * move + locked * stretch


def fit_into_box(vector: Floats, low: Floats, high: Floats) -> Floats:
    """Shorten a vector (3,) until it lies in the box low … high, which contains 0.

    Clipping each number alone would bend the direction: a LIBERO-object token can say y = 0.84 but
    only x = −0.54.
    """
    room = np.where(vector > 0, high, low)
    zero = vector == 0
    fractions = np.where(zero, 1.0, room / np.where(zero, 1.0, vector))
    return vector * min(1.0, float(np.min(fractions)))
