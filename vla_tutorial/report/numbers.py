"""Measured numbers as text: shares in per cent, differences in points, intervals, p values.

A page whose lines may break passes a no-break space as `space`.
"""

from __future__ import annotations

from typing import Any

from vla_tutorial.stats import Interval, Rate

LEAST_P = 0.0001
"""Smaller p values are given as "< 0.0001"."""


def percent(share: float, space: str = " ", decimals: int = 1) -> str:
    """0.964 → "96.4 %"; 1 → "100 %"."""
    return f"{digits(share, decimals)}{space}%"


def percents(interval: Interval) -> str:
    """An interval of a share: "94.4 to 97.7 %"."""
    return f"{digits(interval.low)} to {digits(interval.high)} %"


def dashed(interval: Interval, decimals: int = 1) -> str:
    """An interval of a share for a table whose head says "%": "94.4–97.7"."""
    return f"{digits(interval.low, decimals)}–{digits(interval.high, decimals)}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign: "−12.5 points"."""
    return f"{signed(difference)} points"


def span(interval: Interval) -> str:
    """An interval of a difference: "−15.1 to −9.9 points"."""
    return f"{signed(interval.low)} to {signed(interval.high)} points"


def size(difference: float) -> str:
    """A difference without its sign: "12.5 points"."""
    return f"{digits(abs(difference))} points"


def counts(rate: Rate, space: str = " ") -> str:
    """Successes and episodes: "482 of 500"."""
    return f"{rate.successes}{space}of{space}{rate.episodes}"


def counted(rate: Rate, space: str = " ") -> str:
    """A rate with its counts: "96.4 % (482 of 500)"."""
    return f"{percent(rate.rate, space)} ({counts(rate, space)})"


def p_value(p: float) -> str:
    """The sentence's form: "p = 0.012", or "p < 0.0001"."""
    return f"p < {LEAST_P}" if p < LEAST_P else f"p = {p:.2g}"


def bare_p(p: float) -> str:
    """The table's form: "0.012", or "< 0.0001"."""
    return p_value(p).removeprefix("p ").removeprefix("= ")


def about(number: int) -> str:
    """A count to two digits: 20271 → "20,000"; up to a hundred as it is."""
    if number <= 100:
        return str(number)
    return f"{round(number, 2 - len(str(number))):,}"


def plural(number: int, word: str) -> str:
    """One "1 episode", or several "3 episodes"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def digits(share: float, decimals: int = 1) -> str:
    """A share in per cent without the sign. Only what is exactly 0 or 1 has no decimal."""
    if share in (0, 1):
        decimals = 0
    return f"{100 * share:.{decimals}f}"


def signed(difference: float) -> str:
    """A difference in percentage points without the word: "−12.5", "+3.0", "0"."""
    if difference == 0:
        return "0"
    sign = "−" if difference < 0 else "+"
    return sign + digits(abs(difference))


def describe_machine(machine: Any) -> str:
    """The machine of a result file: "2 × NVIDIA H200; 32 × Intel(R) Xeon(R) Processor"."""
    if not isinstance(machine, dict):
        return str(machine)
    gpus = machine.get("gpus") or ["no GPU"]
    names = ", ".join(gpus)
    if len(gpus) > 1 and len(set(gpus)) == 1:
        names = f"{len(gpus)} × {gpus[0]}"
    return f"{names}; {machine.get('cpus', '?')} × {machine.get('cpu', 'unknown CPU')}"
