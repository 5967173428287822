"""Recorded episodes without their names, for the classroom.

`UnlabelledClip` is a clip of the player: what its policy saw and did, beside a known-good run.
`UnlabelledEpisode` is any episode's folder: its signatures, as `vla-tutorial diagnose` computes
them, without the verdict.
"""

from __future__ import annotations

import html
from pathlib import Path

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
from vla_tutorial.lab.answers import NO_ANSWER, CheckResult, not_yet, right
from vla_tutorial.lab.shown_clip import clip_html, load_clip
from vla_tutorial.recorded import CLIPS

UNLABELLED = {
    "A": "wrong_unnorm_key",
    "B": "no_flip",
    "C": PUBLISHED,
    "D": "wrong_prompt",
    "E": "gripper_inverted",
}
"""Letter → the condition of the recorded clip that the class sees without its name."""

CHOICES = (
    PUBLISHED,
    "no_flip",
    "flip_only",
    "wrong_prompt",
    "upper_case",
    "wrong_unnorm_key",
    "actions_too_large",
    "gripper_inverted",
)
"""The names that the class chooses from. Any two of them differ in what is shown."""

TASK = "3_0"
"""Task and saved initial state of the clips."""

HEAD = ("signature", "here", "published")
"""Head of the table of signatures."""


class UnlabelledClip:
    """One clip, by its letter in `UNLABELLED`, beside the published run from the same start.

    As the last line of a cell it shows itself. `shown` and `good` are what is shown of both.

    Raises:
        TutorialError: no such letter, or the clips were not made yet.
    """

    def __init__(self, letter: str, clips: Path = CLIPS) -> None:
        if letter not in UNLABELLED:
            raise unknown("unlabelled clip", letter, UNLABELLED)
        self.letter = letter
        self.shown = load_clip(clips / TASK, UNLABELLED[letter])
        self.good = load_clip(clips / TASK, PUBLISHED)

    def _repr_html_(self) -> str:
        return clip_html(self.shown, self.good, self.letter)

    def __repr__(self) -> str:
        return (
            f"Unlabelled clip {self.letter}: prompt {self.shown.prompt!r}, "
            f"tokens of step 0 {self.shown.tokens}. {self.shown.in_words()}."
        )


def check_clip(letter: str, answer: str | None, clips: Path = CLIPS) -> CheckResult:
    """Compare an answer, a condition's name or "published", with the clip called `letter`.

    A condition whose clip looks the same in everything that is shown is right as well.
    """
    if answer is None:
        return NO_ANSWER
    if answer == UNLABELLED[letter]:
        return right("say what shows it: the picture, the prompt, the tokens or a curve.")
    recorded = clips / TASK / str(answer) / "episode.js"
    if answer not in (PUBLISHED, *CATALOGUE) or not recorded.is_file():
        return not_yet(str(unknown("name", str(answer), CHOICES)))
    unlike = UnlabelledClip(letter, clips).shown.unlike(load_clip(clips / TASK, answer))
    if not unlike:
        return right(f"{answer} cannot be told from it by what is shown.")
    return not_yet(
        f"under {answer}, {unlike[0]} would be another. Compare {letter} with the known-good run, "
        "in this order: picture, prompt, tokens, size of motion, gripper."
    )


class UnlabelledEpisode:
    """An episode whose condition is not named. As the last line of a cell it shows its signatures.

    Args:
        folder: the episode's folder, of which only `steps.jsonl` is read.
        reference: the published ranges; None takes those of libero_object and `mini`.

    Attributes:
        rows: the table of signatures, without a verdict.

    Raises:
        TutorialError: the folder holds no readable `steps.jsonl`.
    """

    def __init__(self, folder: Path | str, reference: Reference | None = None) -> None:
        ranges = reference or load_reference()
        self._diagnosis = diagnose_folder(Path(folder), ranges)
        self.rows = table(self._diagnosis.signatures, ranges)

    def check(self, answer: str | None) -> CheckResult:
        """Compare an answer with the rules' verdict.

        Raises:
            TutorialError: the answer is none of `VERDICTS`.
        """
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
