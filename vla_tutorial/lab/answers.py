"""What a check of the lab says, and answers that are no answers."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_tutorial.arrays import Floats


@dataclass(frozen=True)
class CheckResult:
    """What a check says; `why` is a hint if the answer is not right. It shows itself in a cell."""

    right: bool
    why: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.why}"


def right(why: str) -> CheckResult:
    """The answer is right."""
    return CheckResult(True, why)


def not_yet(why: str) -> CheckResult:
    """The answer is not right."""
    return CheckResult(False, why)


NO_ANSWER = not_yet("there is no answer; replace None by yours.")


def call(function: Callable[..., Any], *arguments: object) -> Any:
    """What the reader's function returns, or a `CheckResult` that says how it failed."""
    try:
        return function(*arguments)
    # A reader's code may raise anything.
    except Exception as e:
        name = getattr(function, "__name__", "your function")
        return not_yet(f"{name} raised {type(e).__name__}: {e}")


def numbers(answer: object, count: int) -> Floats | CheckResult:
    """An answer of `count` numbers as (count,) float64, or what is wrong with it."""
    if answer is None or (isinstance(answer, list | tuple) and any(a is None for a in answer)):
        return NO_ANSWER
    found = _array(answer)
    if found is None or found.shape != (count,) or not np.isfinite(found).all():
        return not_yet(f"{count} numbers are expected here; got {short(answer)}.")
    return found


def number(answer: object) -> float | CheckResult:
    """An answer of one number, or what is wrong with it."""
    if answer is None:
        return NO_ANSWER
    found = _array(answer)
    if found is None or found.ndim or not np.isfinite(found):
        return not_yet(f"one number is expected here; got {short(answer)}.")
    return float(found)


def short(answer: object) -> str:
    """A reader's answer as text of at most some 80 letters, even where it cannot be printed."""
    try:
        return reprlib.repr(answer)
    # A reader's object may do anything.
    except Exception:
        return f"an object of type {type(answer).__name__}"


def _array(answer: object) -> Floats | None:
    if isinstance(answer, str | bytes | bool):
        return None
    try:
        found = np.asarray(answer)
        return None if np.iscomplexobj(found) else found.astype(np.float64)
    # A reader's object may do anything.
    except Exception:
        return None
