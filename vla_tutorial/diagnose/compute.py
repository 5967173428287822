"""From a log to its signatures."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from vla_tutorial import actions
from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.diagnose.signatures import (
    CENTRE_BIN,
    EARLY,
    EMPTY_MM,
    EXACT,
    GRIPPER_BINS,
    LIFT_M,
    MOVED_MM,
    NEAR_BINS,
    OPEN_MM,
    REACH_M,
    REST_MM,
    STILL,
    TURNS,
    Gripper,
    Mapping,
    Picture,
    Progress,
    Signatures,
)
from vla_tutorial.log import Array, Log
from vla_tutorial.wiring import GripperMapping


def compute(log: Log, reference: Reference) -> Signatures:
    """The signatures of one episode against published ranges."""
    bins = token_bins(log)
    motion_bins, translation = bins[:, :6], log.actions[:, :3]
    speed = np.linalg.norm(translation, axis=1)
    return Signatures(
        steps=len(log),
        success=bool(log.reward[-1] > 0),
        jaggedness=_ratio(
            np.linalg.norm(np.diff(translation, axis=0), axis=1).sum(), speed[1:].sum()
        ),
        response=_response(log),
        travel=float(np.linalg.norm(log.eef_pos - log.eef_pos[0], axis=1).max()),
        still=float((speed < STILL).mean()),
        centred=float((np.abs(motion_bins - CENTRE_BIN) <= NEAR_BINS).mean()),
        saturated=float(((motion_bins == 0) | (motion_bins == 254)).mean()),
        first_off=first_off(motion_bins[0], reference),
        picture=_picture(log, reference),
        mapping=_mapping(log, reference.key),
        gripper=_gripper(log, bins[:, 6]),
        progress=_progress(log),
    )


def token_bins(log: Log) -> Array:
    """(T, 7) bins from 0 (lowest) to 254, as `actions.decode` reads tokens."""
    return np.clip(actions.VOCABULARY - 1 - log.tokens, 0, len(actions.BIN_CENTERS) - 1).astype(
        np.float64
    )


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else 0.0


def _response(log: Log) -> float:
    """Each step's displacement against its own command; the controller lags, so speeding up and slowing down cancel over an episode."""
    commanded, achieved = np.clip(log.actions[:-1, :3], -1, 1), 1000 * np.diff(log.eef_pos, axis=0)
    return _ratio((commanded * achieved).sum(), (commanded**2).sum())


def first_off(bins: Array, reference: Reference) -> float | None:
    """Mean distance (bins) of the first answer's motion tokens (6,) from the nearest task's known-good range."""
    if reference.first_bins is None:
        return None
    low, high = reference.first_bins[:, 0], reference.first_bins[:, 1]
    outside = np.maximum(np.maximum(low - bins, bins - high), 0)
    return float(outside.mean(axis=1).min())


def _picture(log: Log, reference: Reference) -> Picture:
    quarters = log.quarters[0]
    brightness = float(quarters.mean())
    scaled = quarters / max(brightness, 1.0) * reference.quarters.mean()
    known = (
        reference.quarters
        / reference.quarters.mean(axis=1, keepdims=True)
        * reference.quarters.mean()
    )
    misfits = {
        name: float(np.abs(known[:, order] - scaled).max(axis=1).min())
        for name, order in TURNS.items()
    }
    turned = min(misfits, key=lambda name: misfits[name])
    red_minus_blue = chroma = None
    if log.channels is not None:
        red, green, blue = log.channels[0].tolist()
        red_minus_blue, chroma = red - blue, red + blue - 2 * green
    moved = (
        len(log) > 1 and 1000 * float(np.linalg.norm(log.eef_pos[1] - log.eef_pos[0])) > MOVED_MM
    )
    return Picture(
        brightness=brightness,
        turned=turned,
        misfit=misfits[turned],
        red_minus_blue=red_minus_blue,
        chroma=chroma,
        sharpness=None if log.sharpness is None else float(log.sharpness[0]),
        repeats=moved and bool((log.quarters[0] == log.quarters[1]).all()),
    )


def _gripper(log: Log, bins: Array) -> Gripper:
    closing = log.actions[:, 6] > 0
    changes = np.diff(closing.astype(int), prepend=0)
    undecided = (np.abs(bins[:, None] - np.array(GRIPPER_BINS)) > NEAR_BINS).all(axis=1)
    return Gripper(
        first_close=_first(closing),
        closes=int(np.count_nonzero(changes > 0)),
        chatter=100 * float(np.count_nonzero(changes[1:])) / len(log),
        undecided=float(undecided.mean()),
        early_undecided=float(undecided[:EARLY].mean()),
        fingers=float(log.fingers[0]),
    )


def _mapping(log: Log, expected: str) -> Mapping:
    statistics = actions.embedded_statistics()
    decoded = {key: actions.decode(log.tokens, s) for key, s in statistics.items()}
    fits = {key: float(np.abs(d[:, :6] - log.actions[:, :6]).max()) for key, d in decoded.items()}
    best = min((expected, *fits), key=lambda key: fits[key])
    meant = decoded[expected]
    mappings: tuple[GripperMapping, ...] = get_args(GripperMapping)  # the published one first
    commands = {m: actions.to_libero(meant, m)[:, 6] for m in mappings}
    gripper = next(
        (m for m in mappings if np.abs(commands[m] - log.actions[:, 6]).max() < EXACT), None
    )
    return Mapping(
        key=best if fits[best] < EXACT else None,
        scale=_ratio((meant[:, :3] * log.actions[:, :3]).sum(), (meant[:, :3] ** 2).sum()),
        beyond=float((np.abs(log.actions[:, :3]) > 1 + EXACT).mean()),
        gripper=gripper,
    )


def _progress(log: Log) -> Progress:
    closing, height = log.actions[:, 6] > 0, log.eef_pos[:, 2]
    at_rest = np.abs(np.diff(log.fingers, prepend=log.fingers[0])) < REST_MM
    held = (
        closing
        & np.r_[False, closing[:-1]]
        & at_rest
        & (log.fingers > EMPTY_MM)
        & (log.fingers < OPEN_MM)
    )
    held &= np.r_[
        False, held[:-1]
    ]  # at rest for two steps: not the moment at which the fingers begin to move
    grasped = _first(held)
    grasp_height = height[grasped] if grasped is not None else np.inf
    lifted = _first(
        held & (height > grasp_height + LIFT_M) & (np.arange(len(log)) > (grasped or 0))
    )
    released = None if lifted is None else _first(~closing & (np.arange(len(log)) > lifted))
    return Progress(_first(height < REACH_M), grasped, lifted, released)


def _first(true: NDArray[np.bool_]) -> int | None:
    return int(true.argmax()) if true.any() else None
