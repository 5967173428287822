"""robosuite's control step without the work that it does twice: the same numbers, bit for bit, in half the time.

For each of the 25 physics steps in a control step robosuite calls `mj_forward` twice and `mj_step` once, and each of the three computes anew where
everything is and how it moves. Between them only the controls change, so the second call may skip both stages and the third may begin behind them
(`mj_step2`). What depends on the solver's warm start is still computed three times. Its controller asks for the same Jacobian four times, and
looks names, limits and numbers of dimensions up that never change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np


class Physics:
    """Takes the place of the slow parts of one robosuite environment; between `once` and its end the state belongs to robosuite's own loop."""

    def __init__(self, environment: Any) -> None:
        """Install it. `environment`: the innermost one, with one arm."""
        import mujoco  # not above: `libero.load` must choose the GL backend first

        sim, (robot,) = environment.sim, environment.robots
        self._mujoco, self._model, self._data = mujoco, sim.model._model, sim.data._data
        self._lean = self._placed = False
        sim.forward, sim.step = self.forward, self.step
        self._arm = _Arm(robot, self)
        environment._pre_action = self._arm.control

    def adopt(self) -> None:
        """Call after a robot's reset, which makes a new controller."""
        self._arm.adopt()

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """While nothing but robosuite's own loop of control and physics steps touches the state."""
        self._lean, self._placed = True, False
        try:
            yield
        finally:
            self._lean = self._placed = False

    def forward(self) -> None:
        """`mj_forward`; without positions and velocities where they are known."""
        if self._placed:
            self._mujoco.mj_forwardSkip(
                self._model, self._data, int(self._mujoco.mjtStage.mjSTAGE_VEL), 0
            )
        else:
            self._mujoco.mj_forward(self._model, self._data)
            self._placed = self._lean

    def step(self, with_udd: bool = True) -> None:
        """`mj_step`, or its second half where the first is known."""
        (self._mujoco.mj_step2 if self._placed else self._mujoco.mj_step)(self._model, self._data)
        self._placed = False


class _Arm:
    """`SingleArm.control` and `Controller.update` with what never changes looked up once, and one Jacobian in place of four."""

    def __init__(self, robot: Any, physics: Physics) -> None:
        self._robot, self._physics = robot, physics
        self._mujoco, self._model, self._data = physics._mujoco, physics._model, physics._data
        self._site = self._model.site(robot.controller.eef_name).id
        self._limits = robot.torque_limits
        self._fingers = [self._model.actuator(name).id for name in robot.gripper.actuators]
        low, high = self._model.actuator_ctrlrange[self._fingers].T
        self._middle, self._half = 0.5 * (high + low), 0.5 * (high - low)
        self._new_action, robot.control = robot.control, self.control
        self.adopt()

    def adopt(self) -> None:
        """Work for the robot's present controller."""
        self._controller = self._robot.controller
        self._controller.update = self.update

    def control(self, action: Any, policy_step: bool = False) -> None:
        """Torques and fingers for a physics step; the first of a control step, which brings a new action, is robosuite's own."""
        robot = self._robot
        if policy_step:
            self._new_action(action, policy_step=True)
            return
        robot.torques = np.clip(self._controller.run_controller(), *self._limits)
        fingers = robot.gripper.format_action(action[self._controller.control_dim :])
        self._data.ctrl[self._fingers] = self._middle + self._half * fingers
        self._data.ctrl[robot._ref_joint_actuator_indexes] = robot.torques

    def update(self, force: bool = False) -> None:
        """Where the hand is and how the arm can move it, for `run_controller`."""
        c, model, data = self._controller, self._model, self._data
        if not (c.new_update or force):
            return
        self._physics.forward()
        turning, moving = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        self._mujoco.mj_jacSite(model, data, moving, turning, self._site)
        c.ee_pos, c.ee_ori_mat = (
            np.array(data.site_xpos[self._site]),
            np.array(data.site_xmat[self._site].reshape(3, 3)),
        )
        c.ee_pos_vel, c.ee_ori_vel = np.dot(moving, data.qvel), np.dot(turning, data.qvel)
        c.joint_pos, c.joint_vel = (
            np.array(data.qpos[c.qpos_index]),
            np.array(data.qvel[c.qvel_index]),
        )
        c.J_pos, c.J_ori = np.array(moving[:, c.qvel_index]), np.array(turning[:, c.qvel_index])
        c.J_full = np.vstack([c.J_pos, c.J_ori])
        mass = np.empty((model.nv, model.nv))
        self._mujoco.mj_fullM(model, mass, data.qM)
        c.mass_matrix = mass[c.qvel_index, :][:, c.qvel_index]
        c.new_update = False
