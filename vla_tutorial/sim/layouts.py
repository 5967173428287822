"""Scenes that nobody saved: libero_object's things elsewhere, any of them the target, any arm pose.

The saved initial states are not read: they are kept for measuring. Metres, radians, world frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import mujoco
import numpy as np
from numpy.random import Generator

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import BASKET, pick_up_sentence
from vla_tutorial.sim.protocol import Task
from vla_tutorial.sim.rotations import norm, rotation_vector

SLOTS: Floats = np.array(
    [(-0.12, -0.24), (0.05, -0.10), (-0.15, 0.06), (0.10, -0.20), (0.15, 0.03), (-0.20, -0.08)]
)
"""(6, 2): where libero_object's samplers put things; the target stands at one of the first two."""

_FIELD_LOW = (-0.22, -0.28)
_FIELD_HIGH = (0.17, 0.10)
"""Corners of the rectangle for free placement, which the slots span."""

_HAND_LOW = (-0.25, -0.30, 0.08)
_HAND_HIGH = (0.18, 0.30, 0.40)
"""Corners of the box in which a wide start puts the hand."""

_SITE = "gripper0_grip_site"
_ARM = slice(0, 7)
_FINGERS = slice(7, 9)
_TRIES = 200


class Settable(Protocol):
    """What layouts need of a `Simulator`, which itself starts episodes with them."""

    task: Task
    model: Any
    data: Any
    bodies: Mapping[str, int]
    targets: tuple[str, ...]
    placement: Floats

    def reset(self, init: Floats, settle_steps: int) -> object:
        """As `Simulator.reset`."""


@dataclass(frozen=True)
class Layout:
    """Where an episode on libero_object begins, if its scene has a `layout_seed`.

    Attributes:
        state: (S,) float64, MuJoCo's time, qpos and qvel flattened, of the task's scene.
        target, instruction: the object to pick up ("milk_1"), and LIBERO's sentence for it.
        settle_steps: no-op control steps before the episode begins.
        wide: whether the hand starts somewhere else than at home.
    """

    state: Floats
    target: str
    instruction: str
    settle_steps: int
    wide: bool


def random_layout(simulator: Settable, seed: int) -> Layout:
    """A layout of the simulator's libero_object scene, the same for the same seed and task.

    30 % keep the task's own places, 40 % permute them, 30 % place freely; all are jittered. One
    start in three is wide. It takes 0.2 s the first time, then some milliseconds. It overwrites the
    simulator's state: reset after it.

    Raises:
        TutorialError: the scene has no basket, or no layout without collision was found.
    """
    task = simulator.task
    if BASKET not in simulator.bodies:
        raise TutorialError(
            f"{task.suite} task {task.index} has no basket; layouts need a scene of libero_object."
        )
    rng = np.random.default_rng([seed, task.index])
    kind = str(rng.choice(["own", "permuted", "free"], p=[0.3, 0.4, 0.3]))
    things = [name for name in simulator.bodies if name != BASKET]
    _place_without_collision(simulator, things, kind, rng)
    wide = bool(rng.random() < 0.35) and _start_wide(simulator, rng)
    if not wide:
        simulator.data.qpos[_ARM] += rng.uniform(-1, 1, 7) * rng.uniform(0.03, 0.12)
    own = kind == "own" and rng.random() < 0.5
    target = simulator.targets[0] if own else str(rng.choice(things))
    state = np.concatenate([[0.0], simulator.data.qpos, np.zeros(simulator.model.nv)])
    settle_steps = int(rng.integers(1, 11)) if wide else 10
    return Layout(state, target, pick_up_sentence(target), settle_steps, wide)


_rest: WeakKeyDictionary[Settable, Floats] = WeakKeyDictionary()


def _resting(simulator: Settable) -> Floats:
    """qpos (nq,) with every object settled where LIBERO's reset put it.

    It is rounded to 0.1 mm, so that it does not depend on the solver's last bits.
    """
    if simulator not in _rest:
        simulator.reset(simulator.placement, 10)
        rest = np.round(simulator.data.qpos, 4)
        rest[_ARM] = simulator.placement[1:][_ARM]
        _rest[simulator] = rest
    return _rest[simulator]


def _pose(simulator: Settable, qpos: Floats) -> None:
    simulator.data.qpos[:] = qpos
    simulator.data.qvel[:] = 0


def pose_column(simulator: Settable, name: str) -> int:
    """Where the seven numbers of an object's pose begin in qpos."""
    joint = simulator.model.body_jntadr[simulator.bodies[name]]
    return int(simulator.model.jnt_qposadr[joint])


def _place_without_collision(
    simulator: Settable, things: list[str], kind: str, rng: Generator
) -> None:
    rest = _resting(simulator)
    for _ in range(_TRIES):
        _pose(simulator, rest)
        _place(simulator, things, kind, rng)
        if not _collides(simulator):
            return
    raise TutorialError(f"No free layout of task {simulator.task.index} in {_TRIES} tries.")


def _place(simulator: Settable, things: list[str], kind: str, rng: Generator) -> None:
    qpos = simulator.data.qpos
    slots = rng.permutation(SLOTS)
    for name, slot in zip(things, slots, strict=True):
        start = pose_column(simulator, name)
        position = qpos[start : start + 2]
        if kind == "free":
            position[:] = rng.uniform(_FIELD_LOW, _FIELD_HIGH)
        elif kind == "permuted":
            position[:] = slot
        position += rng.uniform(-0.03, 0.03, 2)
        if rng.random() < 0.3:
            most = 0.3 if rng.random() < 0.8 else 0.8
            _turn(qpos[start + 3 : start + 7], rng.uniform(-most, most))
    start = pose_column(simulator, BASKET)
    qpos[start : start + 2] += rng.uniform(-0.03, 0.03, 2)


def _turn(quaternion: Floats, yaw: float) -> None:
    """Turn a pose's quaternion (4,) about the vertical, in place."""
    turn = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    mujoco.mju_mulQuat(quaternion, turn, quaternion.copy())


def _collides(simulator: Settable) -> bool:
    """Whether an object touches anything that can move: another object, the basket or the arm."""
    model = simulator.model
    mujoco.mj_forward(model, simulator.data)
    touching = model.geom_bodyid[simulator.data.contact.geom]
    is_thing = np.isin(model.body_rootid[touching], list(simulator.bodies.values()))
    moves = model.body_weldid[touching] != 0
    return bool((is_thing.any(1) & moves.all(1)).any())


def _start_wide(simulator: Settable, rng: Generator) -> bool:
    """Put the hand anywhere above the field, fingers somehow; False, unchanged, if none is free."""
    before = simulator.data.qpos.copy()
    for _ in range(10):
        _pose(simulator, before)
        yaw = np.pi / 2 + rng.uniform(-0.5, 0.5)
        tilt = rng.uniform(-0.15, 0.15, 2)
        position = rng.uniform(_HAND_LOW, _HAND_HIGH)
        reached = _reach(simulator, position, _pointing_down(yaw, tilt))
        simulator.data.qpos[_FINGERS] = rng.uniform(0, 0.04) * np.array([1, -1])
        if reached and not _collides(simulator):
            return True
    _pose(simulator, before)
    return False


def _pointing_down(yaw: float, tilt: Floats) -> Floats:
    """(3, 3) rotation of the grip site: approach axis down, finger axis at `yaw`, then tilted.

    `tilt` (2,) is a rotation vector about the world's x and y.
    """
    angle = np.hypot(tilt[0], tilt[1])
    axis = np.array([tilt[0], tilt[1], 0]) / max(angle, 1e-9)
    quaternion = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quaternion, axis, angle)
    tilted = np.zeros(9)
    mujoco.mju_quat2Mat(tilted, quaternion)
    c = np.cos(yaw)
    s = np.sin(yaw)
    down = np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])
    return np.asarray(tilted.reshape(3, 3) @ down)


def _reach(simulator: Settable, position: Floats, rotation: Floats) -> bool:
    """Whether damped least squares bring the grip site there, within 1 cm and 0.05 rad."""
    model = simulator.model
    data = simulator.data
    site = model.site(_SITE).id
    low = model.jnt_range[_ARM, 0] + 0.05
    high = model.jnt_range[_ARM, 1] - 0.05
    jacobian = np.zeros((6, model.nv))
    for _ in range(40):
        mujoco.mj_forward(model, data)
        turn = rotation_vector(rotation @ data.site_xmat[site].reshape(3, 3).T)
        error = np.concatenate([position - data.site_xpos[site], turn])
        if norm(error[:3]) < 0.01 and norm(error[3:]) < 0.05:
            return True
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        arm = jacobian[:, _ARM]
        step = arm.T @ np.linalg.solve(arm @ arm.T + 1e-3 * np.eye(6), error)
        data.qpos[_ARM] = np.clip(data.qpos[_ARM] + np.clip(step, -0.3, 0.3), low, high)
    return False
