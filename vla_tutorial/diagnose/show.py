"""Signatures as a table for people, with or without the verdict."""

from __future__ import annotations

import html
from pathlib import Path

from vla_tutorial.checks import Verdict as Answer
from vla_tutorial.diagnose import Diagnosis, diagnose_folder
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.signatures import Picture, Signatures
from vla_tutorial.errors import unknown

VERDICTS = ("pixels", "prompt", "motion", "simulator", "policy", "nothing wrong")

Row = tuple[str, str, str]
"""Signature, its value here, what published episodes have ("" where there is nothing to compare)."""


def table(s: Signatures, reference: Reference) -> list[Row]:
    """The signatures in the order of the boundaries."""
    off = "not known" if s.first_off is None else f"{s.first_off:.1f} bins off"
    return [
        *_picture_rows(s.picture, reference),
        ("first answer", off, "under 4"),
        ("gripper tokens undecided", f"{s.gripper.undecided:.0%} (at first {s.gripper.early_undecided:.0%})", "0%"),
        ("motion tokens in the middle · at ends", f"{s.centred:.0%} · {s.saturated:.0%}", ""),
        ("motion fits the tokens under", s.mapping.key or "no known statistics", reference.key),
        ("size of the motion", f"× {s.mapping.scale:.3g}", "× 1"),
        ("gripper mapping", s.mapping.gripper or "no known mapping", "binarised"),
        ("hand moves per unit commanded", f"{s.response:.1f} mm a step", ""),
        ("hand gets from its start", f"{100 * s.travel:.0f} cm", ""),
        ("steps without motion", f"{s.still:.0%}", ""),
        ("jaggedness", f"{s.jaggedness:.2f}", ""),
        ("fingers at the first step", f"{s.gripper.fingers:.0f} mm", f"{reference.fingers[1]:.0f} mm"),
        ("first close", "never" if s.gripper.first_close is None else f"step {s.gripper.first_close}", ""),
        ("closes · changes", f"{s.gripper.closes} · {s.gripper.chatter:.1f} in 100 steps", ""),
        *_progress_rows(s),
        ("end", f"{'success' if s.success else 'no success'} after {s.steps} steps", ""),
    ]


def _picture_rows(p: Picture, reference: Reference) -> list[Row]:
    def between(ends: tuple[float, float]) -> str:
        return f"{ends[0]:.1f} to {ends[1]:.1f}"

    def level(value: float | None) -> str:
        return "not logged" if value is None else f"{value:.1f}"

    return [
        ("first picture is turned", p.turned, "as published"),
        ("quarters of it, off by", f"{p.misfit:.1f} grey levels", "0"),
        ("brightness (0–255)", f"{p.brightness:.1f}", between(reference.brightness)),
        ("red − blue", level(p.red_minus_blue), between(reference.red_minus_blue)),
        ("red + blue − 2 green", level(p.chroma), between(reference.chroma)),
        ("sharpness", level(p.sharpness), between(reference.sharpness)),
        ("second picture", "the first one again" if p.repeats else "another", "another"),
    ]


def _progress_rows(s: Signatures) -> list[Row]:
    stages = {"came down": s.progress.reached, "grasped": s.progress.grasped, "lifted": s.progress.lifted, "let go": s.progress.released}
    return [(name, "never" if step is None else f"step {step}", "") for name, step in stages.items()]


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

    def check(self, answer: str | None) -> Answer:
        """Compare an answer with the rules' verdict; gives nothing away while it is wrong. Raises TutorialError for no possible answer."""
        if answer is None:
            return Answer(False, "there is no answer; replace None by yours.")
        if answer not in VERDICTS:
            raise unknown("verdict", answer, VERDICTS)
        if answer == self._diagnosis.verdict:
            return Answer(True, self._diagnosis.evidence[0])
        return Answer(
            False, "which row of the table is unlike a published episode? Go through them from the top: picture, answer, motion, scene."
        )

    def reveal(self) -> Diagnosis:
        """The rules' verdict with its evidence."""
        return self._diagnosis

    def __repr__(self) -> str:
        return "\n".join(
            f"{name:<38} {value:<26} {known}".rstrip() for name, value, known in [("signature", "here", "published"), *self.rows()]
        )

    def _repr_html_(self) -> str:
        cells = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows())
        return f"<table><thead><tr><th>signature</th><th>here</th><th>published</th></tr></thead><tbody>{cells}</tbody></table>"
