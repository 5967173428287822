"""What a check of the machine found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HealthVerdict = Literal["ok", "note", "fail"]


@dataclass(frozen=True)
class HealthFinding:
    """What was looked at, what was found, and what to do about it.

    The verdict is `ok`; `note`, worth knowing; `fail`, would silently spoil results or stop a run.
    """

    check: str
    verdict: HealthVerdict
    detail: str
    remedy: str = ""
