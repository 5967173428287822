"""What others published of OpenVLA on LIBERO, beside what MuJoCo's versions do here. No Sphinx here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.stats import norm

from vla_tutorial import stats
from vla_tutorial.decoding import decode, read_bytes, read_object
from vla_tutorial.doctor import check_picture
from vla_tutorial.plots import ByVersion, gaps_figure, inline_svg, versions_figure

ROOT = Path(__file__).resolve().parents[2]
RERUNS = ROOT / "book" / "published_reruns.json"
FRAMES = ROOT / "tests" / "data" / "frames"
VERSIONS = ROOT / "results" / "mujoco_versions.json"

MOST_BYTES = 64 * 2**10
"""Bytes of `published_reruns.json`, which has two thousand."""


class Rerun(msgspec.Struct, forbid_unknown_fields=True):
    """One source: who, where, and success in percent for each suite of `Published.suites`."""

    who: str
    address: str
    success: list[float]


class Agreeing(msgspec.Struct, forbid_unknown_fields=True):
    """Sources that agree with the authors: their names, least and greatest success by suite."""

    who: list[str]
    least: list[float]
    most: list[float]


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """`published_reruns.json`. All success in percent, in the order of `suites`."""

    about: str
    read_in: str
    suites: list[str]
    authors: list[float]
    agree: Agreeing
    low_on_object: list[Rerun]
    users: list[Rerun]

    @property
    def low(self) -> list[Rerun]:
        """Everything that is low on libero_object: papers, then users."""
        return self.low_on_object + self.users


class _Versions(msgspec.Struct):
    """What is read of `results/mujoco_versions.json`."""

    measured: dict[str, dict[str, Any]]


@cache
def published_reruns() -> Published:
    """What others published."""
    remedy = "It is a file of the book: restore it."
    return decode(read_bytes(RERUNS, remedy, MOST_BYTES), Published, str(RERUNS), remedy)


def gaps(success: list[float]) -> list[float]:
    """Percentage points off the authors' success, by suite."""
    return [round(a - b, 1) for a, b in zip(success, published_reruns().authors, strict=True)]


def gap_range(suite: str, invert: bool = False) -> tuple[float, float]:
    """Least and greatest gap of the sources that are low: on a suite, or on all the others."""
    found = published_reruns()
    kept = [k for k, name in enumerate(found.suites) if (name == suite) != invert]
    every = [gaps(source.success)[k] for source in found.low for k in kept]
    return min(every), max(every)


def gaps_plot() -> str:
    """Gaps of published re-runs by suite, as SVG."""
    found = published_reruns()
    low = {source.who: gaps(source.success) for source in found.low}
    least, most = gaps(found.agree.least), gaps(found.agree.most)
    figure = gaps_figure(found.suites, low, list(zip(least, most, strict=True)))
    said = [f"{who}: {', '.join(f'{gap:+g}' for gap in listed)}" for who, listed in low.items()]
    description = (
        f"Percentage points off the authors' success on {', '.join(found.suites)}. "
        f"{len(found.agree.who)} sources lie near 0 on all. {'; '.join(said)}."
    )
    return inline_svg(figure, "gaps", description)


def versions_plot() -> str:
    """The floor's brightness and the bowl's place by version of MuJoCo, as SVG."""
    measured = read_object(VERSIONS, _Versions, "Run benchmarks/mujoco_versions.py.")["measured"]
    floor = [row["floor"] for row in measured.values()]
    moved = [row["bowl"]["moved_mm_median"] for row in measured.values()]
    panels = [
        ByVersion("floor of libero_object: grey level of 255", floor),
        ByVersion("bowl of libero_spatial's task 5: mm from its place under the first", moved),
    ]
    said = [
        f"{name}: floor {grey:g}, bowl {mm:g} mm away"
        for name, grey, mm in zip(measured, floor, moved, strict=True)
    ]
    figure = versions_figure(list(measured), panels)
    return inline_svg(figure, "versions", f"By version of MuJoCo. {'; '.join(said)}.")


def chance_gap(episodes: int) -> str:
    """Points by which two rates near the authors' differ by chance once in twenty comparisons."""
    object_rate = published_reruns().authors[1] / 100
    error = np.sqrt(2) * stats.standard_error(object_rate, episodes)
    return f"{100 * norm.isf(0.025) * error:.0f}"


def doctor_says(name: str) -> str:
    """What `vla-tutorial doctor --picture` says of one of the recorded frames."""
    found = check_picture(FRAMES / name)
    return f"{found.verdict.upper()} {found.check}: {found.detail}\n     → {found.remedy}"
