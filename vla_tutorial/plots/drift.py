"""Figures of unnoticed changes: measurements by version, success beside a published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vla_tutorial.plots.style import FAILURE, SOFT, SUCCESS, plain_text, style, write_text
from vla_tutorial.plots.sweeps import WIDTH


@dataclass(frozen=True)
class ByVersion:
    """One measurement under each version: a panel of `versions_figure`.

    Attributes:
        title: what was measured, with its unit.
        values: one a version, in the same order.
    """

    title: str
    values: Sequence[float]


def versions_figure(versions: Sequence[str], panels: Sequence[ByVersion]) -> Figure:
    """Measurements by version, a panel each. What equals the first version's value is blue.

    Raises:
        ValueError: a panel has not one value a version.
    """
    places = range(len(versions))
    with style():
        apart = ConstrainedLayoutEngine(hspace=0.15)
        figure = Figure(figsize=(WIDTH, 0.6 + 1.35 * len(panels)), layout=apart)
        every = np.atleast_1d(figure.subplots(len(panels), sharex=True))
        for axes, panel in zip(every, panels, strict=True):
            for place, value in zip(places, panel.values, strict=True):
                colour = SUCCESS if value == panel.values[0] else FAILURE
                axes.bar(place, value, 0.6, color=colour)
                write_text(axes, f"{value:g}", (place, value), ha="center", va="bottom")
            axes.set_title(plain_text(panel.title), loc="left", fontsize=9)
            axes.set(ylim=(0, 1.25 * max(*panel.values, 1e-9)), yticks=[])
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False)
        every[-1].set_xticks(places, map(plain_text, versions))
        every[-1].tick_params(length=0)
    return figure


def gaps_figure(
    rows: Sequence[str],
    gaps: Mapping[str, Sequence[float]],
    usual: Sequence[tuple[float, float]],
) -> Figure:
    """Percentage points by which success of several sources differs from a published one.

    Args:
        rows: what was run, for example the suites.
        gaps: source → a difference for each row; a point each.
        usual: for each row the least and the greatest difference of all other sources; a bar.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 0.8 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=SOFT, linewidth=1)
        for y, ends in enumerate(usual):
            axes.plot(ends, [y, y], color=SUCCESS, linewidth=7, alpha=0.5, solid_capstyle="butt")
        for differences in gaps.values():
            axes.plot(differences, range(len(rows)), "o", color=FAILURE, markersize=5)
        _label(axes, rows)
    return figure


def _label(axes: Axes, rows: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), map(plain_text, rows))
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="percentage points off the authors' success")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
