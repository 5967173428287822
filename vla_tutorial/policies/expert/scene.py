"""Read a `Situation` from MuJoCo's state, by robosuite's and LIBERO's names of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.policies.base import PrivilegedState
from vla_tutorial.policies.expert.geometry import Boxes, Solid, rotation_from_quaternion
from vla_tutorial.policies.expert.situation import Basket, Grip, Hand, Situation
from vla_tutorial.scene import BASKET

if TYPE_CHECKING:
    import mujoco

_REGION = "basket_1_contain_region"
_SITE = "gripper0_grip_site"
_PADS = ("gripper0_finger1_pad_collision", "gripper0_finger2_pad_collision")
_FINGERS = ("gripper0_finger_joint1", "gripper0_finger_joint2")
_ELBOW = "robot0_joint4"
# Metres from the base to the shoulder (Franka's DH parameter d1).
_SHOULDER_HEIGHT = 0.333
# Grasps are planned on poses rounded to this (0.1 mm, 0.1 mrad), so that resting objects, which
# tremble by less, need no new plan.
_POSE_GRID = 1e-4
# Metres from the basket's middle to its walls along x and y, and between a wall and a thing.
_INSIDE = np.array([0.062, 0.067])
_AIR = 0.010
# Metres off its spot at which a thing may be let go, alone and beside another.
_ALONE = 0.035
_PAIRED = 0.014
_WHERE_IT_WORKS = (
    "The expert puts objects into a basket: libero_object, its variants _swap, _task and _lan, "
    "and libero_10 tasks 0, 1 and 7."
)


class HandReader:
    """Ids of the gripper's parts in one model, looked up once."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Look up robosuite's names; a KeyError where the model has no Panda gripper."""
        self._site = model.site(_SITE).id
        self._pads = [model.geom(name).id for name in _PADS]
        fingers = [model.joint(name) for name in _FINGERS]
        self._elbow = int(model.joint(_ELBOW).qposadr[0])
        self._base = model.body("robot0_link0").id
        self._finger_position = [int(joint.qposadr[0]) for joint in fingers]
        self._finger_velocity = [int(joint.dofadr[0]) for joint in fingers]
        self._pad_thickness = float(model.geom_size[self._pads[0], 1])

    def read(self, data: Any) -> Hand:
        """The hand in a state of this model."""
        position = data.site_xpos[self._site].copy()
        rotation = data.site_xmat[self._site].reshape(3, 3).copy()
        finger_axis = rotation[:, 0]
        pads = sorted(float((data.geom_xpos[pad] - position) @ finger_axis) for pad in self._pads)
        one, other = self._finger_position
        return Hand(
            position,
            rotation,
            pads=(pads[0] + self._pad_thickness, pads[1] - self._pad_thickness),
            opening=float(data.qpos[one] - data.qpos[other]),
            finger_speed=float(np.abs(data.qvel[self._finger_velocity]).sum()),
            elbow=float(data.qpos[self._elbow]),
            shoulder=data.xpos[self._base] + (0, 0, _SHOULDER_HEIGHT),
        )


class SceneReader:
    """Ids and shapes of one model, looked up once; `read` turns its states into a `Situation`."""

    def __init__(self, model: mujoco.MjModel, bodies: Mapping[str, int]) -> None:
        """Look up names and shapes; no basket or no Panda gripper is an error."""
        if BASKET not in bodies:
            raise TutorialError(f"No {BASKET!r} among {', '.join(bodies)}. {_WHERE_IT_WORKS}")
        try:
            self._region = model.site(_REGION).id
            self._hand = HandReader(model)
        except KeyError as e:
            reason = str(e.args[0]).splitlines()[0]
            raise TutorialError(f"{reason} {_WHERE_IT_WORKS}") from e
        self._region_size: Floats = model.site_size[self._region].copy()
        self._boxes = {name: Boxes.from_model(model, body) for name, body in bodies.items()}
        self._bodies = {name: bodies[name] for name, box in self._boxes.items() if len(box.centers)}

    def solid(self, data: mujoco.MjData, name: str) -> Solid:
        """One object where it is now."""
        body = self._bodies[name]
        rotation = data.xmat[body].reshape(3, 3).copy()
        return Solid(self._boxes[name], data.xpos[body].copy(), rotation)

    def rounded_poses(self, data: mujoco.MjData) -> Floats:
        """(objects, 7) position and quaternion of every object, on 0.1 mm and 0.1 mrad."""
        bodies = list(self._bodies.values())
        poses: Floats = np.concatenate([data.xpos[bodies], data.xquat[bodies]], 1)
        return np.round(poses / _POSE_GRID) * _POSE_GRID

    def solids(self, poses: Floats) -> dict[str, Solid]:
        """Every object at the given (objects, 7) poses."""
        solids = {}
        for name, pose in zip(self._bodies, poses, strict=True):
            rotation = rotation_from_quaternion(pose[3:])
            solids[name] = Solid(self._boxes[name], pose[:3], rotation)
        return solids

    def read(self, state: PrivilegedState) -> Situation:
        """The situation in a state of this model; no target, or a strange one, is an error."""
        if not state.targets:
            raise TutorialError(f"The task puts nothing into anything. {_WHERE_IT_WORKS}")
        objects = [name for name in self._bodies if name != BASKET]
        for name in state.targets:
            if name not in self._bodies:
                raise unknown("target", name, objects, _WHERE_IT_WORKS)
        hand = self._hand.read(state.data)
        basket = self._basket(state.data)
        solids = {name: self.solid(state.data, name) for name in state.targets}
        waiting = [n for n in state.targets if not basket.contains(solids[n].position)]
        waiting = waiting or [state.targets[-1]]
        grips = {name: Grip.measure(hand, solids[name]) for name in waiting}
        # What is between the fingers goes first, else the first in the task's order.
        name = max(waiting, key=lambda n: grips[n].beams)
        target = solids[name]
        delivered = basket.contains(target.position)
        others = [solids[other] for other in state.targets if other != name]
        spot, slack = _spot(basket, target, others)
        basket = _over(basket, others)
        return Situation(hand, basket, name, target, grips[name], delivered, spot, slack)

    def _basket(self, data: Any) -> Basket:
        center = data.site_xpos[self._region].copy()
        rotation = data.site_xmat[self._region].reshape(3, 3).copy()
        return Basket(self.solid(data, BASKET).top, center, rotation, self._region_size)


def _spot(basket: Basket, target: Solid, others: list[Solid]) -> tuple[Floats, float]:
    """Where (2,) the target is let go, and how far off that it may be.

    One thing alone goes to the middle, each of two to a corner: on another a thing may stand too
    high to count. The first goes to the far corner, so that the second need not come over it.
    """
    middle = basket.center[:2]
    if not others:
        return middle, _ALONE
    side = np.ones(2)
    for other in others:
        if basket.contains(other.position):
            side = -np.sign(other.position[:2] - middle)
    half = np.ptp(target.corners[:, :2], axis=0) / 2
    return middle + side * np.maximum(_INSIDE - half - _AIR, 0), _PAIRED


def _over(basket: Basket, others: list[Solid]) -> Basket:
    """The basket, its rim as high as what stands in it."""
    tops = [other.top for other in others if basket.contains(other.position)]
    return replace(basket, rim=max([basket.rim, *tops]))
