"""What an episode's log says in numbers, before anybody judges."""

from __future__ import annotations

from dataclasses import dataclass

from vla_tutorial.wiring import GripperMapping

TURNS = {
    "as published": (0, 1, 2, 3),
    "mirrored": (1, 0, 3, 2),
    "turned by 180°": (3, 2, 1, 0),
    "upside down": (2, 3, 0, 1),
}
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
class Gripper:
    """The seventh number.

    Attributes:
        first_close: step of the first closing command, or None.
        closes: changes from open to close.
        chatter: changes of the command per 100 steps.
        undecided: share of tokens that are neither of the two bins in the training data (`GRIPPER_BINS`).
        early_undecided: the same over the first `EARLY` steps.
        fingers: millimetres between the fingers at the first step.
    """

    first_close: int | None
    closes: int
    chatter: float
    undecided: float
    early_undecided: float
    fingers: float


@dataclass(frozen=True)
class Progress:
    """How far the episode came, from proprioception: the step at which each was first true, or None.

    Attributes:
        reached: the hand is as low as an object's top (`REACH_M`).
        grasped: told to close, and something holds the fingers apart.
        lifted: `LIFT_M` above where it grasped, fingers still held apart.
        released: told to open again after that.
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
        jaggedness: mean |Δa| over mean |a| of the commanded translation.
        response: millimetres that the hand moves in a step for each unit of commanded translation (least squares; full speed is 1).
        travel: metres that the hand got at most from where it began.
        still: share of steps whose commanded translation is near zero.
        centred: share of motion tokens at the middle bin.
        saturated: share of motion tokens in the lowest or highest bin.
        first_off: mean distance (bins) of the first answer's six motion tokens from the nearest task's known-good range; None without one.
        picture, mapping, gripper, progress: see there.
    """

    steps: int
    success: bool
    jaggedness: float
    response: float
    travel: float
    still: float
    centred: float
    saturated: float
    first_off: float | None
    picture: Picture
    mapping: Mapping
    gripper: Gripper
    progress: Progress


EARLY = 10
"""Steps within which nothing can have happened to the scene: half a second, at most 13 cm of the way."""

REACH_M = 0.13
"""Height of the hand (m above the floor) below which it is among the objects: the tallest, the milk, is grasped at 0.11 m."""

LIFT_M = 0.05
"""Rise (m) above the height of grasping that counts as lifted."""

OPEN_MM, EMPTY_MM, REST_MM = 70.0, 4.0, 0.5
"""Fingers: open above the first, closed on nothing below the second, at rest when they move less than the third in a step (they close by 4 mm and more)."""
