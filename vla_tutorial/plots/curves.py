"""The curves of a training run: the reader of `curves.jsonl`, and their figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vla_tutorial.decoding import Count, decode, is_json, read_lines
from vla_tutorial.errors import TutorialError
from vla_tutorial.plots.style import plain_text, style

CURVES = {
    "cross_entropy": "cross-entropy of the action tokens (nat)",
    "xyz_error_bins": "error of the translation (bins of 256)",
    "keypoints": "cross-entropy of the keypoints (nat)",
    # What older runs called it.
    "places": "cross-entropy of the keypoints (nat)",
}
"""Losses that `training_figure` shows: key in curves.jsonl → label."""

SUCCESS = {
    "libero_spatial": "libero_spatial",
    "libero_object": "libero_object",
    "libero_goal": "libero_goal",
    "libero_10": "libero_10",
    # What older runs called it, which knew one suite.
    "success": "libero_object",
}
"""Closed-loop success of the policy alone: key in curves.jsonl → suite."""

_SUCCESS = "closed-loop success of the policy alone (random layouts)"

EXPECTED = "Expected the curves.jsonl of `train fit` or `train dagger`."

MOST_BYTES = 32 * 2**20
MOST_LINES = 100_000
"""Of the file. A run of an hour writes some hundred lines of 200 bytes."""

Line = dict[str, Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)] | None]


class _Step(msgspec.Struct):
    step: Count


def read_curves(path: Path) -> list[Line]:
    """The lines of a run's `curves.jsonl`: optimiser step ("step") and values, None if not finite.

    A last line that a running or a killed process has not written to its end is left out.

    Raises:
        TutorialError: the file cannot be read, has no line, or a line is damaged; then the error
            names the line and the key.
    """
    lines = read_lines(path, EXPECTED, MOST_BYTES, MOST_LINES)
    if lines and not lines[-1].endswith(b"\n") and not is_json(lines[-1]):
        lines.pop()
    if not lines:
        raise TutorialError(f"{path} is empty: a run writes its first line after 100 steps.")
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        decode(line, _Step, where, EXPECTED)
        found.append(decode(line, Line, where, EXPECTED))
    return found


def training_figure(lines: Sequence[Mapping[str, float | None]], *, title: str = "") -> Figure:
    """The curves that the `lines` of `curves.jsonl` have, over optimiser steps.

    Args:
        lines: as `read_curves` gives them; each has a "step", and some of the keys of `CURVES` and
            `SUCCESS`.
        title: above the figure.

    Raises:
        TutorialError: no line has a value of any curve.
    """
    losses = _known(lines, CURVES)
    suites = _known(lines, SUCCESS)
    panels = len(losses) + bool(suites)
    if not panels:
        listed = ", ".join((*CURVES, *SUCCESS))
        raise TutorialError(f"No line has a value of {listed}. {EXPECTED}")
    with style():
        figure = Figure(figsize=(6.4, 1.7 * panels + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(panels, sharex=True))
        for axis, (key, (steps, values)) in zip(axes, losses.items(), strict=False):
            axis.plot(steps, values)
            axis.set_title(CURVES[key], loc="left", fontsize=9)
            axis.set_ylim(0, None)
        if suites:
            _draw_success(axes[-1], suites)
        axes[-1].set_xlabel("optimiser step")
        figure.suptitle(plain_text(title))
    return figure


_Curve = tuple[list[float], list[float]]


def _known(lines: Sequence[Mapping[str, float | None]], keys: Iterable[str]) -> dict[str, _Curve]:
    """Steps and values of each key that has any."""
    found: dict[str, _Curve] = {}
    for key in keys:
        for line in lines:
            step = line["step"]
            value = line.get(key)
            if value is not None and step is not None:
                steps, values = found.setdefault(key, ([], []))
                steps.append(step)
                values.append(value)
    return found


def _draw_success(axis: Axes, suites: Mapping[str, _Curve]) -> None:
    for key, (steps, values) in suites.items():
        axis.plot(steps, values, label=SUCCESS[key])
    axis.set_title(_SUCCESS, loc="left", fontsize=9)
    axis.set_ylim(0, 1)
    axis.legend(fontsize=8, ncols=2)
