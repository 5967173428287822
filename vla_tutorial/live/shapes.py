"""Primitive shapes as triangles, cut as MuJoCo's renderer cuts them: light falls on vertices."""

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
    """The mesh of a primitive shape, with texture coordinates, in the geom's frame.

    Raises:
        TutorialError: it is of a type that the page does not draw.
    """
    import mujoco  # not above: `libero.load` must choose the GL backend first

    kind = int(model.geom_type[geom])
    size = np.array(model.geom_size[geom])
    cells = int(model.vis.quality.numquads)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        quads, normals = _box(cells)
        texture = generated(model, int(model.geom_matid[geom]), quads, size, scaled=True)
        return _triangles(quads * size, normals, texture)
    if kind == mujoco.mjtGeom.mjGEOM_PLANE and size[:2].min() > 0:
        quads, normals = _plane(size)
        texture = generated(model, int(model.geom_matid[geom]), quads, size, scaled=False)
        return _triangles(quads, normals, texture)
    if kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        capsule = kind == mujoco.mjtGeom.mjGEOM_CAPSULE
        return _round(model, int(model.geom_matid[geom]), size[0], size[1], capsule)
    raise TutorialError(
        f"{model.geom(geom).name} is of MuJoCo's geom type {kind}; the page draws meshes, boxes, "
        "cylinders, capsules and finite planes. Choose another suite: libero_object."
    )


def site(model: Any, number: int) -> Mesh:
    """The mesh of a site that is a cylinder; raises as `of` if it is none."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    size = model.site_size[number]
    if int(model.site_type[number]) == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return _round(model, int(model.site_matid[number]), size[0], size[1], capsule=False)
    raise TutorialError(
        f"{model.site(number).name} is a site of MuJoCo's geom type {model.site_type[number]}; "
        "the page draws cylinders alone. Choose another suite: libero_object."
    )


def _triangles(quads: Floats, normals: Floats, texture: Floats) -> Mesh:
    """Each quad (Q, 4, …) as two triangles."""
    # Mesa cuts quads along this diagonal, and light differs between their corners.
    cut = [0, 1, 3, 1, 2, 3]
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


def _round(model: Any, material: int, radius: float, half: float, capsule: bool) -> Mesh:
    """A closed cylinder along z, or one that half spheres close (render_context.c).

    Args:
        radius, half: metres; half of the length without the half spheres.
    """
    slices = int(model.vis.quality.numslices)
    stacks = int(model.vis.quality.numstacks)
    angles = np.linspace(0, 2 * np.pi, slices + 1)
    heights = np.linspace(-1, 1, stacks + 1)
    size = np.array([radius, radius, half])
    flat = _grid(angles, heights)
    side = np.stack([np.cos(flat[..., 0]), np.sin(flat[..., 0]), flat[..., 1]], -1)
    outwards = side * (1, 1, 0)
    parts = [(side * size, outwards, side)]
    for end in (-1, 1):
        lid = _half_sphere if capsule else _disk
        parts.append(lid(end, angles, stacks // 2, size))
    metres, normals, points = (np.concatenate(part) for part in zip(*parts, strict=True))
    texture = generated(model, material, points, size, scaled=True)
    return _triangles(metres, normals, texture)


def _disk(end: int, angles: Floats, rings: int, size: Floats) -> tuple[Floats, Floats, Floats]:
    """Corners in metres, normals, and corners before scaling, (Q, 4, 3), of a cylinder's lid."""
    flat = _grid(np.linspace(0, 1, rings + 1), angles)
    radius = flat[..., 0]
    points = np.stack([radius * np.cos(flat[..., 1]), radius * np.sin(flat[..., 1])], -1)
    points = np.concatenate([points, np.full_like(radius, end)[..., None]], -1)
    normals = np.zeros_like(points)
    normals[..., 2] = end
    points = points[:, ::end]
    return points * size, normals, points


def _half_sphere(
    end: int, angles: Floats, rings: int, size: Floats
) -> tuple[Floats, Floats, Floats]:
    """As `_disk`, of a capsule's end. MuJoCo puts it 1 further out before it scales it."""
    flat = _grid(np.linspace(np.pi / 2, 0, rings + 1), angles)
    level = np.cos(flat[..., 0])
    normals = np.stack(
        [level * np.cos(flat[..., 1]), level * np.sin(flat[..., 1]), end * np.sin(flat[..., 0])],
        -1,
    )[:, ::end]
    outwards = np.array([0, 0, end])
    return normals * size[0] + outwards * size[2], normals, normals + outwards


def generated(model: Any, material: int, points: Floats, size: Floats, scaled: bool) -> Floats:
    """(Q, corners, 2) coordinates that OpenGL generates from where corners are (render_gl3.c).

    Args:
        material: its number, −1 for none.
        points: (Q, corners, 3) as MuJoCo hands them to OpenGL: before it scales them by `size`
            where `scaled`, else in metres.
        size: (3,) of the geom as it is drawn.
    """
    import mujoco  # not above: `libero.load` must choose the GL backend first

    if material < 0:
        return _flat(points, np.ones(2) if scaled else 1 / size[:2])
    uniform = bool(model.mat_texuniform[material])
    texture = int(model.mat_texid[material][mujoco.mjtTextureRole.mjTEXROLE_RGB])
    if texture >= 0 and model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_CUBE:
        return _on_cube(points * size if uniform else points)
    scale = np.array(model.mat_texrepeat[material], np.float64)
    if not scaled:
        scale /= size[:2]
    if uniform:
        scale *= size[:2]
    return _flat(points, scale)


def with_coordinates(model: Any, material: int, mesh: Mesh, size: Floats) -> Mesh:
    """A mesh that has none of its own, with those that OpenGL generates for it; see `generated`."""
    triangles = mesh.positions[mesh.corners]
    texture = generated(model, material, triangles, size, scaled=False)
    return joined(triangles, mesh.normals[mesh.corners], texture, textured=True)


def _flat(points: Floats, scale: Floats) -> Floats:
    return points[..., :2] * scale * (0.5, -0.5) - 0.5


def _on_cube(points: Floats) -> Floats:
    """Where the direction to each point meets a cube's face, in that face's picture.

    All faces show one picture. A polygon (row) takes the face that its centre looks at: one that
    reaches around an edge is drawn with that face's picture a little beyond it.
    """
    centre = points.mean(1)
    axis = np.abs(centre).argmax(1)
    rows = np.arange(len(points))
    side = np.where(centre[rows, axis] >= 0, 1.0, -1.0)[:, None]
    x, y, z = np.moveaxis(points, -1, 0)
    along = np.take_along_axis(points, axis[:, None, None], 2)[..., 0] * side
    along = np.maximum(along, 1e-9)
    # OpenGL 2.1, table 3.20.
    column = np.choose(axis[:, None], [-side * z, x, side * x])
    row = np.choose(axis[:, None], [-y, side * z, -y])
    return np.clip(np.stack([column, row], -1) / along[..., None], -1, 1) / 2 + 0.5
