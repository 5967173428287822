"""Trouble although the script is right: distribution shift with levels, and chance.

Each function makes a condition of any level. Its TutorialError names a level that is out of range.
"""

from __future__ import annotations

from vla_tutorial.conditions.condition import Condition, perturbation_change
from vla_tutorial.errors import TutorialError

_FALLS = "success on task 0 falls sharply."

CLIPS = ("camera_15", "light_50", "noise_10")
"""The level of each shift that the player shows."""


def camera(degrees: float) -> Condition:
    """The camera walked around the scene, −90 … 90 degrees."""
    name = f"camera_{degrees:g}"
    teaches = (
        "The camera is moved around the scene by this angle, counterclockwise as seen from above. "
        "It looks at the same point from the same distance."
    )
    change = perturbation_change(camera_degrees=degrees)
    claims = f"With the camera rotated by 15° {_FALLS}" if degrees == 15 else ""
    _check(name, degrees, -90, 90, "°")
    return Condition(
        name,
        "shift",
        teaches,
        change,
        degrees,
        "°",
        claims,
        clip=name in CLIPS,
    )


def light(percent: float) -> Condition:
    """Every lamp at a share of its brightness, 0 … 200 per cent; 100 is the published protocol."""
    name = f"light_{percent:g}"
    teaches = "All lights are dimmed to this percentage. Shapes and colours stay the same."
    change = perturbation_change(light=percent / 100)
    claims = f"With dimmed lighting {_FALLS}"
    _check(name, percent, 0, 200, " %")
    return Condition(name, "shift", teaches, change, percent, " %", claims, clip=name in CLIPS)


def noise(sigma: float) -> Condition:
    """Noise in the camera; `sigma` is its standard deviation, 0 … 128 grey levels of 255."""
    name = f"noise_{sigma:g}"
    teaches = (
        "Gaussian noise with this standard deviation is added to every pixel. It is new at each "
        "step."
    )
    change = perturbation_change(camera_noise=sigma)
    unit = " grey levels"
    _check(name, sigma, 0, 128, unit)
    return Condition(name, "shift", teaches, change, sigma, unit, clip=name in CLIPS)


def friction(name: str, percent: float) -> Condition:
    """All friction coefficients at a share of their value, 10 … 1000 per cent."""
    teaches = f"Every friction coefficient is at {percent:g} % of its value. No picture shows this."
    change = perturbation_change(friction=percent / 100)
    claims = (
        "MuJoCo samples friction in each rollout. This is one reason why one episode in ten fails."
    )
    _check(name, percent, 10, 1000, " %")
    return Condition(name, "chance", teaches, change, percent, " %", claims, clip=False)


def nudge(number: int) -> Condition:
    """The arm's start turned a little; each number, 1 … 2³¹, is another draw."""
    name = f"nudge_{number}"
    teaches = (
        "Each arm joint begins 0.01 rad off at random. The saved initial states differ by ten "
        "times as much."
    )
    change = perturbation_change(joint_noise_seed=number)
    claims = (
        "Episodes fail by chance, because of contact angle and placement, although the script and "
        "the policy are right."
    )
    _check(name, number, 1, 2**31)
    return Condition(name, "chance", teaches, change, claims=claims, clip=False)


def _check(name: str, level: float, low: float, high: float, unit: str = "") -> None:
    if not low <= level <= high:
        raise TutorialError(f"The level of {name} is out of range: expected {low} … {high}{unit}.")


SHIFTS = (
    *map(camera, (5, 10, 15, 30)),
    *map(light, (75, 50, 25)),
    *map(noise, (5, 10, 20)),
    Condition(
        "second_can",
        "shift",
        "A second copy of the requested object stands among the others. It is drawn but not "
        "simulated, so the fingers go through it.",
        perturbation_change(second_can=True),
        claims=f"With a second can of soup in the scene {_FALLS}",
    ),
    Condition(
        "distractors_swapped",
        "shift",
        "The other objects swap places.",
        perturbation_change(distractors="swapped"),
        claims=f"LIBERO does not vary distractor objects. With other ones {_FALLS}",
    ),
    Condition(
        "distractors_hidden",
        "shift",
        "The other objects are hidden. They stand behind the camera.",
        perturbation_change(distractors="hidden"),
        clip=False,
    ),
)

CHANCE = (friction("friction_low", 90), friction("friction_high", 110), *map(nudge, (1, 2, 3)))
