"""The boundary tokens → motion: action bins, un-normalisation by key, and the gripper's mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from vla_tutorial.arrays import Bools, Floats, Ints
from vla_tutorial.decoding import decode as decode_json
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.files import read_data
from vla_tutorial.wiring import GripperMapping, Wiring

ACTION_DIMENSIONS = 7
"""Numbers of an action: x, y, z, three rotations, gripper."""

VOCABULARY = 32000
"""Llama-2's, without padding; its last 256 ids are action bins (openvla, `ActionTokenizer`)."""

N_BINS = 256
_EDGES = np.linspace(-1.0, 1.0, N_BINS)
BIN_CENTERS: Floats = (_EDGES[:-1] + _EDGES[1:]) / 2.0
"""(255,) float64: 256 edges between −1 and 1 have 255 intervals between them."""


# Bounds that no quantile reaches, so that differences stay finite. No robot has 64 dimensions.
_Quantiles = Annotated[
    list[Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]],
    msgspec.Meta(min_length=1, max_length=64),
]


class _Action(msgspec.Struct):
    q01: _Quantiles
    q99: _Quantiles
    # Missing, it means all true. The published code takes null for all false, which nobody wants.
    mask: list[bool] | msgspec.UnsetType = msgspec.UNSET
    min: _Quantiles | None = None
    max: _Quantiles | None = None


class _Entry(msgspec.Struct):
    """What a key of a statistics file must hold, and `action` what `_Action` says."""

    action: dict[str, Any]


@dataclass(frozen=True)
class ActionStatistics:
    """What un-normalisation needs of the data that a policy was trained on.

    Attributes:
        q01, q99: (D,) float64, the 1 % and 99 % quantiles of each action dimension in the data's
            own units, q01 ≤ q99. D is between 1 and 64.
        mask: (D,) bool; where False (the gripper), the number stays as it is, in [−1, 1].
        extremes: (2, D) float64, the smallest and the largest value; None where a file lacks them.
    """

    q01: Floats
    q99: Floats
    mask: Bools
    extremes: Floats | None = None

    @classmethod
    def from_json(
        cls, entry: Mapping[str, Any], where: str = "Action statistics"
    ) -> ActionStatistics:
        """Read one key of a `dataset_statistics.json` or of `norm_stats` in a config.json.

        A missing mask means all true, as in the published code.

        Raises:
            TutorialError: a quantile is missing, no finite number or above 1e9; q01 > q99; the mask
                is no list of true and false; lengths differ. The text begins with `where`.
        """
        held = decode_json(json.dumps(entry).encode(), _Entry, where, _REMEDY)
        text = json.dumps(held.action).encode()
        action = decode_json(text, _Action, f"{where}: action", _REMEDY)
        mask = [True] * len(action.q01)
        if action.mask is not msgspec.UNSET:
            mask = action.mask
        lengths = {"q01": len(action.q01), "q99": len(action.q99), "mask": len(mask)}
        extremes = None
        if action.min is not None and action.max is not None:
            lengths |= {"min": len(action.min), "max": len(action.max)}
            extremes = [action.min, action.max]
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise TutorialError(
                f"{where}: action holds lists of different lengths: {listed}. {_REMEDY}"
            )
        for i, (low, high) in enumerate(zip(action.q01, action.q99, strict=True)):
            if low > high:
                order = f"q01[{i}] {low} above q99[{i}] {high}; expected q01 ≤ q99"
                raise TutorialError(f"{where}: action holds {order}. {_REMEDY}")
        known = None if extremes is None else np.array(extremes)
        return cls(np.array(action.q01), np.array(action.q99), np.array(mask), known)


_REMEDY = "Use the statistics that came with the checkpoint."


def parse_statistics(
    norm_stats: Mapping[str, Any], where: str = "Action statistics"
) -> dict[str, ActionStatistics]:
    """Every key of a checkpoint's statistics file, which errors call `where`; none is an error.

    Raises:
        TutorialError: there is no key, or one of them is invalid (`ActionStatistics.from_json`).
    """
    if not norm_stats or "q01" in norm_stats or "q01" in (norm_stats.get("action") or ()):
        layout = '{"libero_object": {"action": {"q01": …, "q99": …, "mask": …}}}'
        raise TutorialError(f"{where}: no unnorm key; expected, for example, {layout}. {_REMEDY}")
    return {
        key: ActionStatistics.from_json(entry, f"{where}: {key}")
        for key, entry in norm_stats.items()
    }


@cache
def embedded_statistics() -> Mapping[str, ActionStatistics]:
    """Shipped statistics of four LIBERO suites and `bridge_orig`, as published checkpoints have."""
    return parse_statistics(read_data("norm_stats.json"))


def find_statistics(key: str, statistics: Mapping[str, ActionStatistics]) -> ActionStatistics:
    """Statistics under `key`, else under `{key}_no_noops` (the published rule).

    Raises:
        TutorialError: neither exists. It lists the keys that do; if there is one, it says to use
            that with --unnorm-key.
    """
    for name in (key, f"{key}_no_noops"):
        if name in statistics:
            return statistics[name]
    remedy = "Choose one with --unnorm-key."
    if len(statistics) == 1:
        only = next(iter(statistics))
        remedy = f"Use the only one: --unnorm-key {only}."
    # A likeness of two suites' names says nothing: only a slip of the finger is worth a question.
    raise unknown("unnorm key", key, statistics, remedy, likeness=0.9)


def as_wired(statistics: ActionStatistics, wiring: Wiring) -> ActionStatistics:
    """The statistics as the wiring reads them: other bounds, or no mask.

    Raises:
        TutorialError: the wiring wants the extremes, and the statistics do not hold them.
    """
    changed = statistics
    if wiring.action_bounds == "extremes":
        if statistics.extremes is None:
            raise TutorialError(
                "action_bounds is 'extremes', but the statistics hold no min and max. "
                "Use a key that does, or 'quantiles'."
            )
        low, high = statistics.extremes
        changed = replace(changed, q01=low, q99=high)
    if not wiring.action_mask:
        changed = replace(changed, mask=np.ones_like(statistics.mask))
    return changed


def token_bins(tokens: ArrayLike, vocabulary: int = VOCABULARY) -> Ints:
    """Token ids → action bins, same shape: 31999 is bin 0, 31998 is bin 1. Nothing is clipped.

    With a vocabulary that is too large, every bin is that much too high.
    """
    return vocabulary - 1 - np.asarray(tokens, np.int64)


def bin_tokens(bins: ArrayLike) -> Ints:
    """Action bins → token ids, same shape: the inverse of `token_bins`. Nothing is clipped."""
    return VOCABULARY - 1 - np.asarray(bins, np.int64)


def decode(tokens: ArrayLike, statistics: ActionStatistics, vocabulary: int = VOCABULARY) -> Floats:
    """Token ids (…, D) → actions (…, D) float64 in the data's units; gripper 0 close … 1 open.

    31999 and every id above is the lowest bin. 31745 and every id below is the highest bin.

    Raises:
        TutorialError: the statistics are for another number of dimensions.
    """
    bins = np.clip(token_bins(tokens, vocabulary), 0, len(BIN_CENTERS) - 1)
    if bins.shape[-1:] != statistics.q01.shape:
        raise TutorialError(
            f"Tokens of shape {bins.shape} cannot become motion with statistics of "
            f"{len(statistics.q01)} dimensions. Use the statistics that came with the policy."
        )
    normalised = BIN_CENTERS[bins]
    span = 0.5 * (normalised + 1) * (statistics.q99 - statistics.q01) + statistics.q01
    return np.where(statistics.mask, span, normalised)


def decode_answer(
    answer: Ints | Floats, statistics: ActionStatistics, vocabulary: int = VOCABULARY
) -> Floats:
    """What a policy answers (…, 7) → actions in the data's units: `decode`, where it is tokens.

    Floating-point numbers are such actions already, of a policy that answers without tokens.
    """
    if np.issubdtype(answer.dtype, np.floating):
        return check_action(answer)
    return decode(answer, statistics, vocabulary)


def nearest_tokens(answer: Ints | Floats, statistics: ActionStatistics) -> Ints:
    """What a policy answers (…, 7) → tokens: its own, or those that come nearest to its action."""
    if np.issubdtype(answer.dtype, np.floating):
        return encode(answer, statistics)
    return np.asarray(answer, np.int64)


def encode(action: ArrayLike, statistics: ActionStatistics) -> Ints:
    """Actions (…, D) in the data's units → token ids (…, D) int64: the inverse of `decode`.

    It is exact up to half a bin. Values outside q01 … q99 are clipped.

    Raises:
        TutorialError: NaN or infinity, or another number of values than the statistics have.
    """
    a = check_action(action, len(statistics.q01))
    span = statistics.q99 - statistics.q01
    span = np.where(span == 0, 1, span)
    normalised = np.where(statistics.mask, 2 * (a - statistics.q01) / span - 1, a)
    width = 2.0 / (N_BINS - 1)
    bins = np.floor((normalised + 1) / width).clip(0, len(BIN_CENTERS) - 1)
    return bin_tokens(bins.astype(np.int64))


def check_action(action: ArrayLike, length: int = ACTION_DIMENSIONS) -> Floats:
    """The action (…, length) as float64.

    MuJoCo accepts NaN silently, and the arm sinks.

    Raises:
        TutorialError: another number of values, NaN or infinity. It names the value and its index.
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
            - `continuous`: −(2g−1). LIBERO takes it for the same as `binarised`, since
                robosuite's PandaGripper looks at its sign alone.
            - `unscaled`: −g. A close (g = 0) has no sign, and the fingers stay as they are.
        translation_gain: factor on the three translations.

    Returns:
        (…, 7) float64, a copy. Its translations may leave [−1, 1]; the controller clips them.

    Raises:
        TutorialError: as `check_action`.
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
    """The inverse of `to_libero` for a binarised gripper: −1 open, +1 close → 1 open, 0 close.

    (…, 7) → (…, 7) float64, a copy. Raises as `check_action`.
    """
    out = check_action(action).copy()
    out[..., 6] = (1 - np.sign(out[..., 6])) / 2
    return out
