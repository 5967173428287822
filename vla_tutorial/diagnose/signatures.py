"""What an episode's log says in numbers, before anybody judges, and the numbers as a table."""

from __future__ import annotations

from dataclasses import dataclass

from vla_tutorial.diagnose.reference import Range, Reference
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
class FirstPicture:
    """The first picture that the policy saw, in grey levels (0–255)."""

    brightness: float  # mean
    turned: str  # how the picture was turned (`TURNS`), judged by its quarters
    misfit: float  # largest difference of a quarter from the nearest task's, when turned and scaled
    # The next three are None in a log of format 1.
    red_minus_blue: float | None  # of the means
    chroma: float | None  # red + blue − 2 green; a JPEG round trip takes a level off red and blue
    sharpness: float | None  # mean difference of neighbouring pixels; enlarging the crop blurs
    repeats: bool  # the second picture is the first one, though the hand moved `MOVED_MM`


@dataclass(frozen=True)
class Mapping:
    """How the logged actions follow from the logged tokens."""

    key: str | None  # the embedded statistics under which the tokens give the logged motion
    # Logged translation over what the tokens mean under the expected statistics (least squares).
    scale: float
    beyond: float  # share of translation commands outside [−1, 1], which the controller clips
    gripper: GripperMapping | None  # what gives the logged gripper command at every step


@dataclass(frozen=True)
class Gripper:
    """The seventh number."""

    first_close: int | None  # step of the first closing command
    closes: int  # changes from open to close
    chatter: float  # changes of the command per 100 steps
    undecided: float  # share of tokens that are neither of `GRIPPER_BINS`
    early_undecided: float  # the same over the first `EARLY` steps
    fingers: float  # millimetres between the fingers at the first step


@dataclass(frozen=True)
class Progress:
    """How far the episode came, by positions and commands: when each was first true, or None.

    Numbers are control steps, from 0.
    """

    reached: int | None  # the hand is as low as an object's top (`REACH_M`)
    grasped: int | None  # commanded to close, and something holds the fingers apart
    lifted: int | None  # `LIFT_M` above where it grasped, fingers still held apart
    released: int | None  # commanded to open again after that


@dataclass(frozen=True)
class Signatures:
    """Everything that the rules look at."""

    steps: int  # control steps logged (20 a second)
    success: bool  # the last reward is positive
    jaggedness: float  # mean |Δa| over mean |a| of the commanded translation
    # Millimetres a step of the hand for each unit of commanded translation (least squares); full
    # speed along an axis is 1.
    response: float
    travel: float  # largest distance of the hand from where it began, metres
    still: float  # share of steps whose commanded translation is near zero (`STILL`)
    centred: float  # share of motion tokens at the middle bin
    saturated: float  # share of motion tokens in the lowest or highest bin
    # Mean distance, in bins, of the first answer's six motion tokens from the nearest task's
    # known-good range; None without one.
    first_off: float | None
    picture: FirstPicture
    mapping: Mapping
    gripper: Gripper
    progress: Progress


SignatureRow = tuple[str, str, str]
"""Signature, its value here, what published episodes have ("" where nothing is comparable)."""

ENDS = {True: "success", False: "no success"}


def table(s: Signatures, reference: Reference) -> list[SignatureRow]:
    """The signatures for people, without a verdict, in the order of the boundaries."""
    g = s.gripper
    p = s.picture
    repeated = "the first one again" if p.repeats else "another"
    off = "not known" if s.first_off is None else f"{s.first_off:.1f} bins off"
    undecided = f"{g.undecided:.0%} (at first {g.early_undecided:.0%})"
    return [
        ("first picture is turned", p.turned, "as published"),
        ("quarters of it, off by", f"{p.misfit:.1f} grey levels", "0"),
        ("brightness (0–255)", _level(p.brightness), _between(reference.brightness)),
        ("red − blue", _level(p.red_minus_blue), _between(reference.red_minus_blue)),
        ("red + blue − 2 green", _level(p.chroma), _between(reference.chroma)),
        ("sharpness", _level(p.sharpness), _between(reference.sharpness)),
        ("second picture", repeated, "another"),
        ("first answer", off, "under 4"),
        ("gripper tokens undecided", undecided, "0%"),
        ("motion tokens in the middle · at ends", f"{s.centred:.0%} · {s.saturated:.0%}", ""),
        ("motion fits the tokens under", s.mapping.key or "no known statistics", reference.key),
        ("size of the motion", f"× {s.mapping.scale:.3g}", "× 1"),
        ("gripper mapping", s.mapping.gripper or "no known mapping", "binarised"),
        ("hand moves per unit commanded", f"{s.response:.1f} mm a step", ""),
        ("hand gets from its start", f"{100 * s.travel:.0f} cm", ""),
        ("steps without motion", f"{s.still:.0%}", ""),
        ("jaggedness", f"{s.jaggedness:.2f}", ""),
        ("fingers at the first step", f"{g.fingers:.0f} mm", f"{reference.fingers[1]:.0f} mm"),
        ("first close", _step(g.first_close), ""),
        ("closes · changes", f"{g.closes} · {g.chatter:.1f} in 100 steps", ""),
        ("came down", _step(s.progress.reached), ""),
        ("grasped", _step(s.progress.grasped), ""),
        ("lifted", _step(s.progress.lifted), ""),
        ("let go", _step(s.progress.released), ""),
        ("end", f"{ENDS[s.success]} after {s.steps} steps", ""),
    ]


def _between(ends: Range) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"


def _level(value: float | None) -> str:
    return "not logged" if value is None else f"{value:.1f}"


def _step(step: int | None) -> str:
    return "never" if step is None else f"step {step}"
