"""From a log to its signatures."""

from __future__ import annotations

from typing import get_args

import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Bools, Floats
from vla_tutorial.diagnose import signatures as s
from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.log import Log
from vla_tutorial.wiring import GripperMapping


def compute(log: Log, reference: Reference) -> s.Signatures:
    """The signatures of one episode against published ranges; `signatures` has their units.

    Args:
        reference: the package ships action statistics under its key.
    """
    last_bin = len(actions.BIN_CENTERS) - 1
    bins = np.clip(actions.token_bins(log.tokens), 0, last_bin).astype(np.float64)
    motion_bins = bins[:, :6]
    at_end = (motion_bins == 0) | (motion_bins == last_bin)
    return s.Signatures(
        steps=len(log),
        success=log.success,
        jaggedness=_jaggedness(log),
        response=_response(log),
        travel=float(np.linalg.norm(log.eef_pos - log.eef_pos[0], axis=1).max()),
        still=float((log.motion < s.STILL).mean()),
        centred=float((np.abs(motion_bins - s.CENTRE_BIN) <= s.NEAR_BINS).mean()),
        saturated=float(at_end.mean()),
        first_off=first_off(motion_bins[0], reference),
        picture=_picture(log, reference),
        mapping=_mapping(log, reference.key),
        gripper=_gripper(log, bins[:, 6]),
        progress=_progress(log),
    )


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else 0.0


def _jaggedness(log: Log) -> float:
    changes = np.diff(log.actions[:, :3], axis=0)
    return _ratio(np.linalg.norm(changes, axis=1).sum(), log.motion[1:].sum())


def _response(log: Log) -> float:
    """Least squares. The controller lags, but speeding up and slowing down cancel."""
    commanded = np.clip(
        log.actions[:-1, :3],
        -1,
        1,
    )
    achieved = 1000 * np.diff(log.eef_pos, axis=0)
    return _ratio((commanded * achieved).sum(), (commanded**2).sum())


def first_off(bins: Floats, reference: Reference) -> float | None:
    """Mean distance, in bins, from the nearest task's known-good range; None without one.

    Args:
        bins: (6,) of the first motion tokens, 0 to 254.
    """
    if reference.first_bins is None:
        return None
    low, high = np.moveaxis(reference.first_bins, 1, 0)
    outside = np.maximum(np.maximum(low - bins, bins - high), 0)
    return float(outside.mean(axis=1).min())


def _picture(log: Log, reference: Reference) -> s.FirstPicture:
    misfits = _misfits(log.quarters[0], reference)
    turned = min(misfits, key=lambda name: misfits[name])
    red_minus_blue = chroma = sharpness = None
    if log.channels is not None and log.sharpness is not None:
        red, green, blue = log.channels[0].tolist()
        red_minus_blue = red - blue
        chroma = red + blue - 2 * green
        sharpness = float(log.sharpness[0])
    return s.FirstPicture(
        brightness=float(log.quarters[0].mean()),
        turned=turned,
        misfit=misfits[turned],
        red_minus_blue=red_minus_blue,
        chroma=chroma,
        sharpness=sharpness,
        repeats=_repeats(log),
    )


def _misfits(quarters: Floats, reference: Reference) -> dict[str, float]:
    """Name of a turn → `FirstPicture.misfit` of the first picture's quarters (4,)."""
    level = reference.quarters.mean()
    scaled = quarters / max(float(quarters.mean()), 1.0) * level
    known = reference.quarters / reference.quarters.mean(axis=1, keepdims=True) * level
    turned = {name: np.abs(known[:, order] - scaled) for name, order in s.TURNS.items()}
    return {name: float(off.max(axis=1).min()) for name, off in turned.items()}


def _repeats(log: Log) -> bool:
    moved = 1000 * np.linalg.norm(np.diff(log.eef_pos[:2], axis=0)).item()
    return moved > s.MOVED_MM and bool((log.quarters[0] == log.quarters[1]).all())


def _gripper(log: Log, bins: Floats) -> s.Gripper:
    changes = np.count_nonzero(np.diff(log.closing))
    distances = np.abs(bins[:, None] - np.array(s.GRIPPER_BINS))
    undecided = (distances > s.NEAR_BINS).all(axis=1)
    return s.Gripper(
        first_close=log.first_close,
        closes=log.closes,
        chatter=100 * float(changes) / len(log),
        undecided=float(undecided.mean()),
        early_undecided=float(undecided[: s.EARLY].mean()),
        fingers=float(log.fingers[0]),
    )


def _mapping(log: Log, expected: str) -> s.Mapping:
    decoded = {}
    misfits = {}
    for key, known in actions.embedded_statistics().items():
        decoded[key] = actions.decode(log.tokens, known)
        misfits[key] = np.abs(decoded[key][:, :6] - log.actions[:, :6]).max()
    # The expected key comes first, so that it wins a tie.
    best = min((expected, *misfits), key=lambda key: misfits[key])
    meant = decoded[expected]
    translation = log.actions[:, :3]
    return s.Mapping(
        key=best if misfits[best] < s.EXACT else None,
        scale=_ratio((meant[:, :3] * translation).sum(), (meant[:, :3] ** 2).sum()),
        beyond=float((np.abs(translation) > 1 + s.EXACT).mean()),
        gripper=_gripper_mapping(log, meant),
    )


def _gripper_mapping(log: Log, meant: Floats) -> GripperMapping | None:
    # The published mapping comes first.
    mappings: tuple[GripperMapping, ...] = get_args(GripperMapping)
    for mapping in mappings:
        if np.abs(actions.to_libero(meant, mapping)[:, 6] - log.gripper).max() < s.EXACT:
            return mapping
    return None


def _progress(log: Log) -> s.Progress:
    at_rest = np.abs(np.diff(log.fingers, prepend=log.fingers[0])) < s.REST_MM
    apart = (log.fingers > s.HELD_MM[0]) & (log.fingers < s.HELD_MM[1])
    still = log.closing & _a_step_later(log.closing) & at_rest & apart
    # Two steps at rest, because the fingers are also at rest just before they begin to move.
    held = still & _a_step_later(still)
    reached = _first(log.height < s.REACH_M)
    grasped = _first(held)
    lifted = None
    released = None
    if grasped is not None:
        lifted = _first(held & (log.height > log.height[grasped] + s.LIFT_M))
    if lifted is not None:
        released = _first(~log.closing & (np.arange(len(log)) > lifted))
    return s.Progress(reached, grasped, lifted, released)


def _a_step_later(true: Bools) -> Bools:
    return np.concatenate([[False], true[:-1]])


def _first(true: Bools) -> int | None:
    if not true.any():
        return None
    return int(true.argmax())
