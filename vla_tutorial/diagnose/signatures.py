"""What an episode's log says in numbers, before anybody judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial import actions
from vla_tutorial.diagnose.log import Array, Log
from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.wiring import GripperMapping

TURNS = {"as published": (0, 1, 2, 3), "mirrored": (1, 0, 3, 2), "turned by 180°": (3, 2, 1, 0), "upside down": (2, 3, 0, 1)}
"""Where each quarter of the published picture is found in one that was turned: name → order of top left, top right, bottom left, bottom right."""

EXACT = 1e-5
"""Actions are logged to 1e-6; what tokens mean is known exactly."""

NEAR_BINS = 4
"""Bins to each side that count as "at" a bin."""

GRIPPER_BINS = (127, 254)
"""The only two bins that LIBERO's demonstrations hold for the gripper: 0 close and 1 open, in [−1, 1]."""

CENTRE_BIN = 127
"""The bin at the middle of every range."""

MOVED_MM = 1.0
"""Millimetres of the hand that must show in a picture: in recorded episodes, 1 mm changed a quarter's mean by 0.04 grey levels and more,
0.35 mm by 0.02; means are logged to 0.01. Published episodes move 4 mm in the first step."""

STILL = 0.05
"""Share of full speed below which a commanded translation counts as near zero (under 1 mm a step)."""


@dataclass(frozen=True)
class Picture:
    """The first picture that the policy saw, in grey levels (0–255).

    Attributes:
        brightness: mean.
        turned: how it must have been turned for its quarters to look like a published first picture (`TURNS`).
        misfit: largest difference of a quarter from the nearest task's after turning, both scaled to the same brightness.
        red_minus_blue: mean red minus mean blue; None in a log of format 1, as are the next two.
        chroma: red + blue − 2 green. The published JPEG round trip takes about one grey level each from red and blue.
        sharpness: mean difference of neighbouring pixels. Enlarging the crop blurs.
        repeats: whether the second picture is the first one again, though the hand had moved more than `MOVED_MM`.
    """

    brightness: float
    turned: str
    misfit: float
    red_minus_blue: float | None
    chroma: float | None
    sharpness: float | None
    repeats: bool


@dataclass(frozen=True)
class Mapping:
    """How the logged actions follow from the logged tokens.

    Attributes:
        key: the embedded statistics under which the tokens give the logged motion; None when none does.
        scale: least-squares factor from what the tokens mean under the expected statistics to the logged translation.
        beyond: share of translation commands outside [−1, 1], which the controller clips.
        gripper: the mapping that gives the logged gripper command at every step; None when none does.
    """

    key: str | None
    scale: float
    beyond: float
    gripper: GripperMapping | None


@dataclass(frozen=True)
class Progress:
    """How far the episode came, from proprioception: the step at which each was first true, or None.

    Attributes:
        reached: the hand is as low as an object's top (`REACH_M`).
        grasped: told to close, and something holds the fingers apart.
        lifted: `LIFT_M` above where it grasped, fingers still held apart.
        released: open again after that.
    """

    reached: int | None
    grasped: int | None
    lifted: int | None
    released: int | None


@dataclass(frozen=True)
class Signatures:
    """Everything that the rules look at.

    Attributes:
        steps: control steps logged (20 a second).
        success: whether the last reward is positive.
        first_close: step of the first closing command, or None.
        closes: changes from open to close.
        chatter: changes of the gripper command per 100 steps.
        undecided: share of gripper tokens that are neither of the two bins in the training data.
        early_undecided: the same over the first `EARLY` steps.
        jaggedness: mean |Δa| over mean |a| of the commanded translation.
        response: millimetres that the hand moves in a step for each unit of commanded translation (least squares; full speed is 1).
        travel: metres that the hand got at most from where it began.
        still: share of steps whose commanded translation is near zero.
        centred: share of motion tokens at the middle bin.
        saturated: share of motion tokens in the lowest or highest bin.
        fingers: millimetres between the fingers at the first step.
        first_off: mean distance (bins) of the first answer's six motion tokens from the nearest task's known-good range; None without one.
        picture, mapping, progress: see there.
    """

    steps: int
    success: bool
    first_close: int | None
    closes: int
    chatter: float
    undecided: float
    early_undecided: float
    jaggedness: float
    response: float
    travel: float
    still: float
    centred: float
    saturated: float
    fingers: float
    first_off: float | None
    picture: Picture
    mapping: Mapping
    progress: Progress


EARLY = 10
"""Steps within which nothing can have happened to the scene: half a second, at most 13 cm of the way."""

REACH_M = 0.13
"""Height of the hand (m above the floor) below which it is among the objects: the tallest, the milk, is grasped at 0.11 m."""

LIFT_M = 0.05
"""Rise (m) above the height of grasping that counts as lifted."""

OPEN_MM, EMPTY_MM, REST_MM = 70.0, 4.0, 0.5
"""Fingers: open above the first, closed on nothing below the second, at rest when they move less than the third in a step (they close by 4 mm and more)."""


def compute(log: Log, reference: Reference) -> Signatures:
    """The signatures of one episode against published ranges."""
    bins = token_bins(log)
    closing = log.actions[:, 6] > 0
    translation = log.actions[:, :3]
    speed = np.linalg.norm(translation, axis=1)
    changes = np.abs(np.diff(closing.astype(int)))
    undecided = (np.abs(bins[:, 6, None] - np.array(GRIPPER_BINS)) > NEAR_BINS).all(axis=1)
    return Signatures(
        steps=len(log),
        success=bool(log.reward[-1] > 0),
        first_close=int(closing.argmax()) if closing.any() else None,
        closes=int(np.count_nonzero(np.diff(closing.astype(int), prepend=0) > 0)),
        chatter=100 * float(changes.sum()) / len(log),
        undecided=float(undecided.mean()),
        early_undecided=float(undecided[:EARLY].mean()),
        jaggedness=_ratio(np.linalg.norm(np.diff(translation, axis=0), axis=1).sum(), speed[1:].sum()),
        response=_response(log),
        travel=float(np.linalg.norm(log.eef_pos - log.eef_pos[0], axis=1).max()),
        still=float((speed < STILL).mean()),
        centred=float((np.abs(bins[:, :6] - CENTRE_BIN) <= NEAR_BINS).mean()),
        saturated=float(((bins[:, :6] == 0) | (bins[:, :6] == 254)).mean()),
        fingers=float(log.fingers[0]),
        first_off=first_off(bins[0, :6], reference),
        picture=_picture(log, reference),
        mapping=_mapping(log, reference.key),
        progress=_progress(log, closing),
    )


def token_bins(log: Log) -> Array:
    """(T, 7) bins from 0 (lowest) to 254, as `actions.decode` reads tokens."""
    return np.clip(actions.VOCABULARY - 1 - log.tokens, 0, len(actions.BIN_CENTERS) - 1).astype(np.float64)


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
    known = reference.quarters / reference.quarters.mean(axis=1, keepdims=True) * reference.quarters.mean()
    misfits = {name: float(np.abs(known[:, order] - scaled).max(axis=1).min()) for name, order in TURNS.items()}
    turned = min(misfits, key=lambda name: misfits[name])
    red_minus_blue = chroma = None
    if log.channels is not None:
        red, green, blue = log.channels[0].tolist()
        red_minus_blue, chroma = red - blue, red + blue - 2 * green
    moved = len(log) > 1 and 1000 * float(np.linalg.norm(log.eef_pos[1] - log.eef_pos[0])) > MOVED_MM
    return Picture(
        brightness=brightness,
        turned=turned,
        misfit=misfits[turned],
        red_minus_blue=red_minus_blue,
        chroma=chroma,
        sharpness=None if log.sharpness is None else float(log.sharpness[0]),
        repeats=moved and bool((log.quarters[0] == log.quarters[1]).all()),
    )


def _mapping(log: Log, expected: str) -> Mapping:
    statistics = actions.embedded_statistics()
    decoded = {key: actions.decode(log.tokens, s) for key, s in statistics.items()}
    fits = {key: float(np.abs(d[:, :6] - log.actions[:, :6]).max()) for key, d in decoded.items()}
    best = min((expected, *fits), key=lambda key: fits[key])
    meant = decoded[expected]
    mappings: tuple[GripperMapping, ...] = ("binarised", "inverted", "continuous")
    commands = {m: actions.to_libero(meant, m)[:, 6] for m in mappings}
    gripper = next((m for m in mappings if np.abs(commands[m] - log.actions[:, 6]).max() < EXACT), None)
    return Mapping(
        key=best if fits[best] < EXACT else None,
        scale=_ratio((meant[:, :3] * log.actions[:, :3]).sum(), (meant[:, :3] ** 2).sum()),
        beyond=float((np.abs(log.actions[:, :3]) > 1 + EXACT).mean()),
        gripper=gripper,
    )


def _progress(log: Log, closing: np.ndarray) -> Progress:
    height = log.eef_pos[:, 2]
    at_rest = np.abs(np.diff(log.fingers, prepend=log.fingers[0])) < REST_MM
    held = closing & np.r_[False, closing[:-1]] & at_rest & (log.fingers > EMPTY_MM) & (log.fingers < OPEN_MM)
    held &= np.r_[False, held[:-1]]  # at rest for two steps: not the moment at which the fingers begin to move
    grasped = _first(held)
    grasp_height = height[grasped] if grasped is not None else np.inf
    lifted = _first(held & (height > grasp_height + LIFT_M) & (np.arange(len(log)) > (grasped or 0)))
    released = None if lifted is None else _first((log.fingers > OPEN_MM) & (np.arange(len(log)) > lifted))
    return Progress(_first(height < REACH_M), grasped, lifted, released)


def _first(true: np.ndarray) -> int | None:
    return int(true.argmax()) if true.any() else None
