"""Recorded episodes without their names, for the classroom.

`UnlabelledClip` is what a policy saw and did, beside a known-good run.
`UnlabelledEpisode` is any episode's folder: its signatures, as `vla-tutorial diagnose` computes
them, without the verdict.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from vla_tutorial.conditions import PUBLISHED
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
from vla_tutorial.lab.shown_clip import ShownClip, clip_html

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

HEAD = ("signature", "here", "published")
"""Head of the table of signatures."""


@dataclass(frozen=True)
class UnlabelledClip:
    """A clip without its name beside a known-good run from the same start.

    As the last line of a cell it shows itself. `shown` and `good` are what is shown of both.
    """

    title: str
    shown: ShownClip
    good: ShownClip

    def _repr_html_(self) -> str:
        return clip_html(self.shown, self.good, self.title)

    def __repr__(self) -> str:
        return (
            f"Unlabelled clip {self.title}: prompt {self.shown.prompt!r}, "
            f"tokens of step 0 {self.shown.tokens}. {self.shown.in_words()}."
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
