"""A picture from somebody else's set-up: is its floor that of the published scene?

It must be the first picture of the scene that `frame` knows: libero_object, task 0, saved initial
state 0, after 10 settle steps, the camera agentview.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.decoding import read_bytes
from vla_tutorial.doctor.finding import HealthFinding
from vla_tutorial.doctor.frame import (
    FLOOR,
    FLOOR_TOLERANCE,
    MEAN_TOLERANCE,
    PATCH_TOLERANCE,
    grid_means,
    reference_frame,
)
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.wire import decode_picture
from vla_tutorial.wiring import PINNED_MUJOCO

SIDE = 256
"""Pixels of LIBERO's camera; pictures of another size are scaled to it first."""

SMALLEST = 64
"""Pixels a side, below which a patch of the floor is too few of them."""

MOST_BYTES = 16 * 2**20
"""Of the file. A raw picture of the largest size that is read has 3 MiB."""

SAME_SCENE = 25.0
"""Grey levels that patches may differ on average from the nearest reference, and still be this
scene. Measured on llvmpipe's picture: its mirror image differs by 16.6, its negative by 27.3."""

SCENE = "libero_object, task 0, saved initial state 0, after 10 settle steps, camera agentview"

_CHECK = "Your picture"
_REMEDY = f"Give a PNG of this picture: {SCENE}."


@dataclass(frozen=True)
class Match:
    """A picture beside a reference.

    Attributes:
        name: "published" or "drifted".
        turned: whether the picture was turned by 180° to match: it was upright.
        mean: grey levels off, on average over 256 patches.
        worst: in the worst patch.
        colour: in the mean of one of the colours.
        floor: the picture's brightness on the floor, in grey levels.
        floor_known: the reference's.
    """

    name: str
    turned: bool
    mean: float
    worst: float
    colour: float
    floor: float
    floor_known: float


def read_picture(path: Path) -> Picture:
    """A PNG file → (256, 256, 3) uint8.

    Raises:
        TutorialError: it is no square RGB picture of 64 to 1024 pixels a side, or damaged.
    """
    try:
        image = decode_picture(read_bytes(path, _REMEDY, MOST_BYTES), "png")
    except TutorialError as e:
        text = str(e)
        raise TutorialError(text if str(path) in text else f"{path}: {text} {_REMEDY}") from e
    height, width = image.shape[:2]
    if height != width or height < SMALLEST:
        what = f"{path} has {width} × {height} pixels; expected a square of at least {SMALLEST}"
        raise TutorialError(f"{what}. {_REMEDY}")
    if height == SIDE:
        return image
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX))


def match(image: Picture) -> Match:
    """The nearest of two references in two orientations; `image` is (256, 256, 3) uint8."""
    reference = reference_frame()
    known = {"published": reference, "drifted": reference["drifted"]}
    found = []
    for name, values in known.items():
        for turned in (False, True):
            seen = image[::-1, ::-1] if turned else image
            off = np.abs(grid_means(seen) - np.array(values["grid"]))
            colours: Floats = seen.mean((0, 1)) - np.array(values["channels"])
            found.append(
                Match(
                    name,
                    turned,
                    float(off.mean()),
                    float(off.max()),
                    float(np.abs(colours).max()),
                    float(seen[FLOOR].mean()),
                    float(values["floor"]),
                )
            )
    return min(found, key=lambda one: one.mean)


def judge_picture(image: Picture) -> HealthFinding:
    """Whether a picture (256, 256, 3) has the published floor or that of MuJoCo from 3.3.3 on."""
    best = match(image)
    published = reference_frame()["floor"]
    way = "turned by 180°" if best.turned else "as MuJoCo gives it"
    nearest = "the published picture" if best.name == "published" else "that of MuJoCo 3.3.3"
    detail = (
        f"{way}; it differs from {nearest} by {best.mean:.1f} grey levels on average and by "
        f"{best.worst:.0f} in the worst of 256 patches; its floor has {best.floor:.0f} grey "
        f"levels, the published one {published:.0f}"
    )
    if best.mean > SAME_SCENE:
        what = f"not the known scene, so it cannot be judged; {detail}"
        return HealthFinding(_CHECK, "note", what, _REMEDY)
    near_floor = abs(best.floor - best.floor_known) <= FLOOR_TOLERANCE
    if best.name == "drifted" and near_floor:
        remedy = (
            "The floor is as dark as MuJoCo from 3.3.3 on draws it: "
            f"pip install mujoco=={PINNED_MUJOCO}, and measure again."
        )
        return HealthFinding(_CHECK, "fail", detail, remedy)
    near = max(best.mean, best.colour) <= MEAN_TOLERANCE and best.worst <= PATCH_TOLERANCE
    if best.name == "published" and near and near_floor:
        return HealthFinding(_CHECK, "ok", detail)
    remedy = (
        "It shows the known scene, but differs: compare orientation, colours, light and camera."
    )
    return HealthFinding(_CHECK, "fail", detail, remedy)


def check_picture(path: Path) -> HealthFinding:
    """`judge_picture` of a PNG file; raises as `read_picture`."""
    return judge_picture(read_picture(path))
