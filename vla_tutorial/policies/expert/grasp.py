"""The yaw and offset at which the object fits between the fingers and the hand hits nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.policies.expert.geometry import Solid
from vla_tutorial.policies.expert.situation import Parameters
from vla_tutorial.scene import BASKET

# Finger axis at the home pose: world y.
HOME_YAW = np.pi / 2
_YAWS: Floats = np.radians(np.arange(-90, 90, 6))
# (30, 2) unit vectors along each of these yaws from home, and 90° to its left.
_ANGLES: Floats = HOME_YAW + _YAWS
_ALONG: Floats = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
_ACROSS: Floats = np.stack([-_ALONG[:, 1], _ALONG[:, 0]], 1)
_SLIDES = [0, 6, -6, 12, -12, 18, -18, 24, -24, 36, -36, 48, -48]
_SHIFTS = [6, -6, 12, -12, 18, -18]
# (19, 2) metres along and across the finger axis from the object's middle: first slides along the
# object, then shifts toward one finger. A shifted hand pulls the object to its middle as it closes
# (flat boxes bear 20 mm, by trial).
_OFFSETS: Floats = np.array([(0, mm) for mm in _SLIDES] + [(mm, 0) for mm in _SHIFTS]) / 1000

# Metres: up to this the fingers have 12 mm of air on either side.
_COMFORTABLE_WIDTH = 0.056
# Metres: beyond this the fingers land on the object, by trial.
_LARGEST_WIDTH = 0.067
# Metres from the middle of the open fingers to a pad (0.038), less 5 mm of air.
_ROOM = 0.033
# Metres at an object's end that a slide keeps for the pads, which are 16 mm wide.
_HALF_PAD = 0.016
# Metres along and across the finger axis: the hand's mesh (0.104, 0.032), and 8 mm of air.
_PALM_HALF = (0.112, 0.040)
# The same for the two fingers when open (0.064, 0.011 with the mesh's own margin).
_FINGERS_HALF = (0.066, 0.018)
# Metres from the grip site up to the palm (0.034), less 8 mm of air.
_PALM_HEIGHT = 0.026
# Metres from the grip site down to the finger tips.
_TIP_DEPTH = 0.009
# Metres: objects whose origins are farther away than this cannot touch the hand.
_NEAR = 0.28

# Cost of a collision, where 0.2 rad of turn cost 1, and of each metre of its depth.
_FIRST_TOUCH = 15.0
_PER_METRE = 300.0
_WORST_COLLISION = _FIRST_TOUCH + _PER_METRE * max(_FINGERS_HALF[1], _PALM_HALF[1])


@dataclass(frozen=True)
class Grasp:
    """A grasp from above."""

    # Radians of the finger axis; the opposite direction is as good.
    yaw: float
    # (2,) metres and metres, world, where the grip site goes.
    center: Floats
    height: float
    # Metres that the object measures along the finger axis and across it.
    width: float
    length: float
    # Metres along the finger axis from the object's middle to `center`.
    shift: float


def choose_grasp(name: str, solids: Mapping[str, Solid], parameters: Parameters) -> Grasp:
    """The cheapest of 30 yaws times 19 offsets for the object `name` of a scene's `solids`.

    It is the home yaw at the object's middle, unless that is too wide or hits a neighbour.
    """
    target = solids[name]
    # As deep as the palm allows, and as high as the floor demands.
    height = max(target.top - parameters.grasp_depth, target.bottom + parameters.floor_clearance)
    points = target.section([height - 0.008, height, height + 0.008])
    along = points @ _ALONG.T
    across = points @ _ACROSS.T
    widths = np.ptp(along, axis=0)
    lengths = np.ptp(across, axis=0)
    middles = _middle(along)[:, None] * _ALONG + _middle(across)[:, None] * _ACROSS
    shifts = _OFFSETS[:, :1] * _ALONG[:, None]
    slides = _OFFSETS[:, 1:] * _ACROSS[:, None]
    centers = middles[:, None] + shifts + slides
    cost = _shape_cost(widths, lengths)
    # The others cannot become the cheapest.
    yaws, offsets = np.nonzero(cost < cost.min() + _WORST_COLLISION)
    chosen = centers[yaws, offsets]
    obstacles = _obstacles(name, solids, middles[0], height)
    collision = _collision_cost(obstacles, chosen, yaws, height)
    best = int((cost[yaws, offsets] + collision).argmin())
    yaw = yaws[best]
    return Grasp(
        yaw=HOME_YAW + float(_YAWS[yaw]),
        center=chosen[best],
        height=height,
        width=float(widths[yaw]),
        length=float(lengths[yaw]),
        shift=float(_OFFSETS[offsets[best], 0]),
    )


def _middle(values: Floats) -> Floats:
    middle: Floats = (values.max(0) + values.min(0)) / 2
    return middle


def _obstacles(name: str, solids: Mapping[str, Solid], center: Floats, height: float) -> Floats:
    """(k, 3) points on and in the neighbours that the hand could touch at `center` (2,)."""
    points = [np.empty((0, 3))]
    for other, solid in solids.items():
        if other == name or np.hypot(*(solid.position[:2] - center)) > _NEAR:
            continue
        hollow = other == BASKET
        fractions = (0, 0.2, 0.4, 0.6, 0.8, 1) if hollow else (0, 0.5, 1)
        surface = solid.edge_points(fractions)
        high = surface[:, 2] > height - _TIP_DEPTH
        close = np.abs(surface[:, :2] - center).max(1) < 0.15
        surface = surface[high & close]
        points.append(surface)
        # Edges alone would let the fingers stand inside a large box.
        if len(surface) and not hollow:
            points.append((surface + surface.mean(0)) / 2)
    return np.concatenate(points)


def _shape_cost(widths: Floats, lengths: Floats) -> Floats:
    """Cost of each yaw and offset by the object's shape alone, (yaws, offsets).

    1 for each 0.2 rad of turn, 20 mm of slide, 10 mm of shift; much more for what does not fit.
    """
    shift, slide = np.abs(_OFFSETS.T)
    tight = np.maximum(widths - _COMFORTABLE_WIDTH, 0) * 60
    too_wide = np.maximum(widths - _LARGEST_WIDTH, 0) * 4000
    turn = np.abs(_YAWS) / 0.2
    off_the_end = slide > np.maximum(lengths[:, None] / 2 - _HALF_PAD, 1e-6)
    under_a_finger = shift > np.maximum(_ROOM - widths[:, None] / 2, 1e-6)
    unfit = 1e3 * (off_the_end | under_a_finger)
    of_yaw = (tight + too_wide + turn)[:, None]
    cost: Floats = of_yaw + slide / 0.02 + shift / 0.01 + unfit
    return cost


def _collision_cost(obstacles: Floats, centers: Floats, yaws: Ints, height: float) -> Floats:
    """Cost (c,) of palm or fingers at `centers` in an obstacle: 15 up to 6 mm, then 3 a 10 mm."""
    if not len(obstacles):
        return np.zeros(len(centers))
    # Project obstacles and centres apart and subtract: (c, obstacles) arrays are the largest.
    plane = obstacles[:, :2].T
    finger_axes = _ALONG[yaws]
    cross_axes = _ACROSS[yaws]
    along = np.abs(finger_axes @ plane - (centers * finger_axes).sum(1, keepdims=True))
    across = np.abs(cross_axes @ plane - (centers * cross_axes).sum(1, keepdims=True))
    palm = np.minimum(_PALM_HALF[0] - along, _PALM_HALF[1] - across)
    palm[:, obstacles[:, 2] <= height + _PALM_HEIGHT] = 0
    fingers = np.minimum(_FINGERS_HALF[0] - along, _FINGERS_HALF[1] - across)
    depth = np.maximum(np.maximum(palm, fingers).max(1), 0)
    cost: Floats = _FIRST_TOUCH * np.minimum(depth / 0.006, 1) + _PER_METRE * depth
    return cost
