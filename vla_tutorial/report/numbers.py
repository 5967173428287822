"""Measured numbers in words: shares in per cent, differences in points, intervals, p values."""

from __future__ import annotations

from vla_tutorial.stats.rates import Interval, Rate

LEAST_P = 0.0001
"""p values below are said to be below."""


def percent(share: float) -> str:
    """0.964 → "96.4 %"; 1 → "100 %"."""
    return f"{digits(share)} %"


def percents(interval: Interval) -> str:
    """An interval of a share: "94.4 to 97.7 %"."""
    return f"{digits(interval.low)} to {digits(interval.high)} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign: "−12.5 points"."""
    return f"{signed(difference)} points"


def span(interval: Interval) -> str:
    """An interval of a difference: "−15.1 to −9.9 points"."""
    return f"{signed(interval.low)} to {signed(interval.high)} points"


def size(difference: float) -> str:
    """A difference without its sign: "12.5 points"."""
    return f"{digits(abs(difference))} points"


def counted(rate: Rate) -> str:
    """A rate with its count: "96.4 % (482 of 500)"."""
    return f"{percent(rate.rate)} ({rate.successes} of {rate.episodes})"


def p_value(p: float) -> str:
    """ "p = 0.012", or "p < 0.0001"."""
    return f"p < {LEAST_P}" if p < LEAST_P else f"p = {p:.2g}"


def about(number: int) -> str:
    """A count to two digits: 20271 → "20,000"; up to a hundred as it is."""
    digits = max(0, len(str(number)) - 2)
    return f"{round(number, -digits):,}" if number > 100 else str(number)


def plural(number: int, word: str) -> str:
    """ "1 episode", "3 episodes"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def digits(share: float) -> str:
    """A share in per cent without the sign: one decimal, but "0" and "100" for what is just that."""
    return "0" if share == 0 else "100" if share == 1 else f"{100 * share:.1f}"


def signed(difference: float) -> str:
    """A difference in percentage points without the word: "−12.5", "+3.0", "0"."""
    return f"{'−' if difference < 0 else '+' if difference > 0 else ''}{digits(abs(difference))}"
