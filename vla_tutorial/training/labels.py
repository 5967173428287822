"""What belongs to a picture in training.

No PyTorch here: the simulators' processes make labels, and start faster without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.scene import pick_up_sentence
from vla_tutorial.training.chunks import LabelledEpisode
from vla_tutorial.training.keypoints import OBJECTS, instruction_number

INSTRUCTIONS = tuple(pick_up_sentence(f"{name}_1") for name in OBJECTS)
"""The ten sentences of libero_object, in the order of its tasks."""

POSITION_MEAN = np.array([0.0, 0.0, 0.15, 0.0, 0.0, 0.05, 0.0, 0.25, 0.05, 0.04, 0.0], np.float32)
POSITION_SCALE = np.array([0.15, 0.2, 0.1, 0.15, 0.2, 0.1, 0.05, 0.05, 0.05, 0.03, 1.0], np.float32)
"""The auxiliary head learns (value − mean) / scale.

The values are hand, target and basket (metres), finger opening (metres), and holding (0 or 1).
"""

FINE_ABOVE = 0.10
FINE_ASIDE = 0.05
"""A step is fine work when the hand is this near to the target: metres above it, and aside.

A tenth of all steps are.
"""


@dataclass(frozen=True)
class Labels:
    """What belongs to N pictures.

    Attributes:
        instruction: (N,) int64, index into `INSTRUCTIONS`.
        bins: (N, 7) uint8, the expert's action bins; the token is 31999 − bin.
        positions: (N, 11) float32 for the auxiliary head, each with mean 0 and variance 1, about.
        keypoints: (N, 12, 2) float32, as `keypoints.keypoints` gives them.
        fine: (N,) bool, whether it shows fine work.
    """

    instruction: NDArray[np.int64]
    bins: NDArray[np.uint8]
    positions: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    fine: NDArray[np.bool_]

    @classmethod
    def of(cls, episode: LabelledEpisode, keypoints: NDArray[np.float32]) -> Labels:
        """The labels of T steps; `keypoints` (T, 12, 2) come from the simulator that shows them."""
        columns = [
            episode.eef_pos,
            episode.target_pos,
            episode.basket_pos,
            episode.opening,
            episode.holding[:, None],
        ]
        positions = np.concatenate(columns, 1, dtype=np.float32)
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
        for f in fields(cls):
            joined[f.name] = np.concatenate([getattr(part, f.name) for part in parts])
        return cls(**joined)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, chosen: NDArray[np.int64]) -> Labels:
        """Some of them."""
        return Labels(*(getattr(self, f.name)[chosen] for f in fields(self)))


def _is_fine(episode: LabelledEpisode) -> NDArray[np.bool_]:
    """(T,) bool: the hand is just above the target, and the target is not lifted."""
    offset = episode.eef_pos - episode.target_pos
    beside = np.abs(offset[:, :2]).max(1) < FINE_ASIDE
    above = offset[:, 2] < FINE_ABOVE
    lying = episode.target_pos[:, 2] < FINE_ABOVE
    return np.asarray(beside & above & lying)
