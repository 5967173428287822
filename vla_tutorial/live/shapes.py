"""Boxes and planes as triangles, cut as MuJoCo's renderer cuts them: light falls on vertices."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.live.meshes import Mesh, joined

MOST_LINES = 200
"""Lines of a plane's grid along one axis (render_context.c)."""

_FACES = (
    (0, 1, 2, 1), (1, 0, 2, -1),
    (1, 2, 0, 1), (2, 1, 0, -1),
    (2, 0, 1, 1), (0, 2, 1, -1),
)  # fmt: skip
"""Of a box: the axes of columns and rows, which turn counterclockwise seen from outside, the axis
of the normal, and the side."""


def of(model: Any, geom: int) -> Mesh:
    """The mesh of a box or a finite plane, with texture coordinates, in the geom's frame.

    Raises:
        TutorialError: it is of another type.
    """
    import mujoco  # not above: `libero.load` must choose the GL backend first

    kind = int(model.geom_type[geom])
    size = np.array(model.geom_size[geom])
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        quads, normals = _box(int(model.vis.quality.numquads))
        texture = _texture(model, geom, quads, size, box=True)
        return _triangles(quads * size, normals, texture)
    if kind == mujoco.mjtGeom.mjGEOM_PLANE and size[:2].min() > 0:
        quads, normals = _plane(size)
        texture = _texture(model, geom, quads, size, box=False)
        return _triangles(quads, normals, texture)
    raise TutorialError(
        f"{model.geom(geom).name} is of MuJoCo's geom type {kind}; the page draws meshes, boxes "
        "and finite planes. Choose another suite: libero_object."
    )


def _triangles(quads: Floats, normals: Floats, texture: Floats) -> Mesh:
    """Each quad (Q, 4, …) as two triangles."""
    cut = [0, 1, 2, 0, 2, 3]
    return joined(
        quads[:, cut].reshape(-1, 3, 3),
        normals[:, cut].reshape(-1, 3, 3),
        texture[:, cut].reshape(-1, 3, 2),
        textured=True,
        exact=True,
    )


def _box(cells: int) -> tuple[Floats, Floats]:
    """Corners and normals, (6 · cells², 4, 3), of a box from −1 to 1."""
    lines = np.linspace(-1, 1, cells + 1)
    flat = _grid(lines, lines)
    quads = []
    normals = []
    for column, row, axis, side in _FACES:
        face = np.empty((*flat.shape[:2], 3))
        face[..., column] = flat[..., 0]
        face[..., row] = flat[..., 1]
        face[..., axis] = side
        quads.append(face)
        normal = np.zeros_like(face)
        normal[..., axis] = side
        normals.append(normal)
    return np.concatenate(quads), np.concatenate(normals)


def _plane(size: Floats) -> tuple[Floats, Floats]:
    """Corners and normals of a plane: half sizes in x and y, and half of its lines' distance."""
    flat = _grid(_lines(size[0], 2 * size[2]), _lines(size[1], 2 * size[2]))
    quads = np.zeros((*flat.shape[:2], 3))
    quads[..., :2] = flat
    normals = np.zeros_like(quads)
    normals[..., 2] = 1
    return quads, normals


def _lines(half: float, distance: float) -> Floats:
    """Where the grid's lines stand between −half and half; the first and last cell are the rest."""
    inside = min(int(np.floor(half / distance)), MOST_LINES // 2)
    lines = np.arange(-inside, inside + 1) * distance
    return np.unique(np.round(np.array([-half, *lines, half]), 9))


def _grid(x: Floats, y: Floats) -> Floats:
    """(Q, 4, 2) corners of every cell, counterclockwise."""
    low_x, low_y = (a.ravel() for a in np.meshgrid(x[:-1], y[:-1], indexing="ij"))
    high_x, high_y = (a.ravel() for a in np.meshgrid(x[1:], y[1:], indexing="ij"))
    columns = np.stack([low_x, high_x, high_x, low_x], -1)
    rows = np.stack([low_y, low_y, high_y, high_y], -1)
    return np.stack([columns, rows], -1)


def _texture(model: Any, geom: int, corners: Floats, size: Floats, box: bool) -> Floats:
    """(Q, 4, 2) coordinates that OpenGL generates from x and y: 0.5 · scale · x − 0.5.

    A box's x and y go from −1 to 1, a plane's are metres (MuJoCo's engine_vis and render_gl3).
    """
    material = int(model.geom_matid[geom])
    scale = np.ones(2)
    if material >= 0:
        scale = np.array(model.mat_texrepeat[material], np.float64)
        if model.mat_texuniform[material]:
            scale *= size[:2]
    if not box:
        scale /= size[:2]
    return corners[..., :2] * scale * (0.5, -0.5) - 0.5
