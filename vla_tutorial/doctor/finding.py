"""What a check of the machine found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vla_tutorial.errors import TutorialError

HealthVerdict = Literal["ok", "note", "fail"]


@dataclass(frozen=True)
class HealthFinding:
    """One line of the doctor's report.

    Attributes:
        check: what was looked at.
        verdict: `ok`; `note`, worth knowing; `fail`, would silently spoil results or stop a run.
        detail: what was found, on one line.
        remedy: what to do about it; "" for nothing.
    """

    check: str
    verdict: HealthVerdict
    detail: str
    remedy: str = ""


def sentence(error: BaseException) -> str:
    """An error on one line: a TutorialError's text, or the name and the first line of another's."""
    if isinstance(error, TutorialError):
        return str(error)
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
