"""Where things are in the policy's picture: the targets of the auxiliary head on the patches.

The policy itself never gets any of it.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_tutorial.sim import Simulator
from vla_tutorial.sim.sensors import CAMERA

OBJECTS = (
    "alphabet_soup", "cream_cheese", "salad_dressing", "bbq_sauce", "ketchup", "tomato_sauce",
    "butter", "milk", "chocolate_pudding", "orange_juice",
)  # fmt: skip
"""The ten things of libero_object, in the order of the tasks that ask for them."""

KEYPOINTS = (*OBJECTS, "basket", "hand")
_HAND_SITE = "gripper0_grip_site"


def instruction_number(target: str) -> int:
    """Index of the instruction for an object, for example "milk_1" → 7."""
    return OBJECTS.index(_kind(target))


def _kind(name: str) -> str:
    """The name without its number: "milk_1" → "milk"."""
    return name.rsplit("_", 1)[0]


def project(
    model: mujoco.MjModel, data: mujoco.MjData, points: NDArray[np.float64]
) -> NDArray[np.float32]:
    """World points (N, 3) in metres → (N, 2) float32 in the turned picture, as the policy sees it.

    They are x to the right and y down, −1 … 1 from edge to edge.
    """
    camera = model.camera(CAMERA).id
    local = (points - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    # MuJoCo's cameras look along −z with y up. Row 0 of the raw picture is the bottom.
    raw = local[:, :2] / -local[:, 2:] / half
    # Turning the raw picture by 180° turns both axes round.
    return np.asarray(raw * (-1, -1), np.float32)


def keypoints(simulator: Simulator) -> NDArray[np.float32]:
    """(12, 2) float32: where each of `KEYPOINTS` is in the picture; NaN for what is absent."""
    found = {KEYPOINTS.index("hand"): simulator.data.site(_HAND_SITE).xpos}
    for name, body in simulator.bodies.items():
        found[KEYPOINTS.index(_kind(name))] = simulator.data.xpos[body]
    out = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
    out[list(found)] = project(simulator.model, simulator.data, np.array(list(found.values())))
    return out
