"""How many episodes a question needs, and what a given number can show."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

from vla_tutorial.errors import TutorialError

ALPHA = 0.05
"""Significance level of the two-sided tests, by custom."""

POWER = 0.8
"""Probability with which a difference is to be found, by custom."""

MOST = 1_000_000
"""Pairs beyond which `pairs_needed` gives up: at a minute an episode they take two years."""


def mcnemar_power(pairs: int, gain: float, loss: float, alpha: float = ALPHA) -> float:
    """Probability that exact McNemar finds a difference: exact and unconditional (Duffy 1984).

    It is a sum over how many pairs disagree; 0 where none can.

    Args:
        pairs: number of starts from which both run.
        gain, loss: probability that only the second, or only the first, succeeds from a start.
        alpha: significance level of the two-sided test.
    """
    disagree = gain + loss
    if disagree == 0:
        return 0.0
    d = np.arange(binom.ppf(1e-12, pairs, disagree), binom.isf(1e-12, pairs, disagree) + 1)
    # The largest c with P(X ≤ c | d, ½) ≤ α/2: the test rejects with at most c pairs on one side.
    # It is −1 where d is too small for that.
    critical = binom.ppf(alpha / 2, d, 0.5)
    critical -= binom.cdf(critical, d, 0.5) > alpha / 2
    share = gain / disagree
    rejects = binom.cdf(critical, d, share) + binom.cdf(
        critical,
        d,
        1 - share,
    )
    return float(binom.pmf(d, pairs, disagree) @ rejects)


def smallest_paired(pairs: int, loss: float, power: float = POWER) -> float | None:
    """The smallest difference that exact McNemar finds with this power.

    It is None where even the largest would not do: five pairs never reach 5 %.

    Args:
        pairs: number of starts from which both run.
        loss: probability in [0, 0.5) that a pair contradicts the difference, for example its
            measured share. Zero is the best case. Noise of running the same twice puts half the
            flip rate here.

    Returns:
        A share in (0, 1], to 1e-5.

    Raises:
        TutorialError: `loss` is out of range.
    """
    if not 0 <= loss < 0.5:
        raise TutorialError(f"loss must be in [0, 0.5), got {loss}.")

    def missing(difference: float) -> float:
        return mcnemar_power(pairs, loss + difference, loss) - power

    most = 1 - 2 * loss
    if missing(most) <= 0:
        return None
    return float(brentq(missing, 1e-9, most, xtol=1e-5))


def pairs_needed(gain: float, loss: float, power: float = POWER) -> int | None:
    """Pairs with which exact McNemar finds a difference of `gain` − `loss` with this power.

    It is None where there is no difference or it takes more than `MOST` pairs. The exact power
    rises in small saw teeth, so the number found may be a tooth above the smallest one.

    Args:
        gain, loss: probability that only the second, or only the first, succeeds from a start.
    """
    if gain == loss or mcnemar_power(MOST, gain, loss) < power:
        return None
    # Six pairs are the fewest that can reach p ≤ 0.05: 2 × 0.5⁶.
    high = 6
    while mcnemar_power(high, gain, loss) < power:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if mcnemar_power(middle, gain, loss) >= power:
            high = middle
        else:
            low = middle
    return high


def episodes_needed(rate_a: float, rate_b: float, power: float = POWER) -> int:
    """Episodes of each of two runs, with different starts, that tell their two rates apart.

    Normal approximation without continuity correction (Fleiss 1981).

    Args:
        rate_a, rate_b: true success rates, shares in [0, 1].

    Raises:
        TutorialError: the rates are equal.
    """
    if rate_a == rate_b:
        raise TutorialError(f"No number of episodes tells two equal rates ({rate_a}) apart.")
    middle = (rate_a + rate_b) / 2
    pooled = math.sqrt(2 * middle * (1 - middle))
    apart = math.sqrt(rate_a * (1 - rate_a) + rate_b * (1 - rate_b))
    spread = float(norm.ppf(1 - ALPHA / 2)) * pooled + float(norm.ppf(power)) * apart
    return _up((spread / (rate_a - rate_b)) ** 2)


def episodes_for_half_width(rate: float, half_width: float) -> int:
    """Episodes after which Wilson's 95 % interval at this success rate is within ± `half_width`.

    Args:
        rate: a share in [0, 1].
        half_width: a share between 0 and 0.5.

    Raises:
        TutorialError: one of them is out of range.
    """
    if not 0 <= rate <= 1:
        raise TutorialError(f"rate must be in [0, 1], got {rate}.")
    if not 0 < half_width < 0.5:
        raise TutorialError(f"half-width must be between 0 and 0.5, got {half_width}.")
    z2 = float(norm.ppf(0.975)) ** 2
    # (n + z²)² h² = z² (n p(1 − p) + z²/4), Wilson's half-width, solved for n.
    b = 2 * z2 - z2 * rate * (1 - rate) / half_width**2
    c = z2**2 * (1 - 1 / (4 * half_width**2))
    return _up((-b + math.sqrt(b * b - 4 * c)) / 2)


def episodes_for_standard_error(rate: float, error: float) -> int:
    """Episodes after which the standard error at this success rate is `error`; both are shares."""
    return _up(rate * (1 - rate) / error**2)


def _up(number: float) -> int:
    # Rounded first, since 0.9 × 0.1 / 0.02² is 225.00000000000003 and means 225.
    return max(1, math.ceil(round(number, 6)))
