"""Answers as the hand-in keeps them: numbers, texts, and what functions return."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_tutorial.lab import checks
from vla_tutorial.lab.answers import CheckResult, call, number, numbers, short
from vla_tutorial.lab.handin import Answer
from vla_tutorial.lab.sheet import Sheet

COUNTS = {"4b": 3, "7a": 2, "7c": 2}
"""Question → how many numbers its answer has, where that is not one."""

MOST_CODE = 4000


@dataclass(frozen=True)
class Kept:
    """An answer without anything that could run. `code`: the text of the student's function."""

    value: Answer
    code: str = ""


def kept(sheet: Sheet, question: str, answer: object) -> Kept:
    """An answer as it is kept; one that is of no use is kept as the text that shows it."""
    if question == "2":
        return Kept(_picture(sheet, answer), _code(answer))
    if question == "4a":
        values = checks.decoded(sheet, answer) if callable(answer) else None
        return Kept(values if isinstance(values, list) else None, _code(answer))
    if question in ("1c", "6"):
        return Kept("recorded")
    if question == "3" or question.startswith("5"):
        return Kept(answer[:1000] if isinstance(answer, str) else short(answer))
    return Kept(_numbers(question, answer))


def _numbers(question: str, answer: object) -> Answer:
    if question in COUNTS:
        found = numbers(answer, COUNTS[question])
        return short(answer) if isinstance(found, CheckResult) else found.tolist()
    one = number(answer)
    return short(answer) if isinstance(one, CheckResult) else one


def _picture(sheet: Sheet, function: Any) -> Answer:
    """What the function of task 2 makes of the sheet's picture, as "5 7 3 00ff…"."""
    found = call(function, sheet.image())
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.size > 1000:
        return None
    return f"{' '.join(map(str, found.shape))} {found.tobytes().hex()}"


def picture_of(answer: Answer) -> Any:
    """The picture that `_picture` wrote, or None."""
    words = answer.split() if isinstance(answer, str) else []
    try:
        shape = tuple(map(int, words[:-1]))
        return np.frombuffer(bytes.fromhex(words[-1]), np.uint8).reshape(shape)
    except (ValueError, IndexError):
        return None


def _code(function: Any) -> str:
    """The text of a function, for a person to read; empty where it cannot be had."""
    try:
        return inspect.getsource(function)[:MOST_CODE]
    # A reader may give anything.
    except Exception:
        return ""


def replayed(values: list[float]) -> Callable[[int, float, float], float]:
    """A function that returns the kept answers of task 4a in the order of the sheet's cases."""
    waiting = iter(values)
    return lambda _token, _q01, _q99: next(waiting)
