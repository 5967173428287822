"""A second instance of a thing that is drawn and not simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MARGIN = 0.05
"""Metres by which the place may lie outside the rectangle that the things span."""

_NEAR = 1.0
"""Metres from the original within which a thing counts; hidden ones stand farther off."""

_COPIED = (
    "dataid", "objtype", "objid", "category", "matid", "texcoord", "segid", "emission", "specular", "shininess", "reflectance",
    "camdist", "modelrbound", "transparent",
)  # fmt: skip
"""What mjv_initGeom does not set, by name in mjvGeom."""


class RenderedCopy:
    """Draws a thing once more, at rest, in the freest place among the others; physics never hears of it.

    It lies there as the original lay when the episode's first picture was taken, so it does not follow when that is lifted.
    """

    def __init__(self, inner: Any, thing: str) -> None:
        """Take over the drawing of `inner`'s off-screen context until `remove`.

        Args:
            inner: LIBERO's environment (robosuite's, not its wrapper).
            thing: name of the object to draw again.
        """
        self._inner, self._thing = inner, thing
        self._model, self._data = inner.sim.model._model, inner.sim.data._data
        self._context = inner.sim._render_context_offscreen
        self._shapes: list[tuple[tuple[Any, ...], dict[str, Any]]] | None = None
        if self._context:
            self._context.render = self._render

    def remove(self) -> None:
        """Give the drawing back."""
        if self._context:
            del self._context.render

    def _render(self, width: int, height: int, camera_id: int, segmentation: bool = False) -> None:
        """robosuite's `MjRenderContext.render` for a fixed camera, with the second thing between updating the scene and drawing it."""
        import mujoco  # not above: `libero.load` must choose the GL backend first

        c, everything = self._context, mujoco.mjtCatBit.mjCAT_ALL
        c.cam.type, c.cam.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera_id
        mujoco.mjv_updateScene(self._model, self._data, c.vopt, c.pert, c.cam, everything, c.scn)
        if self._shapes is None:
            self._shapes = self._copies(c.scn)
        for shape, rest in self._shapes:
            geom = c.scn.geoms[c.scn.ngeom]
            mujoco.mjv_initGeom(geom, *shape)
            for name, value in rest.items():
                setattr(geom, name, value)
            c.scn.ngeom += 1
        mujoco.mjr_render(mujoco.MjrRect(0, 0, width, height), c.scn, c.con)

    def _copies(self, scene: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The thing's shapes in the scene as it is drawn now, moved to the free place."""
        import mujoco

        move = np.append(
            free_place(self._inner, self._thing)
            - self._data.xpos[self._inner.obj_body_id[self._thing]][:2],
            0,
        )
        found = []
        for geom in scene.geoms[: scene.ngeom]:
            if (
                geom.objtype == mujoco.mjtObj.mjOBJ_GEOM
                and self._model.geom_bodyid[geom.objid] in self._bodies()
            ):
                shape = (
                    geom.type,
                    geom.size.copy(),
                    geom.pos + move,
                    geom.mat.copy().ravel(),
                    geom.rgba.copy(),
                )
                found.append((shape, {name: getattr(geom, name) for name in _COPIED}))
        return found

    def _bodies(self) -> set[int]:
        """The thing's body and those that belong to it."""
        root = self._inner.obj_body_id[self._thing]
        return {root} | {
            b for b in range(root, self._model.nbody) if self._model.body_rootid[b] == root
        }


def free_place(inner: Any, thing: str) -> Floats:
    """(2,) metres, world frame: the place for another `thing` farthest from all others, in and close around the rectangle that they span."""
    model, data = inner.sim.model._model, inner.sim.data._data
    home = data.xpos[inner.obj_body_id[thing]]
    bodies = [
        b
        for b in inner.obj_body_id.values()
        if model.body_jntnum[b] and np.linalg.norm(data.xpos[b] - home) < _NEAR
    ]
    at, radius = data.xpos[bodies][:, :2], np.array([_radius(model, body) for body in bodies])
    axes = [
        np.arange(low, high, 0.01)
        for low, high in zip(at.min(0) - _MARGIN, at.max(0) + _MARGIN, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    clearance = (np.linalg.norm(grid[:, None] - at, axis=-1) - radius).min(1)
    return np.asarray(grid[clearance.argmax()])


def _radius(model: Any, body: int) -> float:
    """Metres around the body's origin that its shapes may reach."""
    shapes = np.flatnonzero(model.geom_bodyid == body)
    return float(
        (np.linalg.norm(model.geom_pos[shapes], axis=1) + model.geom_rbound[shapes]).max(
            initial=0.0
        )
    )
