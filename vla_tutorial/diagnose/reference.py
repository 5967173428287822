"""What published episodes look like: ranges over saved initial states 0–24, made by `python benchmarks/diagnosis.py reference`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError, unknown

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Ranges of one suite's first pictures, and of one policy's first answers to them.

    Attributes:
        key: the statistics that policies of this suite are trained with.
        quarters: (tasks, 4) grey levels: means of the first picture's quarters, as in `record.line`.
        brightness, red_minus_blue, chroma, sharpness: lowest and highest value of the first picture (`signatures.Picture`).
        fingers: lowest and highest distance between the fingers at the first step, millimetres.
        first_bins: (tasks, 2, 6) lowest and highest bin (0–254) of the six motion tokens of the first answer; None where no known-good
            episodes of the policy were kept.
        policy: whose answers those are.
    """

    key: str
    quarters: Array
    brightness: tuple[float, float]
    red_minus_blue: tuple[float, float]
    chroma: tuple[float, float]
    sharpness: tuple[float, float]
    fingers: tuple[float, float]
    first_bins: Array | None
    policy: str


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        resources.files("vla_tutorial").joinpath("data/published_signatures.json").read_text()
    )
    return found


@cache
def load_reference(suite: str = "libero_object", policy: str = "mini") -> Reference:
    """The reference of a suite. For a policy without known-good first answers, `first_bins` is None and that check is left out.

    Raises:
        TutorialError: the suite has none; says which do.
    """
    suites = _data()["suites"]
    if suite not in suites:
        raise unknown(
            "suite",
            suite,
            suites,
            "Ranges of another suite are made with benchmarks/diagnosis.py reference --suite.",
        )
    entry = suites[suite]
    ranges = {
        k: (float(entry[k][0]), float(entry[k][1]))
        for k in ("brightness", "red_minus_blue", "chroma", "sharpness", "fingers")
    }
    bins = entry["first_bins"].get(policy)
    if not np.isfinite(entry["quarters"]).all():
        raise TutorialError(
            "data/published_signatures.json holds numbers that are not finite; make it again."
        )
    return Reference(
        suite,
        np.array(entry["quarters"], np.float64),
        **ranges,
        first_bins=None if bins is None else np.array(bins),
        policy=policy,
    )
