"""When a measured share agrees with what the chapter or the paper says; when it stays open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from vla_tutorial.report import numbers
from vla_tutorial.stats import Interval, Rate, rate

Verdict = Literal["agrees", "does not agree", "open"]

PRECISE = 0.05
"""Half of an interval that is narrow enough to agree with a figure: the chapter's are in steps of
some points. 500 episodes at 88 % give ± 2.8 points, 100 give ± 6.4."""


class Finding(msgspec.Struct, frozen=True):
    """What came out for one claim.

    Attributes:
        text: one or two sentences with the figures and their intervals.
        numbers: successes and episodes, or other counts behind the text, by name.
    """

    verdict: Verdict
    text: str
    numbers: dict[str, float] = {}


def open_until(what: str) -> Finding:
    """A claim for which nothing has run yet."""
    return Finding("open", f"Not measured yet: {what}.")


def within(found: Interval, low: float, high: float) -> Verdict:
    """Whether an interval says that a share lies in low … high.

    It does not where the two have nothing in common. It does where they do, and the interval is
    narrow or inside. Otherwise more episodes are needed.
    """
    if found.high < low or found.low > high:
        return "does not agree"
    inside = low <= found.low and found.high <= high
    precise = found.high - found.low <= 2 * PRECISE
    return "agrees" if inside or precise else "open"


def mostly(found: Rate) -> Verdict:
    """Whether an interval says that more than half do."""
    if found.interval.low > 0.5:
        return "agrees"
    return "does not agree" if found.interval.high < 0.5 else "open"


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Several halves of a claim: one that fails decides, and one that is open leaves it open."""
    given = set(verdicts)
    if "does not agree" in given:
        return "does not agree"
    return "agrees" if given == {"agrees"} else "open"


def share(values: Sequence[bool]) -> Rate:
    """How many of some are true; there must be one."""
    return rate(sum(values), len(values))


def said(found: Rate) -> str:
    """ "86.6 % (433 of 500), 95 % interval 83.3 to 89.3 %"."""
    return f"{numbers.counted(found)}, 95 % interval {numbers.percents(found.interval)}"


def counts(found: Rate) -> dict[str, float]:
    """As `Finding.numbers` has a rate."""
    low, high = found.interval
    return {
        "successes": found.successes,
        "episodes": found.episodes,
        "low": round(low, 4),
        "high": round(high, 4),
    }
