"""Where things are in the policy's picture: what the auxiliary head on the patches learns. The policy itself never gets any of it."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_tutorial.sim import Simulator
from vla_tutorial.sim.simulator import CAMERA

OBJECTS = (
    "alphabet_soup",
    "cream_cheese",
    "salad_dressing",
    "bbq_sauce",
    "ketchup",
    "tomato_sauce",
    "butter",
    "milk",
    "chocolate_pudding",
    "orange_juice",
)
"""The ten things of libero_object, in the order of the tasks that ask for them."""

THINGS = (*OBJECTS, "basket", "hand")
_HAND_SITE = "gripper0_grip_site"

Floats = NDArray[np.float32]


def instruction_number(target: str) -> int:
    """Index of the instruction for an object, for example "milk_1" → 7."""
    return OBJECTS.index(target.rsplit("_", 1)[0])


def project(model: mujoco.MjModel, data: mujoco.MjData, points: NDArray[np.float64]) -> Floats:
    """World points (N, 3) in metres → (N, 2) float32, x to the right and y down in the turned picture, −1 … 1 from edge to edge.

    MuJoCo's cameras look along −z with y up; turning the raw picture by 180° turns both axes round (LIBERO's training pictures).
    """
    camera = model.camera(CAMERA).id
    local = (points - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    raw = (
        local[:, :2] / -local[:, 2:] / half
    )  # right and up in the camera's frame; MuJoCo's row 0 is the bottom
    return np.asarray(raw * (-1, -1), np.float32)


def places(simulator: Simulator) -> Floats:
    """(12, 2) float32: where each of `THINGS` is in the present picture, NaN for what the scene lacks."""
    out = np.full((len(THINGS), 2), np.nan, np.float32)
    found = {
        THINGS.index(name.rsplit("_", 1)[0]): simulator.data.xpos[body]
        for name, body in simulator.bodies.items()
    }
    found[THINGS.index("hand")] = simulator.data.site(_HAND_SITE).xpos
    out[list(found)] = project(simulator.model, simulator.data, np.array(list(found.values())))
    return out
