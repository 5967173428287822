"""Change the simulated world or its camera for one episode, and undo it exactly. What can be changed: `scene.Perturbation`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import UNPERTURBED, Perturbation
from vla_tutorial.sim.rendered_copy import RenderedCopy

Floats = NDArray[np.float64]

NUDGE_RAD = 0.01
"""Standard deviation of a nudge in each arm joint. LIBERO's saved initial states differ by 0.06–0.12 rad (results/chapter_claims.json)."""

HIDING_PLACE = (6.0, 0.0)
"""Metres, world frame: where hidden things stand in a row, some five metres behind the camera."""

_CHANGED = (
    "cam_pos",
    "cam_quat",
    "light_ambient",
    "light_diffuse",
    "light_specular",
    "geom_friction",
)
_HEADLIGHT = ("ambient", "diffuse", "specular")

_LEVEL = np.arange(256) / 255
_LINEAR = np.rint(
    255 * np.where(_LEVEL <= 0.04045, _LEVEL / 12.92, ((_LEVEL + 0.055) / 1.055) ** 2.4)
).astype(np.uint8)
"""(256,) sRGB grey level → linear grey level (IEC 61966-2-1): what OpenGL does when it samples a texture of format GL_SRGB8."""


class Perturber:
    """Holds one simulator's model as it was and the perturbation that is on.

    Attributes:
        now: the perturbation that is on.
    """

    def __init__(self, inner: Any, camera: str) -> None:
        """Remember the model.

        Args:
            inner: LIBERO's environment (robosuite's, not its wrapper).
            camera: name of the camera that policies look through.
        """
        self._inner, self._model = inner, inner.sim.model._model
        self._camera = self._model.camera(camera).id
        self._kept = {name: getattr(self._model, name).copy() for name in _CHANGED}
        self._headlight = {
            name: getattr(self._model.vis.headlight, name).copy() for name in _HEADLIGHT
        }
        self._textures: dict[int, NDArray[np.uint8]] = {}
        self._ghost: RenderedCopy | None = None
        self._seed, self._frame = 0, 0
        self.now = UNPERTURBED
        self._pivot = self._looked_at()

    def start(self, perturbation: Perturbation, state: Floats) -> Floats:
        """Undo what was on and turn `perturbation` on.

        Args:
            state: (S,) MuJoCo's time, qpos and qvel flattened, in which the episode is about to start.

        Returns:
            The state (S,) to start in instead.

        Raises:
            TutorialError: the scene has nothing that could be changed so.
        """
        self.undo()
        self.now, self._seed, self._frame = perturbation, zlib.crc32(state.tobytes()), 0
        if perturbation == UNPERTURBED:
            return state
        try:
            return self._apply(perturbation, state.copy())
        except TutorialError:
            self.undo()
            raise

    def undo(self) -> None:
        """Make the model what it was when this was built, to the bit."""
        if self.now == UNPERTURBED:
            return
        for name, value in self._kept.items():
            getattr(self._model, name)[:] = value
        for name, value in self._headlight.items():
            getattr(self._model.vis.headlight, name)[:] = value
        for texture, pixels in self._textures.items():
            self._write_texture(texture, pixels)
        self._textures.clear()
        if self._ghost:
            self._ghost.remove()
        self._ghost, self.now = None, UNPERTURBED

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The camera's next picture (H, W, 3), with noise where that is on."""
        self._frame += 1
        if not self.now.camera_noise:
            return image
        rng = np.random.default_rng((self._seed, self._frame))
        noise = rng.standard_normal(image.shape, np.float32)
        noise *= np.float32(self.now.camera_noise)
        noise += image
        np.clip(np.rint(noise, out=noise), 0, 255, out=noise)
        return noise.astype(np.uint8)

    def _apply(self, p: Perturbation, state: Floats) -> Floats:
        if p.camera_degrees:
            self._turn_camera(p.camera_degrees)
        if p.light != 1:
            self._dim(p.light)
        if p.friction != 1:
            self._model.geom_friction *= p.friction
        if p.srgb_textures:
            self._linearise_textures()
        if p.distractors != "as_saved":
            self._move_distractors(state, swap=p.distractors == "swapped")
        if p.nudge:
            joints = 1 + np.asarray(self._inner.robots[0]._ref_joint_pos_indexes)
            state[joints] += np.random.default_rng((p.nudge, self._seed)).normal(
                0, NUDGE_RAD, len(joints)
            )
        if p.second_can:
            self._ghost = RenderedCopy(self._inner, self._wanted())
        return state

    def _looked_at(self) -> Floats:
        """(3,) where the camera's axis meets the height of the lowest thing, in metres."""
        data = self._inner.sim.data._data
        position, forward = (
            data.cam_xpos[self._camera],
            -data.cam_xmat[self._camera].reshape(3, 3)[:, 2],
        )
        height = min((data.xpos[body][2] for body in self._inner.obj_body_id.values()), default=0.0)
        return np.asarray(position + forward * (height - position[2]) / forward[2])

    def _turn_camera(self, degrees: float) -> None:
        import mujoco  # not above: `libero.load` must choose the GL backend first

        half = np.radians(degrees) / 2
        turn, position, quaternion = (
            np.array([np.cos(half), 0, 0, np.sin(half)]),
            np.zeros(3),
            np.zeros(4),
        )
        mujoco.mju_rotVecQuat(position, self._kept["cam_pos"][self._camera] - self._pivot, turn)
        mujoco.mju_mulQuat(quaternion, turn, self._kept["cam_quat"][self._camera])
        self._model.cam_pos[self._camera], self._model.cam_quat[self._camera] = (
            self._pivot + position,
            quaternion,
        )

    def _dim(self, share: float) -> None:
        for name in ("light_ambient", "light_diffuse", "light_specular"):
            getattr(self._model, name)[:] *= share
        for name in _HEADLIGHT:
            getattr(self._model.vis.headlight, name)[:] *= share

    def _linearise_textures(self) -> None:
        for texture in srgb_textures(self._inner):
            start = self._model.tex_adr[texture]
            size = (
                self._model.tex_height[texture]
                * self._model.tex_width[texture]
                * self._model.tex_nchannel[texture]
            )
            self._textures[texture] = self._model.tex_data[start : start + size].copy()
            self._write_texture(texture, _LINEAR[self._textures[texture]])

    def _write_texture(self, texture: int, pixels: NDArray[np.uint8]) -> None:
        import mujoco  # not above: `libero.load` must choose the GL backend first

        start = self._model.tex_adr[texture]
        self._model.tex_data[start : start + len(pixels)] = pixels
        if context := self._inner.sim._render_context_offscreen:
            context.gl_ctx.make_current()
            mujoco.mjr_uploadTexture(self._model, context.con, texture)

    def _wanted(self) -> str:
        """Name of the thing that the task speaks of first and that can be moved."""
        spoken_of = self._inner.parsed_problem["obj_of_interest"]
        for name in spoken_of:
            if name in free_positions(self._inner):
                return str(name)
        raise TutorialError(
            f"Of what this task speaks of ({', '.join(spoken_of)}), nothing could lie there twice. Choose another task."
        )

    def _move_distractors(self, state: Floats, swap: bool) -> None:
        spoken_of = self._inner.parsed_problem["obj_of_interest"]
        places = {
            name: 1 + start
            for name, start in free_positions(self._inner).items()
            if name not in spoken_of
        }
        if len(places) < (2 if swap else 1):
            raise TutorialError(
                f"This scene has {len(places)} things that its task does not speak of ({', '.join(places) or 'none'}); "
                f"expected {'two' if swap else 'one'} at least. Choose another task, or leave the distractors as they are."
            )
        starts = list(places.values())
        old = np.array([state[start : start + 2] for start in starts])
        row = HIDING_PLACE + np.arange(len(starts))[:, None] * (0.0, 0.5)
        for start, place in zip(starts, np.roll(old, -1, axis=0) if swap else row, strict=True):
            state[start : start + 2] = place


def free_positions(inner: Any) -> Mapping[str, int]:
    """Name of each thing that can be moved → where its position begins in qpos."""
    model, free = inner.sim.model._model, 0  # mjJNT_FREE
    joints = {
        name: model.body_jntadr[body]
        for name, body in inner.obj_body_id.items()
        if model.body_jntnum[body] == 1
    }
    return {
        name: int(model.jnt_qposadr[joint])
        for name, joint in joints.items()
        if model.jnt_type[joint] == free
    }


def srgb_textures(inner: Any) -> tuple[int, ...]:
    """Numbers of the model's textures whose PNG file has an sRGB chunk.

    MuJoCo ≥ 3.3.3 uploads these as GL_SRGB8, so that OpenGL makes them linear, and lights them without going back: they get darker. In
    libero_object these are the floor and some labels, the same as 3.3.3's own `tex_colorspace` says for all ten tasks. With them made linear
    here, the first picture differs from 3.3.3's by at most 0.42 grey levels on average (without: 36.6), at most 4 anywhere; the floor's and
    the picture's mean come within 0.4 (results/perturbations.json). What is left is rounding: OpenGL makes texels linear after reading 8 bits.
    """
    elements = {
        e.get("name"): e.get("file") for e in inner.model.root.iter("texture") if e.get("file")
    }
    tagged = {name for name, file in elements.items() if "srgb" in Image.open(file).info}
    model = inner.sim.model._model
    return tuple(i for i in range(model.ntex) if model.texture(i).name in tagged)
