"""Trouble although the script is right: distribution shift with levels, and chance.

Each factory makes a condition of any level and checks the level.
"""

from __future__ import annotations

from vla_tutorial.conditions.condition import Condition, perturbation_change
from vla_tutorial.errors import TutorialError

_SHARPLY = "Success on task 0 falls sharply."

CAMERA_LEVELS = (5, 10, 15, 30)
"""Degrees."""

LIGHT_LEVELS = (75, 50, 25)
"""Per cent of the published light; 100 is the published protocol itself."""

NOISE_LEVELS = (5, 10, 20)
"""Grey levels."""

CLIPS = ("camera_15", "light_50", "noise_10")
"""The level of each shift that the player shows."""


def camera(degrees: float) -> Condition:
    """The camera walked around the scene, −90 … 90 degrees."""
    name = f"camera_{degrees:g}"
    return Condition(
        name,
        "shift",
        "The camera is walked around the scene by this angle, counterclockwise from above, and "
        "looks at the same point from as far.",
        perturbation_change(camera_degrees=_checked(name, degrees, -90, 90, "degrees")),
        level=degrees,
        unit="°",
        claims=f"The camera rotated by 15°: {_SHARPLY.lower()}" if degrees == 15 else "",
        clip=name in CLIPS,
    )


def light(percent: float) -> Condition:
    """Every lamp at a share of its brightness, 0 … 200 per cent."""
    name = f"light_{percent:g}"
    return Condition(
        name,
        "shift",
        "Every lamp burns at this share of its brightness; shapes and colours stay.",
        perturbation_change(light=_checked(name, percent, 0, 200, "per cent") / 100),
        level=percent,
        unit=" %",
        claims=f"The lighting dimmed: {_SHARPLY.lower()}",
        clip=name in CLIPS,
    )


def noise(sigma: float) -> Condition:
    """Noise in the camera, 0 … 128 grey levels."""
    name = f"noise_{sigma:g}"
    return Condition(
        name,
        "shift",
        "The camera's every pixel carries Gaussian noise of this standard deviation, drawn anew "
        "each step.",
        perturbation_change(camera_noise=_checked(name, sigma, 0, 128, "grey levels")),
        level=sigma,
        unit=" grey levels",
        clip=name in CLIPS,
    )


def friction(name: str, percent: float) -> Condition:
    """All friction coefficients at a share of their value, 10 … 1000 per cent."""
    return Condition(
        name,
        "chance",
        f"Every friction coefficient is at {percent:g} % of its value, which no picture shows.",
        perturbation_change(friction=_checked(name, percent, 10, 1000, "per cent") / 100),
        level=percent,
        unit=" %",
        claims="MuJoCo samples friction in each rollout, and that is part of why one episode in "
        "ten fails.",
        clip=False,
    )


def nudge(number: int) -> Condition:
    """The arm's start turned a little; each number is another draw."""
    name = f"nudge_{number}"
    return Condition(
        name,
        "chance",
        "Each arm joint starts 0.01 rad off at random, a tenth of what the saved initial states "
        "differ by.",
        perturbation_change(joint_noise_seed=int(_checked(name, number, 1, 2**31, "as a number"))),
        claims="Episodes fail by chance, through contact angle and placement, with the script and "
        "the policy right.",
        clip=False,
    )


def _checked(name: str, level: float, low: float, high: float, unit: str) -> float:
    if not low <= level <= high:
        raise TutorialError(f"The level of {name} is out of range: expected {low} … {high} {unit}.")
    return level


SHIFTS = (
    *map(camera, CAMERA_LEVELS),
    *map(light, LIGHT_LEVELS),
    *map(noise, NOISE_LEVELS),
    Condition(
        "second_can",
        "shift",
        "A second instance of the thing that is asked for stands among the others. It is drawn, "
        "not simulated: fingers go through it.",
        perturbation_change(second_can=True),
        claims=f"A second can of soup in the scene: {_SHARPLY.lower()}",
    ),
    Condition(
        "distractors_swapped",
        "shift",
        "The things that the task does not speak of change places among themselves.",
        perturbation_change(distractors="swapped"),
        claims=f"LIBERO does not vary distractor objects. With others: {_SHARPLY.lower()}",
    ),
    Condition(
        "distractors_hidden",
        "shift",
        "The things that the task does not speak of are gone: they stand behind the camera.",
        perturbation_change(distractors="hidden"),
        clip=False,
    ),
)

CHANCE = (friction("friction_low", 90), friction("friction_high", 110), *map(nudge, (1, 2, 3)))
