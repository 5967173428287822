"""Recorded episodes without their names, for the classroom.

`UnlabelledClip` is a clip of the player: its first picture and three curves. `UnlabelledEpisode` is
any episode's folder: its signatures, as `vla-tutorial diagnose` computes them, without the verdict.
"""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vla_tutorial import plots
from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.diagnose import (
    VERDICTS,
    Diagnosis,
    Reference,
    SignatureRow,
    diagnose_folder,
    load_reference,
    table,
)
from vla_tutorial.errors import unknown
from vla_tutorial.lab.checks import NO_ANSWER, CheckResult, not_yet, right
from vla_tutorial.player import read_clip_script

UNLABELLED = {
    "A": "wrong_unnorm_key",
    "B": "no_flip",
    "C": PUBLISHED,
    "D": "wrong_prompt",
    "E": "gripper_inverted",
}
"""Letter → the condition of the recorded clip that the class sees without its name."""

CLIPS = Path(__file__).parents[2] / "book" / "clips"

TASK = "3_0"
"""Task and saved initial state of the clips."""

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
"""Series of a clip → how its axis is labelled."""

HEAD = ("signature", "here", "published")
"""Head of the table of signatures."""


class UnlabelledClip:
    """One clip, by its letter in `UNLABELLED`. As the last line of a cell it shows itself.

    Raises:
        TutorialError: no such letter, or the clips were not made yet.
    """

    def __init__(self, letter: str, clips: Path = CLIPS) -> None:
        if letter not in UNLABELLED:
            raise unknown("unlabelled clip", letter, UNLABELLED)
        folder = clips / TASK / UNLABELLED[letter]
        self.letter = letter
        self.series = read_clip_script(folder / "episode.js")["series"]
        self.picture = np.asarray(Image.open(folder / "poster.webp").convert("RGB"))

    def figure(self) -> Figure:
        """The policy's first picture, and gripper, height and motion over control steps."""
        with plots.style():
            figure = Figure(figsize=(7.2, 2.9), layout="constrained")
            grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.6))
            picture = figure.add_subplot(grid[:, 0])
            picture.imshow(self.picture)
            picture.set(xticks=[], yticks=[], title=f"{self.letter}: what the policy saw first")
            picture.grid(False)
            for row, (key, labels) in enumerate(CURVES.items()):
                axis = figure.add_subplot(grid[row, 1])
                (line,) = axis.plot(self.series[key])
                axis.set(**labels)
                if key == "gripper":
                    line.set_drawstyle("steps-post")
            axis.set_xlabel("control step")
        return figure

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure().savefig(
            buffer,
            format="png",
            dpi=90,
            metadata={"Software": None},
        )
        return buffer.getvalue()

    def __repr__(self) -> str:
        return (
            f"Unlabelled clip {self.letter}: first picture, gripper command, height of the hand "
            "and commanded motion over control steps"
        )


def check_clip(letter: str, answer: str | None) -> CheckResult:
    """Compare an answer, a condition's name or "published", with the clip called `letter`."""
    if answer is None:
        return NO_ANSWER
    wanted = UNLABELLED[letter]
    if answer == wanted:
        return right("say which of the three curves, or the picture, shows it.")
    if answer != PUBLISHED and answer not in CATALOGUE:
        return not_yet(str(unknown("condition", answer, CATALOGUE)))
    if PUBLISHED in (wanted, answer):
        return not_yet("does the hand go down to the object, close once or twice, and lift?")
    boundary = CATALOGUE[answer].boundary
    if boundary == CATALOGUE[wanted].boundary:
        return not_yet("the boundary is right, the fault is another one.")
    return not_yet(
        f"a fault of {boundary} would look different. "
        "Look at the picture first, then at the size of motion, then at the gripper."
    )


class UnlabelledEpisode:
    """An episode whose condition is not named. As the last line of a cell it shows its signatures.

    Only `steps.jsonl` in the episode's folder is read. `reference` are the published ranges; None
    takes those of libero_object and `mini`. `rows` are the table, without a verdict.
    """

    def __init__(self, folder: Path | str, reference: Reference | None = None) -> None:
        ranges = reference or load_reference()
        self._diagnosis = diagnose_folder(Path(folder), ranges)
        self.rows = table(self._diagnosis.signatures, ranges)

    def check(self, answer: str | None) -> CheckResult:
        """Compare an answer with the rules' verdict. An answer outside `VERDICTS` is an error."""
        if answer is None:
            return NO_ANSWER
        if answer not in VERDICTS:
            raise unknown("verdict", answer, VERDICTS)
        if answer == self._diagnosis.verdict:
            return right(self._diagnosis.evidence[0])
        return not_yet(
            "which row of the table is unlike a published episode? "
            "Go through them from the top: picture, answer, motion, scene."
        )

    def reveal(self) -> Diagnosis:
        """The verdict of the rules, with its evidence."""
        return self._diagnosis

    def __repr__(self) -> str:
        lines = [f"{name:<38} {value:<26} {known}" for name, value, known in (HEAD, *self.rows)]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head = _html_row(HEAD, "th")
        body = "".join(_html_row(row, "td") for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _html_row(row: SignatureRow, tag: str) -> str:
    cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
    return f"<tr>{cells}</tr>"
