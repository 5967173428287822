"""Collision boxes of a body, their sections and the beams between two fingers.

Metres, world frame unless said otherwise. LIBERO builds the collision shape of every object from
boxes, so boxes describe them exactly; any other shape is taken as its bounding box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from vla_tutorial.arrays import Floats

if TYPE_CHECKING:
    import mujoco


# (8, 3): corners of a unit box, and (12, 2): the pairs of corners that an edge joins.
_CORNERS: Floats = np.array(list(product((-1.0, 1.0), repeat=3)))
_EDGES = np.array([(i, j) for i, j in combinations(range(8), 2) if i ^ j in (1, 2, 4)])
_TINY = 1e-9


def ramp(value: float, zero_at: float, one_at: float) -> float:
    """0 at `zero_at`, 1 at `one_at` (which may be smaller), straight between, else constant."""
    return min(max((value - zero_at) / (one_at - zero_at), 0.0), 1.0)


def smooth_ramp(value: float, zero_at: float, one_at: float) -> float:
    """Like `ramp`, with slope 0 at both ends."""
    x = ramp(value, zero_at, one_at)
    return x * x * (3 - 2 * x)


def rotation_from_quaternion(quaternion: ArrayLike) -> Floats:
    """Quaternion (4,) w, x, y, z, of any length but 0 → rotation matrix (3, 3)."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@dataclass(frozen=True)
class Boxes:
    """The collision boxes of one body in the body's frame, which never change."""

    # (n, 3) metres; (n, 3, 3), columns are a box's axes; (n, 3) metres.
    centers: Floats
    axes: Floats
    half_sizes: Floats
    # (8n, 3) metres, eight rows a box.
    corners: Floats

    @classmethod
    def from_model(cls, model: mujoco.MjModel, body: int) -> Boxes:
        """Every colliding geom of `body` and of the bodies below it, joints at their zero."""
        colliding = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
        frames = [_geom_frame(model, int(geom), body) for geom in colliding]
        found = [frame for frame in frames if frame is not None]
        centers = np.array([frame[0] for frame in found]).reshape(-1, 3)
        axes = np.array([frame[1] for frame in found]).reshape(-1, 3, 3)
        half = np.array([frame[2] for frame in found]).reshape(-1, 3)
        return cls.of(centers, axes, half)

    @classmethod
    def of(cls, centers: Floats, axes: Floats, half_sizes: Floats) -> Boxes:
        """Boxes and their corners: centres (n, 3), axes (n, 3, 3), half sizes (n, 3)."""
        local = _CORNERS * half_sizes[:, None]
        corners = centers[:, None] + np.einsum("nij,nkj->nki", axes, local)
        return cls(centers, axes, half_sizes, corners.reshape(-1, 3))


def _geom_frame(
    model: mujoco.MjModel, geom: int, root: int
) -> tuple[Floats, Floats, Floats] | None:
    """Centre, axes (3, 3), half sizes of a geom's box in `root`'s frame; None elsewhere."""
    rotation = rotation_from_quaternion(model.geom_quat[geom])
    center = model.geom_pos[geom] + rotation @ model.geom_aabb[geom, :3]
    body = int(model.geom_bodyid[geom])
    while body != root:
        if body == 0:
            return None
        step = rotation_from_quaternion(model.body_quat[body])
        center = model.body_pos[body] + step @ center
        rotation = step @ rotation
        body = int(model.body_parentid[body])
    return center, rotation, model.geom_aabb[geom, 3:].copy()


@dataclass(frozen=True)
class Solid:
    """Boxes at a pose."""

    boxes: Boxes
    # (3,) metres, the body's origin; (3, 3), body to world.
    position: Floats
    rotation: Floats

    @cached_property
    def corners(self) -> Floats:
        """(8n, 3) corners of all boxes."""
        return self.boxes.corners @ self.rotation.T + self.position

    @cached_property
    def bottom(self) -> float:
        """Height of the lowest corner."""
        return float(self.corners[:, 2].min())

    @cached_property
    def top(self) -> float:
        """Height of the highest corner."""
        return float(self.corners[:, 2].max())

    def edges(self) -> tuple[Floats, Floats]:
        """Begin and end of every box edge, (12n, 3) each."""
        corners = self.corners.reshape(-1, 8, 3)
        begin = corners[:, _EDGES[:, 0]].reshape(-1, 3)
        end = corners[:, _EDGES[:, 1]].reshape(-1, 3)
        return begin, end

    def edge_points(self, fractions: Sequence[float]) -> Floats:
        """Points on every edge at these fractions of its length, (k, 3)."""
        begin, end = self.edges()
        return np.concatenate([begin + f * (end - begin) for f in fractions])

    def section(self, heights: Sequence[float]) -> Floats:
        """(k, 2) x and y where edges cross the planes at `heights`; if hardly any, all corners."""
        begin, end = self.edges()
        rise = _away_from_zero(end[:, 2] - begin[:, 2])
        t = (np.asarray(heights)[:, None] - begin[:, 2]) / rise
        run = (end - begin)[:, :2]
        points = begin[:, :2] + t[..., None] * run
        crossing = points[(t >= 0) & (t <= 1)]
        return crossing if len(crossing) >= 4 else self.corners[:, :2]

    def beams(self, origins: Floats, direction: Floats) -> Floats:
        """The stretch of parallel lines that the solid fills, by the slab method.

        Lines start at `origins` (k, 3) along the unit vector `direction` (3,). Those j that hit
        give (j, 2) metres from the start, begin and end.
        """
        boxes = self.boxes
        local = (origins - self.position) @ self.rotation
        offset = np.einsum("nji,knj->kni", boxes.axes, local[:, None] - boxes.centers)
        slope = np.einsum("nji,j->ni", boxes.axes, direction @ self.rotation)
        slope = _away_from_zero(slope)
        one = (-boxes.half_sizes - offset) / slope
        other = (boxes.half_sizes - offset) / slope
        enter = np.minimum(one, other).max(2)
        leave = np.maximum(one, other).min(2)
        hit = enter < leave
        begin = np.where(hit, enter, np.inf).min(1)
        end = np.where(hit, leave, -np.inf).max(1)
        filled: Floats = np.stack([begin, end], 1)
        return np.asarray(filled[hit.any(1)])


def _away_from_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) < _TINY, _TINY, values)
