"""robosuite's control step without the work that it does twice: the same numbers in half the time.

The numbers are the same bit for bit. For each of the 25 physics steps in a control step robosuite
calls `mj_forward` twice and `mj_step` once. Each of the three computes anew where everything is and
how it moves, but between them only the controls change. So the second call may skip both stages,
and the third may begin behind them (`mj_step2`). What depends on the solver's warm start is still
computed three times. robosuite's controller asks for the same Jacobian four times, and looks up
names, limits and numbers of dimensions that never change. `Simulator(lean=False)` does without all
this.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Physics:
    """Takes the place of the slow parts of one robosuite environment, once it is built.

    They are `MjSim.forward` and `step`, `SingleArm.control` and `Controller.update`.
    """

    def __init__(self, environment: Any) -> None:
        """Install it. `environment`: the innermost one, with one arm."""
        import mujoco  # not above: `libero.load` must choose the GL backend first

        self._mujoco = mujoco
        sim = environment.sim
        self._model = sim.model._model
        self._data = sim.data._data
        (self._robot,) = environment.robots
        self._site = self._model.site(self._robot.controller.eef_name).id
        self._limits = self._robot.torque_limits
        self._fingers = [self._model.actuator(name).id for name in self._robot.gripper.actuators]
        low, high = self._model.actuator_ctrlrange[self._fingers].T
        self._middle = 0.5 * (high + low)
        self._half = 0.5 * (high - low)
        # Whether only robosuite's own loop changes the state now.
        self._trusted = False
        # Whether MuJoCo's data already say where everything is and how it moves.
        self._placed = False
        self._control_step = environment.step
        self._new_action = self._robot.control
        self._reset_robot = self._robot.reset
        sim.forward = self._forward
        sim.step = self._step
        environment.step = self._trusted_control_step
        environment._pre_action = self._control
        self._robot.control = self._control
        self._robot.reset = self._reset
        self._adopt_controller()

    def _reset(self, deterministic: bool = False) -> None:
        """The robot's reset, which makes a new controller."""
        self._reset_robot(deterministic)
        self._adopt_controller()

    def _adopt_controller(self) -> None:
        self._controller = self._robot.controller
        self._controller.update = self._update

    def _trusted_control_step(self, action: Any) -> Any:
        """A control step that computes positions once a physics step."""
        self._trusted = True
        self._placed = False
        try:
            return self._control_step(action)
        finally:
            self._trusted = False
            self._placed = False

    def _forward(self) -> None:
        """`mj_forward`; without positions and velocities where they are known."""
        if self._placed:
            known = int(self._mujoco.mjtStage.mjSTAGE_VEL)
            self._mujoco.mj_forwardSkip(self._model, self._data, known, 0)
        else:
            self._mujoco.mj_forward(self._model, self._data)
            self._placed = self._trusted

    def _step(self, with_udd: bool = True) -> None:
        """`mj_step`, or its second half where the first is known."""
        if self._placed:
            self._mujoco.mj_step2(self._model, self._data)
        else:
            self._mujoco.mj_step(self._model, self._data)
        self._placed = False

    def _control(self, action: Any, policy_step: bool = False) -> None:
        """Torques and fingers for one physics step.

        The first one of a control step brings a new action and is robosuite's own.
        """
        if policy_step:
            self._new_action(action, policy_step=True)
            return
        robot = self._robot
        robot.torques = np.clip(self._controller.run_controller(), *self._limits)
        fingers = robot.gripper.format_action(action[self._controller.control_dim :])
        self._data.ctrl[self._fingers] = self._middle + self._half * fingers
        self._data.ctrl[robot._ref_joint_actuator_indexes] = robot.torques

    def _update(self, force: bool = False) -> None:
        """Tell robosuite's controller where the hand is and how the arm can move it."""
        c = self._controller
        if not (c.new_update or force):
            return
        model = self._model
        data = self._data
        self._forward()
        turning = np.zeros((3, model.nv))
        moving = np.zeros((3, model.nv))
        self._mujoco.mj_jacSite(model, data, moving, turning, self._site)
        c.ee_pos = np.array(data.site_xpos[self._site])
        c.ee_ori_mat = np.array(data.site_xmat[self._site].reshape(3, 3))
        c.ee_pos_vel = np.dot(moving, data.qvel)
        c.ee_ori_vel = np.dot(turning, data.qvel)
        c.joint_pos = np.array(data.qpos[c.qpos_index])
        c.joint_vel = np.array(data.qvel[c.qvel_index])
        c.J_pos = np.array(moving[:, c.qvel_index])
        c.J_ori = np.array(turning[:, c.qvel_index])
        c.J_full = np.vstack([c.J_pos, c.J_ori])
        mass = np.empty((model.nv, model.nv))
        self._mujoco.mj_fullM(model, mass, data.qM)
        c.mass_matrix = mass[c.qvel_index, :][:, c.qvel_index]
        c.new_update = False
