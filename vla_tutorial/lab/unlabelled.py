"""Recorded episodes without their names, for the classroom: the first picture and three curves."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import vla_tutorial
from vla_tutorial import plots
from vla_tutorial.diagnose import Diagnosis, diagnose_folder
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.show import VERDICTS, Row, table
from vla_tutorial.errors import unknown
from vla_tutorial.lab.checks import MYSTERIES, Verdict
from vla_tutorial.player import clips

CLIPS = Path(vla_tutorial.__file__).parents[1] / "book" / "clips"

TASK = "3_0"
"""Task and saved initial state of the episodes."""

CURVES: dict[str, dict[str, Any]] = {
    "gripper": {
        "ylabel": "gripper",
        "ylim": (-1.3, 1.3),
        "yticks": (-1, 1),
        "yticklabels": ("open", "close"),
    },
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
                axis.plot(
                    self.series[key], drawstyle="steps-post" if key == "gripper" else "default"
                )
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


class Unlabelled:
    """An episode whose condition nobody names. As the last line of a cell it shows its signatures; `check` takes the reader's answer.

    Args:
        folder: an episode's folder; only `steps.jsonl` is read.
    """

    def __init__(self, folder: Path | str, reference: Reference | None = None) -> None:
        self._reference = reference or load_reference()
        self._diagnosis = diagnose_folder(Path(folder), self._reference)

    def rows(self) -> list[Row]:
        """The table, without a verdict."""
        return table(self._diagnosis.signatures, self._reference)

    def check(self, answer: str | None) -> Verdict:
        """Compare an answer with the rules' verdict; gives nothing away while it is wrong. Raises TutorialError for no possible answer."""
        if answer is None:
            return Verdict(False, "there is no answer; replace None by yours.")
        if answer not in VERDICTS:
            raise unknown("verdict", answer, VERDICTS)
        if answer == self._diagnosis.verdict:
            return Verdict(True, self._diagnosis.evidence[0])
        return Verdict(
            False,
            "which row of the table is unlike a published episode? Go through them from the top: picture, answer, motion, scene.",
        )

    def reveal(self) -> Diagnosis:
        """The rules' verdict with its evidence."""
        return self._diagnosis

    def __repr__(self) -> str:
        return "\n".join(
            f"{name:<38} {value:<26} {known}".rstrip()
            for name, value, known in [("signature", "here", "published"), *self.rows()]
        )

    def _repr_html_(self) -> str:
        cells = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr><th>signature</th><th>here</th><th>published</th></tr></thead><tbody>{cells}</tbody></table>"
