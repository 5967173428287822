"""What published episodes look like: ranges over saved initial states 0–24.

`python benchmarks/diagnosis.py reference` makes them (data/published_signatures.json).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec
import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.decoding import decode
from vla_tutorial.errors import unknown

Range = tuple[float, float]
"""Lowest and highest value."""


@dataclass(frozen=True)
class Reference:
    """Ranges of one suite's first pictures, and of one policy's first answers to them."""

    key: str  # the statistics that policies of this suite are trained with
    quarters: Floats  # (tasks, 4) grey levels: means of the first picture's quarters (`log.Log`)
    brightness: Range  # of the first picture (`signatures.FirstPicture`), as are the next three
    red_minus_blue: Range
    chroma: Range
    sharpness: Range
    fingers: Range  # distance between the fingers at the first step, millimetres
    # (tasks, 2, 6) lowest and highest bin (0–254) of the first motion tokens; None where no
    # known-good episodes of the policy were kept.
    first_bins: Floats | None
    policy: str  # whose answers those are


Four = tuple[float, float, float, float]
Bins = tuple[int, int, int, int, int, int]


class _Suite(msgspec.Struct):
    """One suite of the file; a row of lists is a task."""

    brightness: Range
    red_minus_blue: Range
    chroma: Range
    sharpness: Range
    fingers: Range
    quarters: list[Four]
    first_bins: dict[str, list[tuple[Bins, Bins]]]


class _File(msgspec.Struct):
    suites: dict[str, _Suite]


def reference_suites() -> tuple[str, ...]:
    """Suites that have a reference; raises a TutorialError if the file is damaged."""
    return tuple(_entries())


@cache
def load_reference(suite: str = "libero_object", policy: str = "mini") -> Reference:
    """The reference of a suite, with the first answers of `policy` where known-good ones were kept.

    Raises:
        TutorialError: the suite has none; it says which do. Or the file is damaged.
    """
    suites = _entries()
    if suite not in suites:
        remedy = "Make the ranges of another suite: benchmarks/diagnosis.py reference --suite."
        raise unknown("suite", suite, suites, remedy)
    entry = suites[suite]
    bins = entry.first_bins.get(policy)
    return Reference(
        key=suite,
        quarters=np.array(entry.quarters, np.float64),
        brightness=entry.brightness,
        red_minus_blue=entry.red_minus_blue,
        chroma=entry.chroma,
        sharpness=entry.sharpness,
        fingers=entry.fingers,
        first_bins=np.array(bins) if bins else None,
        policy=policy,
    )


@cache
def _entries() -> dict[str, _Suite]:
    name = "data/published_signatures.json"
    text = resources.files("vla_tutorial").joinpath(name).read_bytes()
    return decode(text, _File, name, "Make it again: benchmarks/diagnosis.py reference.").suites
