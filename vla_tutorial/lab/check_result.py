"""What a check of a reader's answer says: right, or not yet and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CheckResult:
    """What a check says. As the last line of a cell it shows itself."""

    right: bool
    why: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.why}"


def right(why: str) -> CheckResult:
    """The answer is right."""
    return CheckResult(True, why)


def not_yet(why: str) -> CheckResult:
    """The answer is not right; `why` is a hint."""
    return CheckResult(False, why)


NO_ANSWER = not_yet("there is no answer; replace None by yours.")


def call_answer(function: Callable[..., Any], *arguments: object) -> Any:
    """What the reader's function returns, or a `CheckResult` that says how it failed."""
    try:
        return function(*arguments)
    # A student's code may raise anything.
    except Exception as e:
        name = getattr(function, "__name__", "your function")
        return not_yet(f"{name} raised {type(e).__name__}: {e}")
