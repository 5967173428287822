"""Lists of numbers in words: "0-3,7"."""

from __future__ import annotations

from collections.abc import Iterable

from vla_tutorial.errors import TutorialError

MOST = 10_000
"""Numbers in a list; no suite has as many tasks or initial states."""


def parse_numbers(text: str) -> tuple[int, ...]:
    """Read a list of numbers: "0-3,7" → (0, 1, 2, 3, 7).

    Raises:
        TutorialError: a part is no number or range, a range runs backwards, or there are more than
            `MOST` numbers.
    """
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if not low.isdecimal() or (dash and not high.isdecimal()):
            expected = "Expected, for example, 0-3,7."
            raise TutorialError(f"{text!r:.80} is not a list of numbers. {expected}")
        if max(len(low), len(high)) > 9:
            raise TutorialError(f"{part.strip()!r:.40} is too large: expected up to 9 digits.")
        last = int(high or low)
        if last < int(low):
            wanted = f"expected the smaller number first: {high}-{low}"
            raise TutorialError(f"The range {part.strip()} in {text!r} runs backwards; {wanted}.")
        if len(found) + last - int(low) >= MOST:
            raise TutorialError(f"{text!r:.80} has too many numbers: expected at most {MOST}.")
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
