"""Usual wrong answers, with a hint to each. Hints name no answer."""

from __future__ import annotations

from collections.abc import Iterator

from vla_tutorial import actions, stats
from vla_tutorial.arrays import Picture
from vla_tutorial.lab.sheet import Case

LAST = "256 edges have only 255 spaces between them. Which centre is left for the last token?"
EDGE = "that is an edge of the bin. The bin stands for the centre of its space."


def turning_mistakes(picture: Picture) -> Iterator[tuple[Picture, str]]:
    """Wrong answers of task 2: (H, W, 3) uint8 each, though perhaps with other axes."""
    yield picture, "this is the picture as MuJoCo renders it. Which way is up?"
    yield picture[::-1], "up is up now. Is left left? Think of the label on a can."
    yield picture[:, ::-1], "only left and right changed places; up is still down."
    yield picture.transpose(1, 0, 2), "rows became columns; nothing has to be transposed here."
    yield picture[..., ::-1], "red and blue changed places; the last axis is colour."


def decoding_mistakes(case: Case) -> Iterator[tuple[float, str]]:
    """Wrong answers of task 4a for one token."""
    count = int(actions.token_bins(case.token))
    span = case.q99 - case.q01
    if count > 254:
        # The centre that a formula without the last bin's exception gives.
        yield case.q01 + span * (count + 0.5) / 255, LAST
    centre = (2 * min(count, 254) + 1) / 255 - 1
    yield centre, "that is the bin's centre in [−1, 1]. Stretch it to q01 … q99."
    for edge in (count, count + 1):
        yield case.q01 + span * edge / 255, EDGE
    yield case.q01 + span * (count + 0.5) / 256, "256 edges have 255 spaces between them, not 256."
    upwards = case.token - 31744
    for share in (upwards / 255, (upwards + 0.5) / 255, (upwards + 0.5) / 256):
        yield case.q01 + span * share, "31999 is the lowest bin, and tokens count downwards."


def wald(successes: int, episodes: int) -> tuple[float, float]:
    """The textbook interval, rate ± 1.96 standard errors, which leaves 0 … 1 near its ends."""
    found = stats.rate(successes, episodes)
    half = 1.959964 * found.standard_error
    return found.rate - half, found.rate + half
