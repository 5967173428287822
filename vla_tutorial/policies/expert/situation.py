"""What the expert decides on. Metres, radians, world frame (z up)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from vla_tutorial.policies.expert.geometry import Floats, Solid
from vla_tutorial.sim.rotations import norm

_BEAMS: Floats = np.array(list(product((-0.006, 0.0, 0.006), (-0.007, -0.001, 0.005))))
"""(9, 2) metres across and down from the grip site: lines between the finger pads.

The pads measure 16 mm by 16 mm and lie 4 mm above the site.
"""


@dataclass(frozen=True)
class Hand:
    """The gripper and the arm behind it.

    Attributes:
        position: (3,) the grip site, between the pads.
        rotation: (3, 3) columns are the finger axis, the axis across it, and the approach axis
            (down).
        pads: inner faces of the two pads along the finger axis, from the grip site: about −0.038
            and 0.038 when open.
        opening: metres between the fingers: 0.080 open, 0 closed.
        finger_speed: m/s, both fingers added.
        elbow: joint 4 in radians; −0.47 is nearly straight, where pulling inward locks the arm.
        shoulder: (3,).
    """

    position: Floats
    rotation: Floats
    pads: tuple[float, float]
    opening: float
    finger_speed: float
    elbow: float
    shoulder: Floats

    @property
    def yaw(self) -> float:
        """Direction of the finger axis in the horizontal plane."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))


@dataclass(frozen=True)
class Basket:
    """The basket and the region inside it that counts.

    Attributes:
        solid: its walls and floor.
        center, rotation, half_size: (3,), (3, 3), (3,) of the region, a box.
    """

    solid: Solid
    center: Floats
    rotation: Floats
    half_size: Floats

    def contains(self, point: Floats) -> bool:
        """Whether LIBERO counts an object with its origin here as inside."""
        return bool((np.abs(self.rotation.T @ (point - self.center)) < self.half_size).all())

    @property
    def region_top(self) -> float:
        """Upper end of the region, below the rim."""
        return float(self.center[2] + self.half_size[2])


@dataclass(frozen=True)
class Grip:
    """What is between the fingers, by nine beams from pad to pad.

    Attributes:
        beams: how many of the nine the object breaks.
        slack: metres of air between the object and the pads, both sides added; 0.08 without an
            object.
    """

    beams: int
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
    """Everything that the expert decides on.

    Attributes:
        name: the object to handle now.
        target: its solid.
        grip: how it lies between the fingers.
        delivered: whether it is inside the basket, as all others that the task asks for then are.
    """

    hand: Hand
    basket: Basket
    name: str
    target: Solid
    grip: Grip
    delivered: bool

    @property
    def offset(self) -> Floats:
        """(2,) metres from the target's origin to the middle of the basket."""
        return self.basket.center[:2] - self.target.position[:2]

    @property
    def distance(self) -> float:
        """Metres of `offset`."""
        return norm(self.offset)
