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
"""Name → where a turned picture has the published top left, top right, bottom left, bottom right
quarter."""

EXACT = 1e-5
"""Actions are logged to 1e-6; what tokens mean is known exactly."""

NEAR_BINS = 4
"""Bins to each side that count as "at" a bin."""

GRIPPER_BINS = (127, 254)
"""The only bins that LIBERO's demonstrations hold for the gripper: 0 close, 1 open in [−1, 1]."""

CENTRE_BIN = 127
"""The bin at the middle of every range."""

MOVED_MM = 1.0
"""Millimetres of the hand that must show in a picture: 1 mm changed a quarter's mean by at least
0.04 grey levels, 0.35 mm by 0.02; means are logged to 0.01. Published first steps move 4 mm."""

STILL = 0.05
"""Share of full speed below which a commanded translation is near zero (under 1 mm a step)."""

EARLY = 10
"""Steps in which nothing can have happened to the scene: half a second, at most 13 cm of way."""

REACH_M = 0.13
"""Height (m) below which the hand is among the objects. The tallest, milk, is grasped at 0.11."""

LIFT_M = 0.05
"""Rise (m) above the height of grasping that counts as lifted."""

HELD_MM = (4.0, 70.0)
"""Fingers hold something between these distances: below they are closed on nothing, above open."""

REST_MM = 0.5
"""Fingers that move less in a step are at rest. They close by 4 mm a step and more."""


@dataclass(frozen=True)
class Picture:
    """The first picture that the policy saw, in grey levels (0–255).

    Attributes:
        brightness: mean.
        turned: how the picture was turned (`TURNS`), judged by its quarters.
        misfit: largest difference of a quarter from the nearest task's, turned and equally bright.
        red_minus_blue: mean red minus mean blue; None in a log of format 1, as are the next two.
        chroma: red + blue − 2 green. The JPEG round trip takes about a level off red and blue.
        sharpness: mean difference of neighbouring pixels. Enlarging the crop blurs.
        repeats: whether the second picture is the first one, though the hand moved `MOVED_MM`.
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
        key: the embedded statistics under which the tokens give the logged motion, or None.
        scale: logged translation over what the tokens mean under the expected statistics.
        beyond: share of translation commands outside [−1, 1], which the controller clips.
        gripper: the mapping that gives the logged gripper command at every step, or None.
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
        undecided: share of tokens that are neither of `GRIPPER_BINS`.
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
    """How far the episode came: the step at which each was first true, or None.

    Attributes:
        reached: the hand is as low as an object's top (`REACH_M`).
        grasped: commanded to close, and something holds the fingers apart.
        lifted: `LIFT_M` above where it grasped, fingers still held apart.
        released: commanded to open again after that.
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
        response: millimetres a step of the hand for each unit of commanded translation.
        travel: largest distance of the hand from where it began, in metres.
        still: share of steps whose commanded translation is near zero.
        centred: share of motion tokens at the middle bin.
        saturated: share of motion tokens in the lowest or highest bin.
        first_off: distance of the first answer from the known-good ones (`compute.first_off`).
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
