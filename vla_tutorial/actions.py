"""The boundary tokens → motion: action bins, un-normalisation by key, and the gripper's mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vla_tutorial.arrays import Bools, Floats, Ints
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.files import read_data
from vla_tutorial.wiring import GripperMapping

ACTION_DIMENSIONS = 7
"""Numbers of an action: x, y, z, three rotations, gripper."""

VOCABULARY = 32000
"""Llama-2's, without padding; its last 256 ids are action bins (openvla, `ActionTokenizer`)."""

N_BINS = 256
_EDGES = np.linspace(-1.0, 1.0, N_BINS)
BIN_CENTERS: Floats = (_EDGES[:-1] + _EDGES[1:]) / 2.0
"""(255,) float64: 256 edges between −1 and 1 have 255 intervals between them."""


@dataclass(frozen=True)
class ActionStatistics:
    """What un-normalisation needs of the data that a policy was trained on.

    Attributes:
        q01, q99: (D,) float64, the 1 % and 99 % quantiles of each action dimension in the data's
            own units.
        mask: (D,) bool; where False (the gripper), the number stays as it is, in [−1, 1].
    """

    q01: Floats
    q99: Floats
    mask: Bools

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ActionStatistics:
        """Read one key of a `dataset_statistics.json` or of `norm_stats` in a config.json."""
        try:
            action = entry["action"]
            q01 = np.asarray(action["q01"], np.float64)
            q99 = np.asarray(action["q99"], np.float64)
        except (KeyError, TypeError) as e:
            message = f"Action statistics need action.q01 and action.q99; {e} is missing."
            raise TutorialError(message) from e
        # A missing mask means all True.
        mask = np.asarray(action.get("mask", np.ones(q01.shape, bool)), bool)
        if not q01.shape == q99.shape == mask.shape or q01.ndim != 1:
            shapes = f"q01 {q01.shape}, q99 {q99.shape}, mask {mask.shape}"
            raise TutorialError(f"Action statistics differ in length: {shapes}.")
        return cls(q01, q99, mask)


def parse_statistics(norm_stats: Mapping[str, Any]) -> dict[str, ActionStatistics]:
    """Every key of a checkpoint's statistics file."""
    return {key: ActionStatistics.from_json(entry) for key, entry in norm_stats.items()}


@cache
def embedded_statistics() -> Mapping[str, ActionStatistics]:
    """Shipped statistics of four LIBERO suites and `bridge_orig`, as published checkpoints have."""
    return parse_statistics(read_data("norm_stats.json"))


def find_statistics(key: str, statistics: Mapping[str, ActionStatistics]) -> ActionStatistics:
    """Statistics under `key`, else under `{key}_no_noops` (the published rule), else an error."""
    for name in (key, f"{key}_no_noops"):
        if name in statistics:
            return statistics[name]
    raise unknown("unnorm key", key, statistics)


def token_bins(tokens: ArrayLike) -> Ints:
    """Token ids → action bins, same shape: 31999 is bin 0, 31998 is bin 1. Nothing is clipped."""
    return VOCABULARY - 1 - np.asarray(tokens, np.int64)


def bin_tokens(bins: ArrayLike) -> Ints:
    """Action bins → token ids, same shape: the inverse of `token_bins`. Nothing is clipped."""
    return VOCABULARY - 1 - np.asarray(bins, np.int64)


def decode(tokens: ArrayLike, statistics: ActionStatistics) -> Floats:
    """Token ids (…, D) → actions (…, D) float64 in the data's units; gripper 0 close … 1 open.

    31999 and every id above is the lowest bin. 31745 and every id below is the highest bin.
    """
    bins = np.clip(token_bins(tokens), 0, len(BIN_CENTERS) - 1)
    normalised = BIN_CENTERS[bins]
    span = 0.5 * (normalised + 1) * (statistics.q99 - statistics.q01) + statistics.q01
    return np.where(statistics.mask, span, normalised)


def encode(action: ArrayLike, statistics: ActionStatistics) -> Ints:
    """Actions (…, D) in the data's units → token ids (…, D): the inverse of `decode`.

    It is exact up to half a bin. Values outside q01 … q99 are clipped. Raises as `check_action`.
    """
    a = check_action(action, len(statistics.q01))
    span = statistics.q99 - statistics.q01
    span = np.where(span == 0, 1, span)
    normalised = np.where(statistics.mask, 2 * (a - statistics.q01) / span - 1, a)
    width = 2.0 / (N_BINS - 1)
    bins = np.floor((normalised + 1) / width).clip(0, len(BIN_CENTERS) - 1)
    return bin_tokens(bins.astype(np.int64))


def check_action(action: ArrayLike, length: int = ACTION_DIMENSIONS) -> Floats:
    """The action as float64. A wrong number of values, NaN or infinity raise a TutorialError.

    MuJoCo accepts NaN silently, and the arm sinks.
    """
    a = np.asarray(action, np.float64)
    if a.ndim == 0 or a.shape[-1] != length:
        wanted = f"{length} numbers (x, y, z, three rotations, gripper)"
        raise TutorialError(f"An action has {wanted}; got shape {a.shape}.")
    if not np.isfinite(a).all():
        where = np.argwhere(~np.isfinite(a))[0]
        place = f"value {a[tuple(where)]} at index {int(where[-1])}"
        raise TutorialError(f"Action {place}: expected finite numbers. Check the policy's output.")
    return a


def to_libero(
    action: ArrayLike, gripper: GripperMapping = "binarised", translation_gain: float = 1.0
) -> Floats:
    """Decoded actions (…, 7) → what LIBERO's `env.step` takes: gripper −1 open, +1 close.

    Args:
        gripper: how the decoded g, 0 close … 1 open, becomes the command:
            - `binarised`: −sign(2g−1), as published.
            - `inverted`: sign(2g−1), the minus sign forgotten.
            - `continuous`: −(2g−1). robosuite's PandaGripper looks at its sign alone.
            - `unscaled`: −g. A close (g = 0) has no sign, and the fingers stay as they are.
        translation_gain: factor on the three translations.
    """
    out = check_action(action).copy()
    opening = 2 * out[..., 6] - 1
    mapped = {
        "binarised": -np.sign(opening),
        "inverted": np.sign(opening),
        "continuous": -opening,
        "unscaled": -out[..., 6],
    }
    out[..., 6] = mapped[gripper]
    out[..., :3] *= translation_gain
    return out


def from_libero(action: ArrayLike) -> Floats:
    """The inverse of `to_libero` for a binarised gripper: −1 open, +1 close → 1 open, 0 close."""
    out = check_action(action).copy()
    out[..., 6] = (1 - np.sign(out[..., 6])) / 2
    return out
