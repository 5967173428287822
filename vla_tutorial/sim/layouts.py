"""Scenes to practise on: libero_object's things somewhere else, any of them as the target, and the arm in many poses.

Nothing here reads the benchmark's saved initial states, which are kept for measuring. Metres, radians, world frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import pick_up_sentence
from vla_tutorial.sim.rotations import norm, rotation_vector

if TYPE_CHECKING:
    from vla_tutorial.sim.simulator import Simulator

Floats = NDArray[np.float64]

BASKET = "basket_1"
SLOTS: Floats = np.array(
    [(-0.12, -0.24), (0.05, -0.10), (-0.15, 0.06), (0.10, -0.20), (0.15, 0.03), (-0.20, -0.08)]
)
"""(6, 2): where libero_object's samplers put things; the target stands at one of the first two."""

_FIELD: Floats = np.array([(-0.22, -0.28), (0.17, 0.10)])
"""Corners (2, 2) of the rectangle for free placement, which the slots span."""

_HAND_FIELD: Floats = np.array([(-0.25, -0.30, 0.08), (0.18, 0.30, 0.40)])
"""Corners (2, 3) of the box in which a wide start puts the hand."""

_SITE = "gripper0_grip_site"
_ARM, _FINGERS = slice(0, 7), slice(7, 9)
_TRIES = 200


@dataclass(frozen=True)
class Layout:
    """Where an episode on libero_object begins. `Simulator.start` uses it where the scene has a `layout_seed`.

    Attributes:
        state: (S,) float64, MuJoCo's time, qpos and qvel flattened, of the task's scene.
        target: name of the object to pick up, for example "milk_1".
        instruction: LIBERO's sentence for this target.
        settle_steps: no-op control steps before the episode begins.
        wide: whether the hand starts somewhere else than at home.
    """

    state: Floats
    target: str
    instruction: str
    settle_steps: int
    wide: bool


def random_layout(simulator: Simulator, seed: int) -> Layout:
    """A layout of the simulator's libero_object scene, the same for the same seed and task.

    Takes 0.2 s the first time, then some milliseconds. It overwrites the simulator's state: reset after it. 30 % keep the task's own places, 40 % permute them, 30 % place freely; all are jittered. One start in three is wide.

    Raises:
        TutorialError: the scene has no basket, or no layout without collision was found.
    """
    if BASKET not in simulator.bodies:
        raise TutorialError(
            f"Layouts are made for libero_object's scenes; {simulator.task.suite} {simulator.task.index} has no basket."
        )
    rng = np.random.default_rng([seed, simulator.task.index])
    rest = _resting(simulator)
    kind = str(rng.choice(["own", "permuted", "free"], p=[0.3, 0.4, 0.3]))
    things = [name for name in simulator.bodies if name != BASKET]
    for _ in range(_TRIES):
        _pose(simulator, rest)
        _place(simulator, things, kind, rng)
        if not _collides(simulator):
            break
    else:
        raise TutorialError(f"No free layout of task {simulator.task.index} in {_TRIES} tries.")
    wide = bool(rng.random() < 0.35) and _start_wide(simulator, rng)
    if not wide:
        _jitter_arm(simulator, rng)
    own = kind == "own" and rng.random() < 0.5
    target = simulator.targets[0] if own else str(rng.choice(things))
    state = np.concatenate([[0.0], simulator.data.qpos, np.zeros(simulator.model.nv)])
    return Layout(
        state, target, pick_up_sentence(target), int(rng.integers(1, 11)) if wide else 10, wide
    )


_rest: WeakKeyDictionary[Simulator, Floats] = WeakKeyDictionary()


def _resting(simulator: Simulator) -> Floats:
    """qpos (nq,) with every object settled where LIBERO's reset put it, to 0.1 mm, so that it does not depend on the solver's last bits."""
    if simulator not in _rest:
        simulator.reset(simulator.placement, 10)
        _rest[simulator] = np.round(simulator.data.qpos, 4)
        _rest[simulator][_ARM] = simulator.placement[1:][_ARM]
    return _rest[simulator]


def _pose(simulator: Simulator, qpos: Floats) -> None:
    simulator.data.qpos[:], simulator.data.qvel[:] = qpos, 0


def pose_column(simulator: Simulator, name: str) -> int:
    """Where the seven numbers of an object's pose begin in qpos."""
    return int(simulator.model.jnt_qposadr[simulator.model.body_jntadr[simulator.bodies[name]]])


def _place(simulator: Simulator, things: list[str], kind: str, rng: np.random.Generator) -> None:
    qpos = simulator.data.qpos
    slots = rng.permutation(SLOTS)
    for name, slot in zip(things, slots, strict=True):
        a = pose_column(simulator, name)
        if kind == "free":
            qpos[a : a + 2] = rng.uniform(_FIELD[0], _FIELD[1])
        elif kind == "permuted":
            qpos[a : a + 2] = slot
        qpos[a : a + 2] += rng.uniform(-0.03, 0.03, 2)
        if rng.random() < 0.3:
            _turn(
                qpos[a + 3 : a + 7],
                rng.uniform(-0.3, 0.3) if rng.random() < 0.8 else rng.uniform(-0.8, 0.8),
            )
    a = pose_column(simulator, BASKET)
    qpos[a : a + 2] += rng.uniform(-0.03, 0.03, 2)


def _turn(quaternion: Floats, yaw: float) -> None:
    """Turn a pose's quaternion (4,) about the vertical, in place."""
    mujoco.mju_mulQuat(
        quaternion, np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]), quaternion.copy()
    )


def _collides(simulator: Simulator) -> bool:
    """Whether an object touches anything that can move: another object, the basket or the arm."""
    mujoco.mj_forward(simulator.model, simulator.data)
    touching = simulator.model.geom_bodyid[simulator.data.contact.geom]
    is_thing = np.isin(simulator.model.body_rootid[touching], list(simulator.bodies.values()))
    moves = simulator.model.body_weldid[touching] != 0
    return bool((is_thing.any(1) & moves.all(1)).any())


def _jitter_arm(simulator: Simulator, rng: np.random.Generator) -> None:
    simulator.data.qpos[_ARM] += rng.uniform(-1, 1, 7) * rng.uniform(0.03, 0.12)


def _start_wide(simulator: Simulator, rng: np.random.Generator) -> bool:
    """Put the hand anywhere above the field, turned and tilted a little, fingers somehow; False and no change when it finds no place."""
    before = simulator.data.qpos.copy()
    for _ in range(10):
        _pose(simulator, before)
        yaw, (tilt_x, tilt_y) = np.pi / 2 + rng.uniform(-0.5, 0.5), rng.uniform(-0.15, 0.15, 2)
        position = rng.uniform(_HAND_FIELD[0], _HAND_FIELD[1])
        reached = _reach(simulator, position, _pointing_down(yaw, tilt_x, tilt_y))
        simulator.data.qpos[_FINGERS] = rng.uniform(0, 0.04) * np.array([1, -1])
        if reached and not _collides(simulator):
            return True
    _pose(simulator, before)
    return False


def _pointing_down(yaw: float, tilt_x: float, tilt_y: float) -> Floats:
    """(3, 3) of the grip site: approach axis down, finger axis at `yaw`, then tilted about world x and y."""
    c, s = np.cos(yaw), np.sin(yaw)
    tilt, out = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(
        tilt,
        np.array([tilt_x, tilt_y, 0]) / max(np.hypot(tilt_x, tilt_y), 1e-9),
        np.hypot(tilt_x, tilt_y),
    )
    mujoco.mju_quat2Mat(out, tilt)
    return np.asarray(out.reshape(3, 3) @ np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]]))


def _reach(simulator: Simulator, position: Floats, rotation: Floats) -> bool:
    """Solve for arm joints that bring the grip site there (damped least squares); whether it came within 1 cm and 0.05 rad."""
    model, data = simulator.model, simulator.data
    site, limits = model.site(_SITE).id, model.jnt_range[_ARM]
    jacobian = np.zeros((6, model.nv))
    for _ in range(40):
        mujoco.mj_forward(model, data)
        error = np.concatenate(
            [
                position - data.site_xpos[site],
                rotation_vector(rotation @ data.site_xmat[site].reshape(3, 3).T),
            ]
        )
        if norm(error[:3]) < 0.01 and norm(error[3:]) < 0.05:
            return True
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        arm = jacobian[:, _ARM]
        step = arm.T @ np.linalg.solve(arm @ arm.T + 1e-3 * np.eye(6), error)
        data.qpos[_ARM] = np.clip(
            data.qpos[_ARM] + np.clip(step, -0.3, 0.3), limits[:, 0] + 0.05, limits[:, 1] - 0.05
        )
    return False
