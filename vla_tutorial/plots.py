"""Figures of episodes. All go through one style (data/vla.mplstyle) and never through pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vla_tutorial.record import first_close as first_close

Lines = Sequence[Mapping[str, Any]]
"""The lines of a `steps.jsonl`."""


_STYLE = resources.files("vla_tutorial").joinpath("data/vla.mplstyle")


def style() -> Any:
    """Context manager that switches the project's plotting style on."""
    with resources.as_file(_STYLE) as path:
        return mpl.rc_context(fname=path)


def use_style() -> None:
    """Draw all later figures of this process in the project's style; for notebooks."""
    with resources.as_file(_STYLE) as path:
        mpl.style.use(path)


def motion(lines: Lines) -> NDArray[np.float64]:
    """(T,) length of the commanded translation, a share of full speed (1 is 0.05 m of goal displacement a step)."""
    return np.asarray(np.linalg.norm([entry["action"][:3] for entry in lines], axis=1))


def _draw(axes: Sequence[Axes], lines: Lines, colour: str, label: str) -> None:
    steps = [entry["step"] for entry in lines]
    gripper, height, speed, reward = axes
    gripper.step(steps, [entry["action"][6] for entry in lines], where="post", color=colour, label=label)
    height.plot(steps, [100 * entry["eef_pos"][2] for entry in lines], color=colour)
    speed.plot(steps, motion(lines), color=colour)
    reward.step(steps, [entry["reward"] for entry in lines], where="post", color=colour)
    if lines[-1]["reward"] > 0:
        reward.plot(steps[-1], lines[-1]["reward"], "o", color=colour)
        reward.annotate(f"success: {steps[-1]}", (steps[-1], 1), (6, -3), textcoords="offset points", color=colour, fontsize=8)
    if (close := first_close(lines)) is not None:
        for axis in axes:
            axis.axvline(close, color=colour, linestyle=":", linewidth=1)
        gripper.annotate(f"first close: {close}", (close, 1.15), color=colour, fontsize=8, ha="left", va="bottom", annotation_clip=False)


def episode_figure(lines: Lines, other: Lines | None = None, *, title: str = "", labels: tuple[str, str] = ("", "")) -> Figure:
    """Gripper command, end-effector height, commanded motion and reward over control steps; a second episode is laid over the first.

    Args:
        lines, other: lines of `steps.jsonl`.
        title: what the figure shows.
        labels: names of the two episodes, for the legend.
    """
    with style():
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1.4, 1.4, 0.8))
        colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
        for entries, colour, label in zip((lines, other), colours, labels, strict=False):
            if entries:
                _draw(axes, entries, colour, label)
        _label(axes)
        if any(labels):
            axes[0].legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.75))
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def _label(axes: Sequence[Axes]) -> None:
    names = ("gripper\ncommand", "end-effector\nheight (cm)", "commanded\nmotion |a|", "reward")
    for axis, name in zip(axes, names, strict=True):
        axis.set_ylabel(name)
    axes[0].set(ylim=(-1.3, 1.3), yticks=(-1, 1), yticklabels=("open", "close"))
    axes[1].set_ylim(0, max(32, axes[1].get_ylim()[1]))  # the whole workspace, so that an arm that stands still looks so
    axes[2].set_ylim(0, max(1.05, axes[2].get_ylim()[1]))
    axes[3].set(ylim=(-0.1, 1.15), yticks=(0, 1), xlabel="control step (20 a second)")


CURVES = {
    "cross_entropy": "cross-entropy of the action tokens (nat)",
    "xyz_error_bins": "translation off by (bins of 256)",
    "places": "cross-entropy of where things are (nat)",
    "success": "closed-loop success of the policy alone (last 200 episodes, random layouts)",
}
"""What `training_figure` shows: key in curves.jsonl → label."""


def training_figure(lines: Lines, *, title: str = "") -> Figure:
    """The curves of a training run over optimiser steps; closed-loop success where simulators drove.

    Args:
        lines: those of `curves.jsonl` (training/fit.py).
    """
    shown = [key for key in CURVES if any(entry.get(key) is not None for entry in lines)]
    with style():
        figure = Figure(figsize=(6.4, 1.7 * len(shown) + 0.6), layout="constrained")
        for axis, key in zip(np.atleast_1d(figure.subplots(len(shown), sharex=True)), shown, strict=True):
            points = [(entry["step"], entry[key]) for entry in lines if entry.get(key) is not None]
            axis.plot(*zip(*points, strict=True))
            axis.set_title(CURVES[key], loc="left", fontsize=9)
            axis.set_ylim(0, 1 if key == "success" else None)
        axis.set_xlabel("optimiser step")
        figure.suptitle(title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure without dates in it, so that equal figures are equal files."""
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})
