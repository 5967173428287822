"""Answers as text, in forms whose digests can be compared: the student's and the right one's.

A number that need not be exact becomes the number of a bucket, so that near answers have one text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vla_tutorial.arrays import Picture

FINE = 0.02
"""Width of a bucket of `ratio_bucket`, in units of the logarithm: 2 %."""

SHARE = 0.001
"""Width of a bucket of a share of one."""


def prompt_forms(text: str, instruction: str) -> dict[str, str]:
    """A prompt: exactly, without capitals, without spaces, and its ends around the instruction."""
    before, found, after = text.partition(instruction.lower())
    forms = {
        "exact": text,
        "letters": text.lower(),
        "spaces": "".join(text.split()).lower(),
    }
    if found:
        forms |= {"before": before, "after": after}
    return forms


def picture_form(picture: Picture) -> dict[str, str]:
    """A picture: (H, W, 3) uint8, by its bytes."""
    return {"pixels": f"{picture.shape} {picture.tobytes().hex()}"}


def decoded_forms(value: float) -> dict[str, str]:
    """A number that has to be right to seven decimals, in both roundings of a tie."""
    return {"value": f"{value + 1e-10:.7f}"}


def decoded_texts(value: float) -> set[str]:
    """The texts that a right number may have in `decoded_forms`."""
    return {f"{value:.7f}", f"{value + 2e-10:.7f}"}


def ratio_bucket(value: float) -> int | None:
    """The bucket of a positive number, on a logarithmic scale; None for any other."""
    if not 0 < value < math.inf:
        return None
    return round(math.log(value) / FINE)


def share_bucket(value: float) -> int | None:
    """The bucket of a number on a linear scale; None where it is not finite."""
    if not math.isfinite(value) or abs(value) > 1e9:
        return None
    return round(value / SHARE)


def near(bucket: int | None, width: int) -> Iterator[str]:
    """The buckets around one, as texts."""
    if bucket is not None:
        for shift in range(-width, width + 1):
            yield str(bucket + shift)


def joined(numbers: Sequence[float]) -> str:
    """Whole numbers as one text, such as "3,1"."""
    return ",".join(str(round(number)) for number in numbers)
