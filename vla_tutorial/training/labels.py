"""What belongs to a picture in training: its labels, and where things are in it.

The policy itself gets none of it. No PyTorch here: simulators' processes start faster without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Bools, Ints, Picture
from vla_tutorial.pixels import Float32
from vla_tutorial.scene import pick_up_sentence
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.sensors import CAMERA
from vla_tutorial.training.chunks import LabelledEpisode

OBJECTS = (
    "alphabet_soup", "cream_cheese", "salad_dressing", "bbq_sauce", "ketchup", "tomato_sauce",
    "butter", "milk", "chocolate_pudding", "orange_juice",
)  # fmt: skip
"""The ten things of libero_object, in the order of the tasks that ask for them."""

INSTRUCTIONS = tuple(pick_up_sentence(f"{name}_1") for name in OBJECTS)
"""Their ten sentences, in the same order."""

KEYPOINTS = (*OBJECTS, "basket", "hand")
"""What the auxiliary head on the patches learns to find."""

POSITION_MEAN = np.array([0.0, 0.0, 0.15, 0.0, 0.0, 0.05, 0.0, 0.25, 0.05, 0.04, 0.0], np.float32)
POSITION_SCALE = np.array([0.15, 0.2, 0.1, 0.15, 0.2, 0.1, 0.05, 0.05, 0.05, 0.03, 1.0], np.float32)
"""A head learns (value − mean) / scale of hand, target, basket, opening (m), and holding (0, 1)."""

FINE_ABOVE = 0.10
FINE_ASIDE = 0.05
"""Metres above the target, and aside: a tenth of all steps, fine work, are nearer than that."""


@dataclass(frozen=True)
class Labels:
    """What belongs to N pictures.

    Attributes:
        instruction: (N,) int64, index into `INSTRUCTIONS`.
        bins: (N, 7) uint8, the expert's action bins; the token is 31999 − bin.
        positions: (N, 11) float32 for the auxiliary head, each with mean 0 and variance 1, about.
        keypoints: (N, 12, 2) float32, as the function `keypoints` gives them.
        fine: (N,) bool, whether it shows fine work.
    """

    instruction: Ints
    bins: Picture
    positions: Float32
    keypoints: Float32
    fine: Bools

    @classmethod
    def of(cls, episode: LabelledEpisode, keypoints: Float32) -> Labels:
        """The labels of T steps; `keypoints` (T, 12, 2) come from the simulator that shows them."""
        values = [
            episode.eef_pos,
            episode.target_pos,
            episode.basket_pos,
            episode.opening,
            episode.holding[:, None],
        ]
        positions = np.concatenate(values, 1, dtype=np.float32)
        return cls(
            instruction=np.full(len(episode), instruction_number(episode.target)),
            bins=episode.bins.astype(np.uint8),
            positions=(positions - POSITION_MEAN) / POSITION_SCALE,
            keypoints=keypoints,
            fine=_is_fine(episode),
        )

    @classmethod
    def join(cls, parts: Sequence[Labels]) -> Labels:
        """Those of several, one after another."""
        joined = {}
        for name in vars(parts[0]):
            joined[name] = np.concatenate([vars(part)[name] for part in parts])
        return cls(**joined)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, chosen: Ints) -> Labels:
        return Labels(*(values[chosen] for values in vars(self).values()))


def _is_fine(episode: LabelledEpisode) -> Bools:
    """(T,) bool: the hand is just above the target, and the target is not lifted."""
    offset = episode.eef_pos - episode.target_pos
    beside = np.abs(offset[:, :2]).max(1) < FINE_ASIDE
    above = offset[:, 2] < FINE_ABOVE
    lying = episode.target_pos[:, 2] < FINE_ABOVE
    return np.asarray(beside & above & lying)


def instruction_number(target: str) -> int:
    """Index of the instruction for an object, for example "milk_1" → 7."""
    return OBJECTS.index(_kind(target))


def _kind(name: str) -> str:
    """The name without its number: "milk_1" → "milk"."""
    return name.rsplit("_", 1)[0]


def keypoints(simulator: Simulator) -> Float32:
    """(12, 2) float32: where each of `KEYPOINTS` is in the turned picture, as the policy sees it.

    They are x to the right and y down, −1 … 1 from edge to edge; NaN for what is absent.
    """
    model = simulator.model
    data = simulator.data
    # World points in metres.
    points = {KEYPOINTS.index("hand"): data.site("gripper0_grip_site").xpos}
    for name, body in simulator.bodies.items():
        points[KEYPOINTS.index(_kind(name))] = data.xpos[body]
    camera = model.camera(CAMERA).id
    offset = np.array(list(points.values())) - data.cam_xpos[camera]
    local = offset @ data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    # MuJoCo's cameras look along −z with y up. Row 0 of the raw picture is the bottom.
    raw = local[:, :2] / -local[:, 2:] / half
    out = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
    # Turning the raw picture by 180° turns both axes round.
    out[list(points)] = raw * (-1, -1)
    return out
