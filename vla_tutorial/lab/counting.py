"""Checks of the lab's answers about counting: an interval, a number of episodes, pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from vla_tutorial import stats
from vla_tutorial.lab.answers import CheckResult, not_yet, number, numbers, right


def interval(successes: int, episodes: int, answer: Sequence[float] | None) -> CheckResult:
    """The 95 % Wilson interval of a success rate, as shares of one."""
    given = numbers(answer, 2)
    if isinstance(given, CheckResult):
        return given
    measured = stats.rate(successes, episodes)
    if given[0] > given[1]:
        return not_yet("the lower end comes first, then the upper end.")
    if np.allclose(given, measured.interval, atol=0.003):
        return right("and it never leaves 0 … 1.")
    wald = measured.rate + np.array([-1, 1]) * norm.ppf(0.975) * measured.standard_error
    if np.allclose(given, wald, atol=0.003):
        return not_yet("that is ±1.96 standard errors, which fails near 0 and 1. Use Wilson's.")
    if np.allclose(given / 100, measured.interval, atol=0.003):
        return not_yet("give shares of one, not per cent.")
    return not_yet("binomtest(successes, episodes).proportion_ci(method=…) has it.")


def episodes_needed(answer: int | None, rate: float = 0.9, error: float = 0.02) -> CheckResult:
    """How many episodes bring the standard error down to `error`, at a success rate of `rate`."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    needed = rate * (1 - rate) / error**2
    if abs(given - needed) <= 1:
        return right(
            f"for one standard error of {error:.0%}. "
            "A 95 % interval of that half-width needs almost four times as many."
        )
    if abs(given - norm.ppf(0.975) ** 2 * needed) <= 5:
        return not_yet("that is for the 95 % interval; the question is about one standard error.")
    if given < 1:
        return not_yet("at least one episode is needed.")
    have = stats.standard_error(rate, given)
    return not_yet(f"with {given:.0f} episodes the standard error is {have:.1%}.")


def discordant_pairs(
    only_first: int | None, only_second: int | None, pairs: Sequence[tuple[bool, bool]]
) -> CheckResult:
    """How many pairs only the first episode wins, and how many only the second."""
    given = numbers([only_first, only_second], 2)
    if isinstance(given, CheckResult):
        return given
    wanted = (pairs.count((True, False)), pairs.count((False, True)))
    if (only_first, only_second) == wanted:
        return right("the pairs that agree say nothing about the difference.")
    if (only_second, only_first) == wanted:
        return not_yet("the right numbers, the wrong way round.")
    return not_yet("count only pairs in which exactly one of the two succeeded.")
