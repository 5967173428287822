"""What a simulator senses: the observation, and a camera that can be switched off."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_tutorial.arrays import Floats, Picture

CAMERA = "agentview"
WRIST_CAMERA = "robot0_eye_in_hand"
PICTURE = f"{CAMERA}_image"
_ARM = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "robot0_joint_pos")
SENSORS = (PICTURE, *_ARM)
"""The fields of `Observation` in order, by robosuite's names."""


@dataclass(frozen=True)
class Observation:
    """What LIBERO returns after a control step, at 20 Hz.

    Attributes:
        image: (H, W, 3) uint8, RGB, as MuJoCo renders it: rotated by 180° from what the policy was
            trained on. Black when the simulator was built with `render=False`.
        eef_pos: (3,) metres, world frame: the grip site.
        eef_quat: (4,) x, y, z, w, world frame.
        gripper_qpos: (2,) metres, the two finger joints.
        joint_pos: (7,) radians.
    """

    image: Picture
    eef_pos: Floats
    eef_quat: Floats
    gripper_qpos: Floats
    joint_pos: Floats

    @property
    def proprioception(self) -> Floats:
        """(8,) eef_pos, eef_quat as axis times angle (radians), gripper_qpos.

        It is what openpi's and OpenVLA-OFT's LIBERO clients send as the robot's state.
        """
        # Of the two quaternions of a rotation, the published code takes the one that it gets.
        w = min(max(float(self.eef_quat[3]), -1.0), 1.0)
        sine = math.sqrt(1 - w * w)
        axis_angle = np.zeros(3)
        if sine > 1e-8:
            axis_angle = self.eef_quat[:3] * 2 * math.acos(w) / sine
        return np.concatenate([self.eef_pos, axis_angle, self.gripper_qpos])


class Camera:
    """robosuite's camera sensor with a switch: unless `on`, it renders none and answers black.

    Disabling robosuite's observable would stop its clock and shift the moment of later pictures.
    """

    def __init__(self, sensor: Any, make_current: Callable[[], None], black: Picture) -> None:
        """Wrap robosuite's sensor; `black` is the picture (H, W, 3) of a camera that is off."""
        self.on = False
        self.turns: AbstractContextManager[Any] = contextlib.nullcontext()
        self._sensor = sensor
        self.make_current = make_current
        self._black = black
        self.__modality__ = sensor.__modality__

    def __call__(self, cache: Any) -> Any:
        """The picture (H, W, 3) uint8, in robosuite's calling convention."""
        if not self.on:
            return self._black
        # Another simulator may have left its context current: this one's picture would be black.
        self.make_current()
        with self.turns:
            return self._sensor(cache)
