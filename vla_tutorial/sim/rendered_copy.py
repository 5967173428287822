"""A second instance of an object that is drawn and not simulated."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vla_tutorial.arrays import Floats

_MARGIN = 0.05
"""Metres by which the place may lie outside the rectangle that the objects span."""

_NEAR = 1.0
"""Metres from the original within which an object counts; hidden ones stand farther off."""

_COPIED = (
    "dataid", "objtype", "objid", "category", "matid", "texcoord", "segid", "emission", "specular",
    "shininess", "reflectance", "camdist", "modelrbound", "transparent",
)  # fmt: skip
"""What mjv_initGeom does not set, by name in mjvGeom."""


class _Shape(NamedTuple):
    """One shape: arguments of mjv_initGeom, and the rest of mjvGeom (`_COPIED`) by name."""

    geometry: tuple[Any, ...]
    appearance: dict[str, Any]


class RenderedCopy:
    """Draws an object once more, in the freest place among the others; physics ignores the copy.

    It rests as the original lay in the episode's first picture, and stays when that is lifted.
    """

    def __init__(self, inner: Any, name: str) -> None:
        """Draw the object `name` twice in `inner`, robosuite's environment, until `remove`."""
        self._inner = inner
        self._name = name
        self._model = inner.sim.model._model
        self._data = inner.sim.data._data
        self._context = inner.sim._render_context_offscreen
        self._shapes: list[_Shape] | None = None
        if self._context:
            self._context.render = self._render

    def remove(self) -> None:
        """Give the drawing back to robosuite."""
        if self._context:
            del self._context.render

    def _render(self, width: int, height: int, camera_id: int, segmentation: bool = False) -> None:
        """robosuite's `MjRenderContext.render`; adds the copy between updating and drawing."""
        import mujoco  # not above: `libero.load` must choose the GL backend first

        c = self._context
        c.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        c.cam.fixedcamid = camera_id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, self._data, c.vopt, c.pert, c.cam, everything, c.scn)
        if self._shapes is None:
            self._shapes = self._copied_shapes(c.scn)
        for shape in self._shapes:
            geom = c.scn.geoms[c.scn.ngeom]
            mujoco.mjv_initGeom(geom, *shape.geometry)
            for name, value in shape.appearance.items():
                setattr(geom, name, value)
            c.scn.ngeom += 1
        mujoco.mjr_render(mujoco.MjrRect(0, 0, width, height), c.scn, c.con)

    def _copied_shapes(self, scene: Any) -> list[_Shape]:
        """The object's shapes in the scene as it is drawn now, moved to the free place."""
        import mujoco

        root = self._inner.obj_body_id[self._name]
        move = np.zeros(3)
        move[:2] = free_place(self._inner, self._name) - self._data.xpos[root][:2]
        of_root = self._model.body_rootid[self._model.geom_bodyid] == root
        found = []
        for geom in scene.geoms[: scene.ngeom]:
            if geom.objtype != mujoco.mjtObj.mjOBJ_GEOM or not of_root[geom.objid]:
                continue
            matrix = geom.mat.copy().ravel()
            geometry = (geom.type, geom.size.copy(), geom.pos + move, matrix, geom.rgba.copy())
            found.append(_Shape(geometry, {name: getattr(geom, name) for name in _COPIED}))
        return found


def free_place(inner: Any, name: str) -> Floats:
    """(2,) metres, world frame: where another instance of an object is farthest from all objects.

    It lies in the rectangle that the objects span, or close around it.
    """
    model = inner.sim.model._model
    data = inner.sim.data._data
    home = data.xpos[inner.obj_body_id[name]]
    movable = [body for body in inner.obj_body_id.values() if model.body_jntnum[body]]
    bodies = [body for body in movable if np.linalg.norm(data.xpos[body] - home) < _NEAR]
    at = data.xpos[bodies][:, :2]
    radius = np.array([reach(model, body) for body in bodies])
    low = at.min(0) - _MARGIN
    high = at.max(0) + _MARGIN
    x = np.arange(low[0], high[0], 0.01)
    y = np.arange(low[1], high[1], 0.01)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    distance = np.linalg.norm(grid[:, None] - at, axis=-1)
    clearance = (distance - radius).min(1)
    return np.asarray(grid[clearance.argmax()])


def reach(model: Any, body: int) -> float:
    """Metres around the body's origin that its shapes may reach; `body` is its number."""
    shapes = np.flatnonzero(model.geom_bodyid == body)
    extent = np.linalg.norm(model.geom_pos[shapes], axis=1) + model.geom_rbound[shapes]
    return float(extent.max(initial=0.0))
