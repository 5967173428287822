"""Lists of numbers in words: "0-3,7"."""

from __future__ import annotations

from collections.abc import Iterable

from vla_tutorial.errors import TutorialError


def parse_numbers(text: str) -> tuple[int, ...]:
    """ "0-3,7" → (0, 1, 2, 3, 7).

    Raises:
        TutorialError: something that is no number or range, or a range that runs backwards.
    """
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise TutorialError(f"{text!r} is no list of numbers. Expected, for example, 0-3,7.")
        if dash and int(high) < int(low):
            raise TutorialError(
                f"The range {part.strip()} in {text!r} runs backwards. Expected the smaller number first: {high}-{low}."
            )
        found += range(int(low), int(high or low) + 1)
    return tuple(found)


def format_numbers(numbers: Iterable[int]) -> str:
    """(0, 1, 2, 3, 7) → "0-3,7", as `parse_numbers` reads it."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
