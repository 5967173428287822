"""Apply a `scene.Perturbation` of the world or its camera for one episode, and undo it exactly."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import UNPERTURBED, Perturbation
from vla_tutorial.sim.rendered_copy import RenderedCopy

JOINT_NOISE_RAD = 0.01
"""For each arm joint; LIBERO's saved states differ by 0.06–0.12 (results/chapter_claims.json)."""

HIDING_PLACE = (6.0, 0.0)
"""Metres, world frame: hidden objects stand in a row, some five metres behind the camera."""

_FREE_JOINT = 0
"""mjJNT_FREE: the joint of an object that can be moved anywhere."""

_LEVEL = np.arange(256) / 255
_LINEAR = np.rint(
    255 * np.where(_LEVEL <= 0.04045, _LEVEL / 12.92, ((_LEVEL + 0.055) / 1.055) ** 2.4)
).astype(np.uint8)
"""(256,) sRGB → linear grey level (IEC 61966-2-1), as OpenGL reads textures of format GL_SRGB8."""


class Perturber:
    """Holds one simulator's model as it was, and the perturbation that is on.

    Attributes:
        now: the perturbation that is on, until `start` or `undo`.
    """

    def __init__(self, inner: Any, camera: str) -> None:
        """Remember the model of robosuite's environment; policies look through `camera`."""
        self._inner = inner
        self._model = model = inner.sim.model._model
        self._camera = model.camera(camera).id
        headlight = model.vis.headlight
        self._lamps = [model.light_ambient, model.light_diffuse, model.light_specular]
        self._lamps += [headlight.ambient, headlight.diffuse, headlight.specular]
        # Each is a view of MuJoCo's memory.
        self._changed = [model.cam_pos, model.cam_quat, model.geom_friction, *self._lamps]
        self._kept = [array.copy() for array in self._changed]
        self._control_timestep = inner.control_timestep
        self._textures: dict[int, Picture] = {}
        self._copy: RenderedCopy | None = None
        self._seed = 0
        self._frame = 0
        self.now = UNPERTURBED
        self._pivot = self._looked_at()

    def start(self, perturbation: Perturbation, state: Floats) -> Floats:
        """Undo what was on, turn `perturbation` on, and return the state to start in.

        `state` (S,) is where the episode would start: MuJoCo's time, qpos and qvel flattened.

        Raises:
            TutorialError: the scene has nothing that could be changed so.
        """
        self.undo()
        self.now = perturbation
        self._seed = zlib.crc32(state.tobytes())
        self._frame = 0
        if perturbation == UNPERTURBED:
            return state
        try:
            return self._apply(perturbation, state.copy())
        except TutorialError:
            self.undo()
            raise

    def settled(self) -> None:
        """Turn on what holds from the first action on. The robot's reset makes a new controller."""
        self._inner.control_timestep = 1 / self.now.control_rate
        self._inner.robots[0].controller.use_delta = not self.now.absolute_control

    def undo(self) -> None:
        """Make the model what it was when this was built, to the bit."""
        if self.now == UNPERTURBED:
            return
        for array, kept in zip(self._changed, self._kept, strict=True):
            array[:] = kept
        self._inner.control_timestep = self._control_timestep
        self._inner.robots[0].controller.use_delta = True
        for texture, pixels in self._textures.items():
            self._write_texture(texture, pixels)
        self._textures.clear()
        if self._copy:
            self._copy.remove()
        self._copy = None
        self.now = UNPERTURBED

    def picture(self, image: Picture) -> Picture:
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
        for lamp in self._lamps:
            lamp *= p.light
        self._model.geom_friction *= p.friction
        if p.srgb_textures:
            self._linearise_textures()
        if p.distractors != "as_saved":
            self._move_distractors(state, swap=p.distractors == "swapped")
        if p.joint_noise_seed:
            joints = 1 + np.asarray(self._inner.robots[0]._ref_joint_pos_indexes)
            rng = np.random.default_rng((p.joint_noise_seed, self._seed))
            state[joints] += rng.normal(0, JOINT_NOISE_RAD, len(joints))
        if p.second_can:
            self._copy = RenderedCopy(self._inner, self._movable_object_of_the_task())
        return state

    def _looked_at(self) -> Floats:
        """(3,) metres: where the camera's axis meets the height of the lowest object."""
        data = self._inner.sim.data._data
        position = data.cam_xpos[self._camera]
        forward = -data.cam_xmat[self._camera].reshape(3, 3)[:, 2]
        height = min((data.xpos[body][2] for body in self._inner.obj_body_id.values()), default=0.0)
        return np.asarray(position + forward * (height - position[2]) / forward[2])

    def _turn_camera(self, degrees: float) -> None:
        import mujoco  # not above: `libero.load` must choose the GL backend first

        half = np.radians(degrees) / 2
        turn = np.array([np.cos(half), 0, 0, np.sin(half)])
        position = self._model.cam_pos[self._camera]
        quaternion = self._model.cam_quat[self._camera]
        mujoco.mju_rotVecQuat(position, position - self._pivot, turn)
        position += self._pivot
        mujoco.mju_mulQuat(quaternion, turn, quaternion.copy())

    def _linearise_textures(self) -> None:
        model = self._model
        for texture in srgb_textures(self._inner):
            start = model.tex_adr[texture]
            pixels = model.tex_height[texture] * model.tex_width[texture]
            end = start + pixels * model.tex_nchannel[texture]
            self._textures[texture] = model.tex_data[start:end].copy()
            self._write_texture(texture, _LINEAR[self._textures[texture]])

    def _write_texture(self, texture: int, pixels: Picture) -> None:
        import mujoco  # not above: `libero.load` must choose the GL backend first

        start = self._model.tex_adr[texture]
        self._model.tex_data[start : start + len(pixels)] = pixels
        context = self._inner.sim._render_context_offscreen
        if context:
            context.gl_ctx.make_current()
            mujoco.mjr_uploadTexture(self._model, context.con, texture)

    def _movable_object_of_the_task(self) -> str:
        """Name of the first object of the task's sentence that can be moved."""
        named = self._inner.parsed_problem["obj_of_interest"]
        movable = free_positions(self._inner)
        for name in named:
            if name in movable:
                return str(name)
        about = ", ".join(named)
        raise TutorialError(f"Nothing in this task ({about}) can be moved. Choose another task.")

    def _move_distractors(self, state: Floats, swap: bool) -> None:
        named = self._inner.parsed_problem["obj_of_interest"]
        columns = free_positions(self._inner)
        starts = {name: 1 + start for name, start in columns.items() if name not in named}
        needed = 2 if swap else 1
        if len(starts) < needed:
            raise TutorialError(
                f"This scene has {len(starts)} distractors ({', '.join(starts) or 'none'}); "
                f"expected {needed} or more. Choose another task."
            )
        columns_xy = np.add.outer(list(starts.values()), (0, 1))
        new = HIDING_PLACE + np.arange(len(starts))[:, None] * (0.0, 0.5)
        if swap:
            new = np.roll(state[columns_xy], -1, axis=0)
        state[columns_xy] = new


def free_positions(inner: Any) -> Mapping[str, int]:
    """Name of each object that can be moved → where its position begins in qpos."""
    model = inner.sim.model._model
    found = {}
    for name, body in inner.obj_body_id.items():
        joint = model.body_jntadr[body]
        if model.body_jntnum[body] == 1 and model.jnt_type[joint] == _FREE_JOINT:
            found[name] = int(model.jnt_qposadr[joint])
    return found


def srgb_textures(inner: Any) -> tuple[int, ...]:
    """Numbers of the model's textures whose PNG file has an sRGB chunk.

    MuJoCo ≥ 3.3.3 uploads these as GL_SRGB8, so that OpenGL makes them linear. It lights them
    without going back, so they get darker. In libero_object these are the floor and some labels,
    the same as 3.3.3's own `tex_colorspace` says for all ten tasks.

    With them made linear here, the first picture differs from 3.3.3's by at most 0.42 grey levels
    on average (without: 36.6) and at most 4 anywhere. The means of floor and picture come within
    0.4 (results/perturbations.json). The rest is rounding, since OpenGL reads 8 bits first.
    """
    tagged = set()
    for element in inner.model.root.iter("texture"):
        file = element.get("file")
        if file and "srgb" in Image.open(file).info:
            tagged.add(element.get("name"))
    model = inner.sim.model._model
    return tuple(i for i in range(model.ntex) if model.texture(i).name in tagged)
