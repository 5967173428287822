"""Which numbers are normal: learned from published episodes that succeed, per suite and policy.

`python benchmarks/boundaries.py normal` makes the file (data/normal_episodes.json).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec
import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.decoding import decode
from vla_tutorial.diagnose.measures import FREE_STEPS, MEASURES, Standard, lagged, measure
from vla_tutorial.diagnose.reference import Range, load_reference
from vla_tutorial.diagnose.traces import Traces
from vla_tutorial.errors import unknown

FILE = "data/normal_episodes.json"

TAPS = 6
"""Control steps over which a command acts: published motion is explained to 0.5 mm a step."""

MARGIN = 4.0
"""Widths of the normal range by which a number may leave it, set before any fault was judged.
benchmarks/boundaries.py chooses one on each half of the faults (results/boundaries_mini.json)."""


@dataclass(frozen=True)
class Normal:
    """What published episodes have.

    Attributes:
        standard: what episodes are measured against.
        ranges: measure → lowest and highest value; one that no episode had is left out.
        episodes: how many it was learned from.
    """

    standard: Standard
    ranges: Mapping[str, Range]
    episodes: int

    def deviates(self, name: str, value: float | None, margin: float = MARGIN) -> bool | None:
        """Whether a value is outside its range by more than `margin` widths; None: not known."""
        if value is None or name not in self.ranges:
            return None
        low, high = self.ranges[name]
        (resolution,) = (m.resolution for m in MEASURES if m.name == name)
        slack = margin * max(high - low, resolution)
        return not low - slack <= value <= high + slack


class Entry(msgspec.Struct):
    """One policy on one suite."""

    episodes: int
    taps: list[float]
    ranges: dict[str, Range]


class _File(msgspec.Struct):
    suites: dict[str, dict[str, Entry]]


@cache
def load_normal(suite: str = "libero_object", policy: str = "mini") -> Normal:
    """What is normal for a policy on a suite.

    Raises:
        TutorialError: the file holds no such suite or policy; it says which it holds.
    """
    text = resources.files("vla_tutorial").joinpath(FILE).read_bytes()
    remedy = "Learn it from episodes of yours: benchmarks/boundaries.py normal."
    suites = decode(text, _File, FILE, remedy).suites
    if suite not in suites:
        raise unknown("suite", suite, suites, remedy)
    if policy not in suites[suite]:
        raise unknown("policy", policy, suites[suite], remedy)
    entry = suites[suite][policy]
    standard = Standard(load_reference(suite, policy), np.array(entry.taps))
    return Normal(standard, entry.ranges, entry.episodes)


def learn(episodes: Sequence[Traces], suite: str, policy: str) -> Entry:
    """What is normal, from published episodes of a policy on a suite."""
    standard = Standard(load_reference(suite, policy), learn_taps(episodes))
    rows = [measure(traces, standard) for traces in episodes]
    ranges = {}
    for m in MEASURES:
        found = [row[m.name] for row in rows]
        values = [value for value in found if value is not None]
        if values:
            ranges[m.name] = (round(min(values), 5), round(max(values), 5))
    return Entry(len(episodes), standard.taps.round(4).tolist(), ranges)


def learn_taps(episodes: Sequence[Traces]) -> Floats:
    """(`TAPS`,) millimetres a step for a unit commanded so many steps ago (least squares)."""
    inputs = []
    outputs = []
    for traces in episodes:
        log = traces.log
        achieved = 1000 * np.diff(log.eef_pos[: FREE_STEPS + 1], axis=0)
        commanded = np.clip(log.actions[: len(achieved), :3], -1, 1)
        inputs.append(lagged(commanded, TAPS).reshape(-1, TAPS))
        outputs.append(achieved.ravel())
    taps, *_ = np.linalg.lstsq(np.concatenate(inputs), np.concatenate(outputs), rcond=None)
    return np.asarray(taps)
