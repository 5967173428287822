"""What the expert decides on, and what can be tuned. Metres, radians, world frame (z up)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.geometry import Solid
from vla_tutorial.sim.rotations import norm

# (9, 2) metres across and down from the grip site: lines between the finger pads, which measure
# 16 mm by 16 mm and lie 4 mm above the site.
_BEAMS: Floats = np.array(list(product((-0.006, 0.0, 0.006), (-0.007, -0.001, 0.005))))


@dataclass(frozen=True)
class Parameters:
    """Gains, speeds and clearances of the expert's motion.

    The defaults were found by trial on libero_object and on random layouts of its objects. Speeds
    are in OSC_POSE's units: a command of 1 asks for a goal 0.05 m (or 0.5 rad) ahead and moves the
    hand about 13 mm (0.13 rad) in a control step of 50 ms.
    """

    # Command per metre of error; 10 begins to slow down 7 cm before the goal.
    gain: float = 10.0
    # Largest norm of the translation; 0.7 gives episodes about as long as human demonstrations.
    speed: float = 0.7
    # Command per radian of error, and largest norm of the rotation.
    turn_gain: float = 2.0
    turn_speed: float = 0.3
    # Metres from the object's top down to the grip site; with 4 mm more the palm presses on it.
    grasp_depth: float = 0.030
    # Least metres from the object's bottom up to the grip site; finger tips reach 9 mm below that.
    floor_clearance: float = 0.012
    # Share of the speed with which a gripped object leaves the floor; half while fingers close.
    first_lift: float = 0.2
    # Metres between the carried object's bottom and the basket's rim.
    carry_clearance: float = 0.05
    # Metres of the object's origin above the basket's region when the fingers let it fall.
    release_height: float = 0.014
    # Metres off the object's middle, across the finger axis, at which the fingers may close (cans
    # bear 20 mm, by trial).
    close_across: float = 0.014
    # Metres above the grasp height at which they may; at most 0.28 of the object's height, as flat
    # boxes bear only 5 mm.
    close_above: float = 0.014


@dataclass(frozen=True)
class Hand:
    """The gripper and the arm behind it."""

    # (3,) the grip site, between the pads.
    position: Floats
    # (3, 3) columns: the finger axis, the axis across it, and the approach axis (down).
    rotation: Floats
    # Inner faces of the two pads along the finger axis from the grip site: about ∓0.038 when open.
    pads: tuple[float, float]
    # Metres between the fingers: 0.080 open, 0 closed; and m/s, both fingers added.
    opening: float
    finger_speed: float
    # Joint 4 in radians; −0.47 is nearly straight, where pulling inward locks the arm.
    elbow: float
    shoulder: Floats

    @property
    def yaw(self) -> float:
        """Direction of the finger axis in the horizontal plane."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))


@dataclass(frozen=True)
class Basket:
    """The basket and the region inside it that counts."""

    # Height of the basket's upper end.
    rim: float
    # (3,), (3, 3), (3,) of the region, a box.
    center: Floats
    rotation: Floats
    half_size: Floats

    def contains(self, point: Floats) -> bool:
        """Whether LIBERO counts an object with its origin here as inside."""
        local = self.rotation.T @ (point - self.center)
        return bool((np.abs(local) < self.half_size).all())

    @property
    def region_top(self) -> float:
        """Upper end of the region, below the rim."""
        return float(self.center[2] + self.half_size[2])


@dataclass(frozen=True)
class Grip:
    """What is between the fingers."""

    # How many of nine beams from pad to pad the object breaks.
    beams: int
    # Metres of air between it and the pads, both sides added; 0.08 without an object.
    slack: float

    @classmethod
    def measure(cls, hand: Hand, solid: Solid) -> Grip:
        """Look from pad to pad. Parts of the object over 6 mm outside the pads do not count."""
        finger_axis, across, down = hand.rotation.T
        origins = hand.position + _BEAMS[:, :1] * across + _BEAMS[:, 1:] * down
        begin, end = solid.beams(origins, finger_axis).T
        left, right = hand.pads
        between = (end > left - 0.006) & (begin < right + 0.006)
        if not between.any():
            return cls(0, 0.08)
        air_left = max(begin[between].min() - left, 0)
        air_right = max(right - end[between].max(), 0)
        return cls(int(between.sum()), float(air_left + air_right))


@dataclass(frozen=True)
class Situation:
    """Everything that the expert decides on."""

    hand: Hand
    basket: Basket
    # The object to handle now, its solid, and how it lies between the fingers.
    name: str
    target: Solid
    grip: Grip
    # Whether it is in the basket, as all others that the task asks for then are.
    delivered: bool
    # (2,) metres, where over the basket it is let go, and how far off that it may be.
    spot: Floats
    slack: float

    @property
    def offset(self) -> Floats:
        """(2,) metres from the target's origin to its spot in the basket."""
        return self.spot - self.target.position[:2]

    @property
    def distance(self) -> float:
        """Metres of `offset`."""
        return norm(self.offset)
