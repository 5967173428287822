"""How many episodes: what a number of them can show, and what number would be needed. Power is 80 %, tests are two-sided at 5 %."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

from vla_tutorial.errors import TutorialError

ALPHA, POWER = 0.05, 0.8
"""Significance level of the tests, and the probability with which a difference is to be found. Both are customs, not laws."""

MOST = 1_000_000
"""Pairs beyond which `pairs_needed` gives up: at a minute an episode they take two years."""


def mcnemar_power(pairs: int, gain: float, loss: float, alpha: float = ALPHA) -> float:
    """Probability that exact McNemar finds a difference: exact and unconditional (Duffy 1984), so summed over how many pairs disagree.

    Args:
        pairs: starts from which both run.
        gain, loss: probability that only the second, or only the first, succeeds from a start.
    """
    disagree = gain + loss
    if disagree == 0:
        return 0.0
    d = np.arange(binom.ppf(1e-12, pairs, disagree), binom.isf(1e-12, pairs, disagree) + 1)
    # the largest c with P(X ≤ c | d, ½) ≤ α/2: with at most c pairs on one side the test rejects; −1 where d is too small for that
    critical = binom.ppf(alpha / 2, d, 0.5)
    critical -= binom.cdf(critical, d, 0.5) > alpha / 2
    share = gain / disagree
    rejects = binom.cdf(critical, d, share) + binom.cdf(critical, d, 1 - share)
    return float(binom.pmf(d, pairs, disagree) @ rejects)


def smallest_paired(pairs: int, loss: float, power: float = POWER) -> float | None:
    """The smallest difference that exact McNemar finds with this power, or None where no difference would do (five pairs never reach 5 %).

    Args:
        loss: probability that a pair goes against the difference, for example what the measured pairs show. Zero is the best case; the
            noise of running the same twice puts half the flip rate here.
    """
    if not 0 <= loss < 0.5:
        raise TutorialError(
            f"A share {loss} of pairs that go against the difference cannot be. Expected 0 or more and less than 0.5."
        )

    def missing(difference: float) -> float:
        return mcnemar_power(pairs, loss + difference, loss) - power

    most = 1 - 2 * loss
    return float(brentq(missing, 1e-9, most, xtol=1e-5)) if missing(most) > 0 else None


def pairs_needed(gain: float, loss: float, power: float = POWER) -> int | None:
    """Pairs with which exact McNemar finds a difference of `gain` − `loss` with this power; None for no difference or beyond `MOST`.

    The exact power rises in small saw teeth; the number found reaches it, and is within a tooth of the smallest that does.
    """
    if gain == loss or mcnemar_power(MOST, gain, loss) < power:
        return None
    high = 6  # the fewest pairs that can reach p ≤ 0.05: 2 × 0.5⁶
    while mcnemar_power(high, gain, loss) < power:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar_power(middle, gain, loss) >= power else (middle, high)
    return high


def episodes_needed(rate_a: float, rate_b: float, power: float = POWER) -> int:
    """Episodes of each of two runs with different starts to tell their rates apart (normal approximation; Fleiss 1981, without continuity).

    Raises:
        TutorialError: the rates are equal.
    """
    if rate_a == rate_b:
        raise TutorialError(
            "No number of episodes tells two equal rates apart. Expected two different ones."
        )
    return _up(_unpaired(rate_a, rate_b, power))


def _unpaired(rate_a: float, rate_b: float, power: float) -> float:
    middle, z, reach = (rate_a + rate_b) / 2, norm.ppf(1 - ALPHA / 2), norm.ppf(power)
    spread = z * math.sqrt(2 * middle * (1 - middle)) + reach * math.sqrt(
        rate_a * (1 - rate_a) + rate_b * (1 - rate_b)
    )
    return float((spread / (rate_a - rate_b)) ** 2)


def smallest_unpaired(episodes: int, rate: float, power: float = POWER) -> float | None:
    """The smallest difference from `rate` that as many episodes of each of two runs show with this power; None where none would do.

    Towards ½, where episodes scatter more, so the other direction needs no more. Normal approximation, as `episodes_needed`.
    """
    towards = 1 if rate < 0.5 else -1
    most = rate if towards < 0 else 1 - rate

    def missing(difference: float) -> float:
        return _unpaired(rate, rate + towards * difference, power) - episodes

    return float(brentq(missing, 1e-6, most, xtol=1e-6)) if missing(most) < 0 else None


def episodes_for_half_width(rate: float, half_width: float) -> int:
    """Episodes after which Wilson's 95 % interval at this success rate is within ± `half_width` (shares of one).

    Raises:
        TutorialError: a rate or half-width that cannot be.
    """
    if not 0 <= rate <= 1 or not 0 < half_width < 0.5:
        raise TutorialError(
            f"Expected a rate from 0 to 1 and a half-width between 0 and 0.5, not {rate} and {half_width}."
        )
    z2 = float(norm.ppf(0.975)) ** 2
    # (n + z²)² h² = z² (n p(1 − p) + z²/4), Wilson's half-width solved for n
    b = 2 * z2 - z2 * rate * (1 - rate) / half_width**2
    c = z2**2 * (1 - 1 / (4 * half_width**2))
    return _up((-b + math.sqrt(b * b - 4 * c)) / 2)


def episodes_for_standard_error(rate: float, error: float) -> int:
    """Episodes after which the standard error at this success rate is `error`."""
    return _up(rate * (1 - rate) / error**2)


def _up(number: float) -> int:
    return max(1, math.ceil(round(number, 6)))  # 225.00000000000003 is 225
