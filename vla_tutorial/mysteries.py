"""Recorded episodes without their names, for the classroom: the first picture and three curves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import vla_tutorial
from vla_tutorial import clips, plots
from vla_tutorial.checks import MYSTERIES
from vla_tutorial.errors import unknown

CLIPS = Path(vla_tutorial.__file__).parents[1] / "book" / "clips"

TASK = "3_0"
"""Task and saved initial state of the episodes."""

CURVES: dict[str, dict[str, Any]] = {
    "gripper": {"ylabel": "gripper", "ylim": (-1.3, 1.3), "yticks": (-1, 1), "yticklabels": ("open", "close")},
    "height": {"ylabel": "height (cm)", "ylim": (0, 60)},
    "motion": {"ylabel": "|a|", "ylim": (0, 1.6)},
}


class Mystery:
    """One episode; as the last line of a cell it shows itself."""

    def __init__(self, letter: str, folder: Path) -> None:
        self.letter = letter
        self.series = clips.read(folder / "episode.js")["series"]
        self.picture = np.asarray(Image.open(folder / "poster.webp").convert("RGB"))

    def figure(self) -> Figure:
        """The first picture as the policy got it, and gripper, height and motion over steps."""
        with plots.style():
            figure = Figure(figsize=(7.2, 2.9), layout="constrained")
            grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.6))
            picture = figure.add_subplot(grid[:, 0])
            picture.imshow(self.picture)
            picture.set(xticks=[], yticks=[], title=f"{self.letter}: what the policy saw first")
            picture.grid(False)
            for row, (key, labels) in enumerate(CURVES.items()):
                axis = figure.add_subplot(grid[row, 1])
                axis.plot(self.series[key], drawstyle="steps-post" if key == "gripper" else "default")
                axis.set(**labels)
            axis.set_xlabel("control step")
        return figure

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=90, metadata={"Software": None})
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"Mystery {self.letter}: first picture, gripper command, height of the hand and commanded motion over control steps"


def show(letter: str, folder: Path | None = None) -> Mystery:
    """Mystery `letter`.

    Args:
        folder: where the clips are; None takes `book/clips` of this repository.

    Raises:
        TutorialError: no such letter, or the clips were not made yet.
    """
    if letter not in MYSTERIES:
        raise unknown("mystery", letter, MYSTERIES)
    return Mystery(letter, (folder or CLIPS) / TASK / MYSTERIES[letter])
