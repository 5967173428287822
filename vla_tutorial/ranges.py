"""Lists of numbers in words: "0-3,7"."""

from __future__ import annotations

from collections.abc import Iterable

from vla_tutorial.errors import TutorialError


def parse_numbers(text: str) -> tuple[int, ...]:
    """Read a list of numbers: "0-3,7" → (0, 1, 2, 3, 7).

    Raises:
        TutorialError: a part is no number or range, or a range runs backwards.
    """
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise TutorialError(f"{text!r} is no list of numbers. Expected, for example, 0-3,7.")
        last = int(high or low)
        if last < int(low):
            wanted = f"expected the smaller number first: {high}-{low}"
            raise TutorialError(f"The range {part.strip()} in {text!r} runs backwards; {wanted}.")
        found += range(int(low), last + 1)
    return tuple(found)


def format_numbers(numbers: Iterable[int]) -> str:
    """Write numbers as `parse_numbers` reads them: (0, 1, 2, 3, 7) → "0-3,7"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            # Of a run only its first and last number are kept.
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
