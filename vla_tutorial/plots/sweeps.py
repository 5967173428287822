"""Figures of sweeps: success with its intervals, and histograms of the first close and of time. As files, or as SVG inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vla_tutorial.plots.style import style
from vla_tutorial.stats.rates import Interval, Rate

SUCCESS, FAILURE, SOFT = "#0072B2", "#D55E00", "#999999"
"""Blue and vermilion of Okabe and Ito, as in data/vla.mplstyle, and grey."""

THEME = {
    SUCCESS: "var(--success)", FAILURE: "var(--failure)", SOFT: "var(--soft)", "#000000": "currentColor", "#E5E5E5": "var(--line)",
}  # fmt: skip
"""Colour of a figure → that of the page which it stands in, light or dark."""

WIDTH = 4.8
"""Inches: narrow, so that letters stay readable on a phone."""

LONG = 18
"""Letters of a label that fit beside the axes."""


@dataclass(frozen=True)
class Row:
    """A line of a forest plot. `over_tasks`: the wider interval, drawn in grey behind."""

    label: str
    rate: Rate | None
    over_tasks: Interval | None = None


@dataclass(frozen=True)
class Values:
    """A number of each episode, of one condition; None where the episode has none (a gripper that never closes)."""

    label: str
    successes: Sequence[float | None]
    failures: Sequence[float | None]


def forest_figure(rows: Sequence[Row], beside: bool = False) -> Figure:
    """Success rates with Wilson's intervals, one below the other; a row without episodes says so. Long labels stand above their row.

    Args:
        beside: long labels stand beside the axes too, which takes less height.
    """
    above = max((len(row.label) for row in rows), default=0) > LONG and not beside
    with style():
        figure = Figure(
            figsize=(WIDTH, 0.75 + (0.45 if above else 0.32) * len(rows)), layout="constrained"
        )
        axes = figure.subplots()
        for y, row in enumerate(rows):
            _interval(axes, y, row)
            if above:
                axes.annotate(
                    row.label,
                    (0, y - 0.2),
                    ha="left",
                    va="bottom",
                    fontsize=8,
                    annotation_clip=False,
                )
        axes.set(
            ylim=(len(rows) - 0.5, -0.8 if above else -0.5),
            xlim=(-2, 102),
            xticks=range(0, 101, 20),
        )
        axes.set(xlabel="success (%), 95 % intervals", yticks=[] if above else range(len(rows)))
        if not above:
            axes.set_yticklabels([row.label for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
    return figure


def _interval(axes: Axes, y: int, row: Row) -> None:
    if row.rate is None:
        axes.annotate("no episode ended", (50, y), ha="center", va="center", color=SOFT, fontsize=8)
        return
    if row.over_tasks:
        axes.plot(
            [100 * x for x in row.over_tasks],
            [y, y],
            color=SOFT,
            linewidth=1,
            marker="|",
            markersize=5,
        )
    axes.plot(
        [100 * x for x in row.rate.interval],
        [y, y],
        color=SUCCESS,
        linewidth=3,
        solid_capstyle="butt",
    )
    axes.plot([100 * row.rate.rate], [y], "o", color=SUCCESS, markersize=6)


def confusion_figure(matrix: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> Figure:
    """Counts of what was found, for each thing that was there; a cell's shade is its share of the row.

    Args:
        matrix: what was there → what was found → how often, a row each.
        columns: what may be found, in order.
    """
    counts = np.array([[found.get(column, 0) for column in columns] for found in matrix.values()])
    with style():
        figure = Figure(figsize=(WIDTH, 0.8 + 0.34 * len(matrix)), layout="constrained")
        axes = figure.subplots()
        for (y, x), count in np.ndenumerate(counts):
            if count:
                axes.add_patch(
                    mpl.patches.Rectangle(
                        (x - 0.5, y - 0.5),
                        1,
                        1,
                        color=SUCCESS,
                        alpha=0.1 + 0.4 * count / counts[y].sum(),
                    )
                )
            axes.annotate(
                f"{count}",
                (x, y),
                ha="center",
                va="center",
                fontsize=8,
                color="#000000" if count else SOFT,
            )
        axes.set(
            xlim=(-0.5, len(columns) - 0.5),
            ylim=(len(matrix) - 0.5, -0.5),
            xticks=range(len(columns)),
            yticks=range(len(matrix)),
        )
        axes.set_xticklabels([name.replace(" ", "\n") for name in columns])
        axes.set_yticklabels(list(matrix))
        axes.set(xlabel="verdict from the log alone", ylabel="what was changed")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def histogram_figure(conditions: Sequence[Values], xlabel: str) -> Figure:
    """Histograms over one axis, successes and failures on top of each other; "never" is a bar apart."""
    numbers = [v for c in conditions for v in (*c.successes, *c.failures)]
    known = [v for v in numbers if v is not None]
    never = None in numbers
    width = _bin_width(max(known, default=0.0))
    edges = np.arange(0, max(known, default=0.0) + 2 * width, width)
    with style():
        figure = Figure(figsize=(WIDTH, 0.9 + 0.95 * len(conditions)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(conditions), sharex=True))
        for axes, condition in zip(panels, conditions, strict=True):
            _histogram(axes, condition, edges)
        panels[-1].set_xlabel(xlabel)
        if never:
            ticks = [
                t for t in panels[-1].get_xticks() if 0 <= t <= 0.9 * edges[-1]
            ]  # none where it would touch the word
            panels[-1].set_xticks(
                [*ticks, edges[-1] + 2 * width], [*(f"{t:g}" for t in ticks), "never"]
            )
        panels[-1].set_xlim(-width / 2, edges[-1] + (4 if never else 0.5) * width)
        handles = [
            mpl.patches.Patch(color=colour, label=label)
            for colour, label in ((SUCCESS, "successes"), (FAILURE, "failures"))
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _histogram(axes: Axes, condition: Values, edges: NDArray[np.float64]) -> None:
    width, bottom = edges[1] - edges[0], np.zeros(len(edges))
    for values, colour in ((condition.successes, SUCCESS), (condition.failures, FAILURE)):
        counts, _ = np.histogram([v for v in values if v is not None], edges)
        heights = np.append(
            counts, sum(v is None for v in values)
        )  # the last one stands for "never"
        centres = np.append(edges[:-1] + width / 2, edges[-1] + 2 * width)
        some = heights > 0  # a bar costs a millisecond, and most have nothing to show
        axes.bar(centres[some], heights[some], 0.92 * width, bottom[some], color=colour)
        bottom += heights
    axes.set_title(condition.label, fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)
    axes.set_ylim(0, max(1.0, 1.05 * float(bottom.max())))


def _bin_width(greatest: float) -> float:
    """About forty bins of a round width."""
    return next(
        (w for w in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0) if greatest / w <= 40), 100.0
    )


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as SVG for the middle of a page: in the page's colours and fonts, without a title, an address or an id that repeats.

    Args:
        name: letters that no other figure of the page has.
        description: what a reader who cannot see it should know.
    """
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|;? ?font-family: [^;\"]*",
        "",
        svg,
        flags=re.DOTALL,
    )
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in THEME.items():
        svg = re.sub(colour, variable, svg, flags=re.IGNORECASE)
    described = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(
        r'<svg[^>]*?viewBox="([^"]+)"[^>]*>',
        rf'<svg class="plot" role="img" aria-label="{described}" viewBox="\1">',
        svg,
        count=1,
    )
