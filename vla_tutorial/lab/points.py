"""Points: the same rules for what a student sees and for what the teacher's marks say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vla_tutorial.lab.sheet import QUESTIONS

FREE_TRIES = 2
"""Names of an episode of task 5 that may be tried for full points. There are only eight."""


def points(question: str, parts: Sequence[bool], tries: int = 1) -> int:
    """Points of a question whose answer has so many parts, right or not; whole ones, rounded down.

    A name in task 5 gives half of its points after more than `FREE_TRIES` tries.
    """
    most, _ = QUESTIONS[question]
    if not parts:
        return 0
    found = math.floor(most * sum(parts) / len(parts))
    if question.startswith("5") and tries > FREE_TRIES:
        return found // 2
    return found


def possible() -> int:
    """Points of all questions that are checked."""
    return sum(most for most, _ in QUESTIONS.values())


def claimed(right: Mapping[str, bool], tries: Mapping[str, int]) -> int:
    """Points of the answers that the checks call right. Parts of an answer give none here."""
    known = [question for question in QUESTIONS if question in right]
    return sum(points(q, [right[q]], tries.get(q, 1)) for q in known)
