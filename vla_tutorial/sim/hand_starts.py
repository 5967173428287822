"""Put the hand somewhere before an episode begins. Metres, radians, world frame."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
from numpy.random import Generator

from vla_tutorial.arrays import Floats
from vla_tutorial.sim.builder import ARM, FINGERS, HandBox, Settable, set_pose
from vla_tutorial.sim.rotations import norm, rotation_vector

_SITE = "gripper0_grip_site"


def start_wide(
    simulator: Settable, rng: Generator, box: HandBox, collides: Callable[[], bool]
) -> bool:
    """Put the hand anywhere in the box, turned and tilted a little, fingers somehow.

    It is turned by up to 0.5 rad from home and tilted by up to 0.15 rad. Ten places are tried. If
    the arm reaches none without colliding, the answer is False and nothing has changed.
    """
    before = simulator.data.qpos.copy()
    for _ in range(10):
        set_pose(simulator, before)
        yaw = np.pi / 2 + rng.uniform(-0.5, 0.5)
        tilt = rng.uniform(-0.15, 0.15, 2)
        position = rng.uniform(box.low, box.high)
        reached = _reach(simulator, position, _pointing_down(yaw, tilt))
        simulator.data.qpos[FINGERS] = rng.uniform(0, 0.04) * np.array([1, -1])
        if reached and not collides():
            return True
    set_pose(simulator, before)
    return False


def shake_arm(simulator: Settable, rng: Generator) -> None:
    """Turn each joint of the arm by a little, at most 0.03 … 0.12 rad.

    LIBERO's saved states differ from home by a standard deviation of 0.02 rad a joint.
    """
    simulator.data.qpos[ARM] += rng.uniform(-1, 1, 7) * rng.uniform(0.03, 0.12)


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
    low = model.jnt_range[ARM, 0] + 0.05
    high = model.jnt_range[ARM, 1] - 0.05
    jacobian = np.zeros((6, model.nv))
    for _ in range(40):
        mujoco.mj_forward(model, data)
        turn = rotation_vector(rotation @ data.site_xmat[site].reshape(3, 3).T)
        error = np.concatenate([position - data.site_xpos[site], turn])
        if norm(error[:3]) < 0.01 and norm(error[3:]) < 0.05:
            return True
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        arm = jacobian[:, ARM]
        step = arm.T @ np.linalg.solve(arm @ arm.T + 1e-3 * np.eye(6), error)
        data.qpos[ARM] = np.clip(data.qpos[ARM] + np.clip(step, -0.3, 0.3), low, high)
    return False
