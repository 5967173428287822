"""The collision boxes of a scene, body by body: of things, of their drawers and doors, of tables.

A fixture such as a cabinet is several bodies with joints between them. Each body's boxes are kept
in that body's frame and read where the body is now, so open drawers stand where they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_tutorial.arrays import Bools, Floats
from vla_tutorial.policies.expert.geometry import Boxes, Solid, rotation_from_quaternion

if TYPE_CHECKING:
    import mujoco

TABLE = "table"
"""Name of all that is neither robot nor floor nor one of the scene's things."""

# Poses are rounded to this (0.1 mm, 0.1 mrad) where plans are kept, as resting things tremble.
_POSE_GRID = 1e-4
_ROBOT = ("robot", "gripper", "mount")
_ORIGIN = np.zeros(3)
_UPRIGHT = np.eye(3)


@dataclass(frozen=True)
class Part:
    """The boxes of one body."""

    # The thing that the body belongs to, or `TABLE`.
    owner: str
    # MuJoCo's body id.
    body: int
    # In the body's frame.
    boxes: Boxes


@dataclass(frozen=True)
class Parts:
    """Every colliding body of a model but the robot and the floor."""

    parts: tuple[Part, ...]
    # (p,) body ids of the parts.
    bodies: list[int] = field(repr=False)

    @classmethod
    def from_model(cls, model: mujoco.MjModel, things: Mapping[str, int]) -> Parts:
        """Group the colliding geoms of a model by their body."""
        owners = {body: name for name, body in things.items()}
        geoms: dict[int, list[int]] = {}
        for geom in np.flatnonzero(model.geom_contype | model.geom_conaffinity):
            body = int(model.geom_bodyid[geom])
            is_floor = model.geom_type[geom] == 0
            if not is_floor and not _is_robot(model, body):
                geoms.setdefault(body, []).append(int(geom))
        parts = []
        for body, mine in geoms.items():
            owner = owners.get(int(model.body_rootid[body]), TABLE)
            parts.append(Part(owner, body, _boxes(model, mine)))
        return cls(tuple(parts), [part.body for part in parts])

    def rounded_poses(self, data: Any) -> Floats:
        """(p, 7) position and quaternion of every part, on 0.1 mm and 0.1 mrad."""
        poses: Floats = np.concatenate([data.xpos[self.bodies], data.xquat[self.bodies]], 1)
        return np.round(poses / _POSE_GRID) * _POSE_GRID

    def solids(self, poses: Floats) -> dict[str, Solid]:
        """Every thing, and the table, at the given (p, 7) poses."""
        pieces: dict[str, list[Solid]] = {}
        for part, pose in zip(self.parts, poses, strict=True):
            solid = Solid(part.boxes, pose[:3], rotation_from_quaternion(pose[3:]))
            pieces.setdefault(part.owner, []).append(solid)
        return {name: join(solids) for name, solids in pieces.items()}

    def solid(self, data: Any, name: str) -> Solid:
        """One thing where it is now."""
        mine = [part for part in self.parts if part.owner == name]
        pieces = []
        for part in mine:
            rotation = data.xmat[part.body].reshape(3, 3).copy()
            pieces.append(Solid(part.boxes, data.xpos[part.body].copy(), rotation))
        return join(pieces)


def join(solids: list[Solid]) -> Solid:
    """One solid of several bodies; a single one stays in its own frame."""
    if len(solids) == 1:
        return solids[0]
    centers = [s.boxes.centers @ s.rotation.T + s.position for s in solids]
    axes = [s.rotation @ s.boxes.axes for s in solids]
    boxes = Boxes(
        np.concatenate(centers),
        np.concatenate(axes),
        np.concatenate([s.boxes.half_sizes for s in solids]),
        np.concatenate([s.corners for s in solids]),
    )
    return Solid(boxes, _ORIGIN, _UPRIGHT)


def _is_robot(model: mujoco.MjModel, body: int) -> bool:
    root: str = model.body(int(model.body_rootid[body])).name
    return root.startswith(_ROBOT)


def _boxes(model: mujoco.MjModel, geoms: list[int]) -> Boxes:
    """Bounding boxes of geoms of one body, in that body's frame; boxes are their own."""
    axes = np.array([rotation_from_quaternion(model.geom_quat[geom]) for geom in geoms])
    offsets = np.einsum("nij,nj->ni", axes, model.geom_aabb[geoms, :3])
    return Boxes.of(model.geom_pos[geoms] + offsets, axes, model.geom_aabb[geoms, 3:].copy())


@dataclass(frozen=True)
class Obstacles:
    """Boxes of several solids as upright columns: what a hand from above may hit.

    Each box is taken as the rectangle that its shadow fills along its own horizontal axes, and as
    filled from its lowest to its highest corner.
    """

    # (n, 2) metres, world.
    centers: Floats
    # (n, 2) unit vectors along the rectangle's first side; the second is 90° to its left.
    sides: Floats
    # (n, 2) metres.
    half_sizes: Floats
    # (n,) metres.
    bottoms: Floats
    tops: Floats

    @classmethod
    def of(cls, solids: list[Solid]) -> Obstacles:
        """Columns around all boxes of these solids."""
        axes = np.concatenate([s.rotation @ s.boxes.axes for s in solids]).reshape(-1, 3, 3)
        corners = np.concatenate([s.corners for s in solids]).reshape(-1, 8, 3)
        # The box's axis that lies flattest gives the direction.
        flattest = np.abs(axes[:, 2, :]).argmin(1)
        flat = axes[np.arange(len(axes)), :2, flattest]
        sides = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        left = np.stack([-sides[:, 1], sides[:, 0]], 1)
        along = np.einsum("nkj,nj->nk", corners[:, :, :2], sides)
        across = np.einsum("nkj,nj->nk", corners[:, :, :2], left)
        middle_along = (along.max(1) + along.min(1)) / 2
        middle_across = (across.max(1) + across.min(1)) / 2
        centers = middle_along[:, None] * sides + middle_across[:, None] * left
        half = np.stack([np.ptp(along, axis=1), np.ptp(across, axis=1)], 1) / 2
        heights = corners[:, :, 2]
        return cls(centers, sides, half, heights.min(1), heights.max(1))

    def select(self, keep: Bools) -> Obstacles:
        """Those where `keep` (n,) is true."""
        return Obstacles(
            self.centers[keep],
            self.sides[keep],
            self.half_sizes[keep],
            self.bottoms[keep],
            self.tops[keep],
        )

    def depth(self, centers: Floats, sides: Floats, half_size: tuple[float, float]) -> Floats:
        """(c, n) metres that rectangles at `centers` (c, 2) along `sides` (c, 2) overlap each box.

        The least over the four directions of the two rectangles' sides; negative where apart.
        """
        offset = centers[:, None] - self.centers
        cosine = np.abs(sides @ self.sides.T)
        sine = np.abs(sides[:, :1] * self.sides[:, 1] - sides[:, 1:] * self.sides[:, 0])
        a, b = half_size
        p, q = self.half_sizes.T
        along_mine = np.abs(np.einsum("cnj,cj->cn", offset, sides))
        across_mine = np.abs(np.einsum("cnj,cj->cn", offset, _left(sides)))
        along_its = np.abs(np.einsum("cnj,nj->cn", offset, self.sides))
        across_its = np.abs(np.einsum("cnj,nj->cn", offset, _left(self.sides)))
        overlaps = [
            a + p * cosine + q * sine - along_mine,
            b + p * sine + q * cosine - across_mine,
            p + a * cosine + b * sine - along_its,
            q + a * sine + b * cosine - across_its,
        ]
        least: Floats = np.minimum.reduce(overlaps)
        return least

    def ways_out(self, center: Floats, radius: float) -> tuple[Floats, Floats]:
        """How far a disc at `center` (2,) is inside each rectangle, from each of its four sides.

        The disc is taken as a square along the rectangle's sides. Gives metres (n, 4), negative
        where apart, and the unit vectors (n, 4, 2) that lead out.
        """
        offset = center - self.centers
        left = _left(self.sides)
        along = (offset * self.sides).sum(1)
        across = (offset * left).sum(1)
        one, other = (self.half_sizes + radius).T
        depths = np.stack([one - along, one + along, other - across, other + across], 1)
        return depths, np.stack([self.sides, -self.sides, left, -left], 1)


def _left(vectors: Floats) -> Floats:
    """(n, 2) turned by 90°."""
    return np.stack([-vectors[:, 1], vectors[:, 0]], 1)
