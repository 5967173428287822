"""The figure of one episode, or of two."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vla_tutorial.log import Log
from vla_tutorial.plots.style import ABOVE, plain_text, style, write_text


def episode_figure(
    log: Log, other: Log | None = None, *, title: str = "", labels: tuple[str, str] = ("", "")
) -> Figure:
    """Gripper command, height of the hand, commanded motion and reward over control steps.

    The height is in centimetres above the floor; motion is the length of the commanded
    translation, 1 at full speed along an axis. First closes and the success are marked.

    Args:
        other: a second episode, laid over the first.
        labels: names of the two, for a legend; without any there is none.
    """
    with style():
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        axes = figure.subplots(
            4,
            1,
            sharex=True,
            height_ratios=(1, 1.4, 1.4, 0.8),
        )
        colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
        drawn = [_draw(axes, log, colours[0])]
        if other is not None:
            drawn.append(_draw(axes, other, colours[1]))
        _label(axes)
        if any(labels):
            # As arguments: labels of lines that begin with "_" would be left out.
            names = [plain_text(label) for label in labels[: len(drawn)]]
            axes[0].legend(
                drawn,
                names,
                loc="upper right",
                ncols=2,
                bbox_to_anchor=(1, 1.75),
            )
        figure.suptitle(
            plain_text(title),
            fontsize=11,
            fontweight="bold",
            x=0.01,
            ha="left",
        )
    return figure


def _draw(axes: Sequence[Axes], log: Log, colour: str) -> Line2D:
    """Draw an episode. The line of its gripper stands for it in the legend."""
    gripper, height, speed, reward = axes
    steps = np.arange(len(log))
    (line,) = gripper.step(steps, log.gripper, where="post", color=colour)
    height.plot(steps, 100 * log.height, color=colour)
    speed.plot(steps, log.motion, color=colour)
    reward.step(steps, log.reward, where="post", color=colour)
    if log.success:
        end = len(log) - 1
        reward.plot(end, log.reward[-1], "o", color=colour)
        offset = {"xytext": (6, -3), "textcoords": "offset points"}
        write_text(reward, f"success: {end}", (end, 1), color=colour, **offset)
    step = log.first_close
    if step is not None:
        for axis in axes:
            axis.axvline(step, color=colour, linestyle=":", linewidth=1)
        write_text(gripper, f"first close: {step}", (step, 1.15), color=colour, **ABOVE)
    return line


def _label(axes: Sequence[Axes]) -> None:
    names = ("gripper\ncommand", "height of the\nhand (cm)", "commanded\nmotion |a|", "reward")
    for axis, name in zip(axes, names, strict=True):
        axis.set_ylabel(name)
    axes[0].set(
        ylim=(-1.3, 1.3),
        yticks=(-1, 1),
        yticklabels=("open", "close"),
    )
    # At least the whole workspace, so that an arm that hardly moves looks so.
    axes[1].set_ylim(0, max(32, axes[1].get_ylim()[1]))
    axes[2].set_ylim(0, max(1.05, axes[2].get_ylim()[1]))
    axes[3].set(
        ylim=(-0.1, 1.15),
        yticks=(0, 1),
        xlabel="control step (20 a second)",
    )
