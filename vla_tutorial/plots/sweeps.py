"""Figures of sweeps: intervals of success, verdicts, and histograms of numbers of episodes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vla_tutorial.arrays import Floats
from vla_tutorial.plots.style import ABOVE, FAILURE, SOFT, SUCCESS, plain_text, style, write_text
from vla_tutorial.stats import Interval, Rate

WIDTH = 4.8
"""Inches: narrow, so that letters stay readable on a phone."""

NARROW_WIDTH = 3.0
"""Inches of forest plots and histograms: in a phone's column letters have 12 pixels or more."""

LONG = 22
"""Letters of a label that fit beside the axes."""

LINE = 42
"""Letters of a line of a label above the axes."""

MOST_LINES = 4
"""Of a label; the rest of it is left out."""

MOST_BINS = 40


@dataclass(frozen=True)
class Row:
    """A line of a forest plot. `over_tasks`: the wider interval, drawn in grey behind."""

    label: str
    rate: Rate | None
    over_tasks: Interval | None = None


@dataclass(frozen=True)
class Values:
    """One number per episode of a condition; None where undefined (the gripper never closes)."""

    label: str
    successes: Sequence[float | None]
    failures: Sequence[float | None]


def forest_figure(rows: Sequence[Row], beside: bool = False) -> Figure:
    """Success rates with Wilson's intervals, one below the other. A row without episodes says so.

    Args:
        beside: long labels stand beside the axes, too, which takes less height. Otherwise all stand
            above their row as soon as one has more than `LONG` letters.
    """
    labels = [row.label for row in rows]
    above = max(map(len, labels), default=0) > LONG and not beside
    inches = 0.25
    if above:
        labels = [_broken(label) for label in labels]
        lines = max(label.count("\n") + 1 for label in labels)
        inches = 0.24 + 0.13 * lines
    with style():
        figure = Figure(figsize=(NARROW_WIDTH, 0.75 + inches * len(rows)), layout="constrained")
        axes = figure.subplots()
        for y, row in enumerate(rows):
            _draw_interval(axes, y, row)
            if above:
                write_text(axes, labels[y], (0, y - 0.06 / inches), **ABOVE)
        axes.set(
            xlim=(-2, 102),
            xticks=range(0, 101, 20),
            xlabel="success (%), 95 % intervals",
        )
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        axes.set_yticklabels(map(plain_text, labels))
        if above:
            axes.set(ylim=(len(rows) - 0.5, -0.9), yticks=[])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
    return figure


def _broken(label: str) -> str:
    """A label in lines of at most `LINE` letters; a longer word stays whole."""
    return textwrap.fill(
        label,
        LINE,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=MOST_LINES,
        placeholder=" …",
    )


def _draw_interval(axes: Axes, y: int, row: Row) -> None:
    if row.rate is None:
        write_text(
            axes,
            "no episode ended",
            (50, y),
            color=SOFT,
            ha="center",
            va="center",
        )
        return
    if row.over_tasks:
        ends = 100 * np.array(row.over_tasks)
        axes.plot(
            ends,
            [y, y],
            color=SOFT,
            linewidth=1,
            marker="|",
            markersize=5,
        )
    ends = 100 * np.array(row.rate.interval)
    axes.plot(ends, [y, y], color=SUCCESS, linewidth=3, solid_capstyle="butt")
    axes.plot(
        100 * row.rate.rate,
        y,
        "o",
        color=SUCCESS,
        markersize=4,
        # Whole at 0 and at 100, too.
        clip_on=False,
    )


def confusion_figure(matrix: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> Figure:
    """Counts of what was found, for each thing that was there; shaded by the share of the row.

    Args:
        matrix: what was there → what was found → how often, a row each.
        columns: what may be found, in order.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 0.8 + 0.34 * len(matrix)), layout="constrained")
        axes = figure.subplots()
        for y, found in enumerate(matrix.values()):
            total = sum(found.get(column, 0) for column in columns)
            for x, column in enumerate(columns):
                _draw_cell(axes, x, y, found.get(column, 0), total)
        axes.set_xticks(range(len(columns)), map(_wrapped, columns))
        axes.set_yticks(range(len(matrix)), map(plain_text, matrix))
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(matrix) - 0.5, -0.5))
        axes.set(xlabel="verdict from the log alone", ylabel="what was changed")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _wrapped(name: str) -> str:
    return plain_text(name.replace(" ", "\n"))


def _draw_cell(axes: Axes, x: int, y: int, count: int, total: int) -> None:
    colour = SOFT
    if count:
        colour = "#000000"
        shade = 0.1 + 0.4 * count / total
        corner = (x - 0.5, y - 0.5)
        axes.add_patch(mpl.patches.Rectangle(corner, 1, 1, color=SUCCESS, alpha=shade))
    write_text(axes, f"{count}", (x, y), ha="center", va="center", color=colour)


def histogram_figure(conditions: Sequence[Values], xlabel: str) -> Figure:
    """Histograms over one axis, failures on top of successes; "never" is a bar apart.

    Args:
        conditions: one panel each, below each other. Values are 0 or greater; None is "never".
        xlabel: what the values are, with their unit.
    """
    numbers: list[float | None] = []
    for condition in conditions:
        numbers += [*condition.successes, *condition.failures]
    known = [value for value in numbers if value is not None]
    greatest = max(known, default=0.0)
    width = _bin_width(greatest)
    edges = np.arange(0, greatest + 2 * width, width)
    with style():
        figure = Figure(figsize=(NARROW_WIDTH, 0.9 + 0.8 * len(conditions)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(conditions), sharex=True))
        for axes, condition in zip(panels, conditions, strict=True):
            _draw_histogram(axes, condition, edges)
        last = panels[-1]
        last.set_xlabel(plain_text(xlabel))
        end = edges[-1] + 0.5 * width
        if None in numbers:
            # No tick where it would touch the word.
            ticks = [tick for tick in last.get_xticks() if 0 <= tick <= 0.9 * edges[-1]]
            labels = [f"{tick:g}" for tick in ticks]
            last.set_xticks([*ticks, edges[-1] + 2 * width], [*labels, "never"])
            end = edges[-1] + 4 * width
        last.set_xlim(-width / 2, end)
        successes = mpl.patches.Patch(color=SUCCESS, label="successes")
        failures = mpl.patches.Patch(color=FAILURE, label="failures")
        figure.legend(handles=[successes, failures], loc="outside upper right", ncols=2)
    return figure


def _draw_histogram(axes: Axes, condition: Values, edges: Floats) -> None:
    width = edges[1] - edges[0]
    # The last one stands for "never".
    centres = np.append(edges[:-1] + width / 2, edges[-1] + 2 * width)
    bottom = np.zeros(len(edges))
    for values, colour in ((condition.successes, SUCCESS), (condition.failures, FAILURE)):
        known = [value for value in values if value is not None]
        counts, _ = np.histogram(known, edges)
        heights = np.append(counts, len(values) - len(known))
        # A bar costs a millisecond, and most have nothing to show.
        some = heights > 0
        axes.bar(
            centres[some],
            heights[some],
            0.92 * width,
            bottom[some],
            color=colour,
        )
        bottom += heights
    axes.set_title(plain_text(condition.label), fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)
    axes.set_ylim(0, max(1.0, 1.05 * float(bottom.max())))


def _bin_width(greatest: float) -> float:
    return next(width for width in _bin_widths() if greatest <= MOST_BINS * width)


def _bin_widths() -> Iterator[float]:
    """0.1, 0.2, 0.5, 1, 2, 5, 10 and so on."""
    for decade in count(-1):
        yield from (digit * 10.0**decade for digit in (1, 2, 5))
