"""A paired comparison that may be looked at after every pair, and stopped at any of them.

Who looks at an ordinary test after each pair, and stops when it says yes, is misled far more often
than in 5 % of cases. Here each difference that might be true is bet against, pair by pair, at fair
odds. If it is true, the bet's wealth reaches 20 with a probability of at most 1/20, however often
one looks (Ville 1939). So a difference against which the wealth has reached 20 is ruled out, and
those that are left are an interval that holds at all times together.

The bet is Cover's universal portfolio with Jeffreys' prior, whose interval is that of Orabona and
Jun (IEEE Trans. Inf. Theory 70, 436–455, 2024, "Tight concentrations and confidence sequences from
the regret of universal portfolio"). Against a difference of 0 it is Robbins' mixture (1970) over
the pairs that disagree: McNemar's question, asked at any time.

It assumes that the next pair's expected difference is the same whatever came before. For that, run
the starts in random order (`in_random_order`): in the order of tasks an easy task would come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from vla_tutorial.arrays import Bools, Floats, Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.stats.pairs import Start, check_common
from vla_tutorial.stats.power import ALPHA
from vla_tutorial.stats.rates import Interval

Verdict = Literal["differ", "alike", "open"]
"""What the pairs so far say. "open": neither, so go on."""

ENOUGH = math.log(1 / ALPHA)
"""Natural logarithm of the wealth that rules a difference out: of 20."""


@dataclass(frozen=True)
class Look:
    """What a comparison says after some pairs, however often one looked before.

    Attributes:
        pairs: number of pairs so far.
        won, lost: pairs in which only the second run, or only the first, succeeds.
        e_value: the wealth of the bet against a difference of 0. From 20 on they differ.
        p_value: 1 / `e_value`, at most 1.
        interval: differences of the two rates that are not ruled out, in [−1, 1].
        verdict: "differ" where 0 is ruled out, "alike" where all that is left is nearer to 0 than
            the margin, else "open".
    """

    pairs: int
    won: int
    lost: int
    e_value: float
    p_value: float
    interval: Interval
    verdict: Verdict


def in_random_order(a: Mapping[Start, bool], b: Mapping[Start, bool], seed: int = 0) -> Ints:
    """The common starts of two runs in random order, each as what changes from a to b.

    Returns:
        (pairs,) int64: +1 where only b succeeds, −1 where only a does, else 0.

    Raises:
        TutorialError: they share no start.
    """
    common = check_common(a, b)
    changes = np.array([int(b[start]) - int(a[start]) for start in common])
    return np.random.default_rng(seed).permutation(changes)


def look(won: int, lost: int, tied: int, margin: float = 0.0) -> Look:
    """What the pairs so far say; their order does not matter.

    Args:
        won, lost, tied: number of pairs in which only the second run succeeds, only the first, or
            both end alike.
        margin: a difference in [0, 1) too small to matter. With 0 they are never called alike.

    Raises:
        TutorialError: there is no pair, or the margin is out of range.
    """
    _check_margin(margin)
    pairs = won + lost + tied
    if min(won, lost, tied) < 0 or pairs < 1:
        raise TutorialError(
            "A comparison needs at least one pair, and counts that are not negative. "
            f"Got {won} won, {lost} lost and {tied} tied."
        )
    logarithm = _log_wealth(won, lost, tied, 0.0)
    interval = anytime_interval(won, lost, tied)
    verdict: Verdict = "open"
    if logarithm >= ENOUGH:
        verdict = "differ"
    elif -margin < interval.low and interval.high < margin:
        verdict = "alike"
    return Look(
        pairs=pairs,
        won=won,
        lost=lost,
        # Beyond e⁷⁰⁰ a float is infinite, which JSON does not know.
        e_value=math.exp(min(logarithm, 700.0)),
        p_value=math.exp(-max(logarithm, 0.0)),
        interval=interval,
        verdict=verdict,
    )


def stop_early(changes: Ints, margin: float = 0.0) -> Look:
    """Go through pairs one by one, and stop at the first that decides; else at the last one.

    Args:
        changes: (pairs,) int64 of −1, 0 and +1, in the order of running (`in_random_order`).
        margin: as in `look`.

    Raises:
        TutorialError: as `look`.
    """
    _check_margin(margin)
    seen = changes[: _first(log_e_values(changes, 0.0) >= ENOUGH)]
    if margin:
        # Where both ±margin are ruled out, and the difference so far lies between, nothing
        # outside is left.
        mean = np.cumsum(seen) / np.arange(1, len(seen) + 1)
        decided = abs(mean) < margin
        for side in (-margin, margin):
            decided &= log_e_values(seen, side) >= ENOUGH
        seen = seen[: _first(decided)]
    won = int(np.sum(seen > 0))
    lost = int(np.sum(seen < 0))
    return look(won, lost, len(seen) - won - lost, margin)


def _first(decided: Bools) -> int:
    """Number of pairs up to the first that decides, or of all where none does."""
    return int(np.argmax(decided)) + 1 if decided.any() else len(decided)


def log_e_values(changes: Ints, difference: float) -> Floats:
    """Logarithm of the wealth of the bet against a difference, after each pair: (pairs,) float64.

    Args:
        changes: as in `stop_early`.
        difference: the second rate minus the first, in (−1, 1).
    """
    lost, tied, won = _log_factors(len(changes), difference)
    by_change = np.stack([lost, tied, won])
    wealth = np.cumsum(by_change[changes + 1], axis=0)
    return np.asarray(logsumexp(wealth, axis=1) - math.log(wealth.shape[1]))


def anytime_interval(won: int, lost: int, tied: int) -> Interval:
    """The differences that are not ruled out; counts as in `look`."""
    pairs = won + lost + tied
    mean = (won - lost) / pairs

    def excess(difference: float) -> float:
        return _log_wealth(won, lost, tied, difference) - ENOUGH

    # At the mean itself no bet gains, and what is not ruled out is one piece around it
    # (tests/stats/test_sequential.py goes through the counts).
    edge = 1 - 1e-9
    middle = min(max(mean, -edge), edge)
    low = -1.0
    high = 1.0
    if excess(-edge) > 0:
        low = brentq(excess, -edge, middle, xtol=1e-7)
    if excess(edge) > 0:
        high = brentq(excess, middle, edge, xtol=1e-7)
    return Interval(float(low), float(high))


def _log_wealth(won: int, lost: int, tied: int, difference: float) -> float:
    factors = _log_factors(won + lost + tied, difference)
    wealth = lost * factors[0] + tied * factors[1] + won * factors[2]
    return float(logsumexp(wealth) - math.log(len(wealth)))


def _log_factors(pairs: int, difference: float) -> tuple[Floats, Floats, Floats]:
    """Logarithms of what one pair that is lost, tied or won multiplies each bet by: (bets,).

    A bet puts the share θ on "won" and 1 − θ on "lost", at odds that are fair where the difference
    is the true one; a tie is half of each. The mean over θ with Jeffreys' weight is a Chebyshev
    quadrature, which is exact for a polynomial such as the wealth if the number of bets is more
    than half of that of the pairs.
    """
    bets = pairs // 2 + 1
    theta = np.sin(np.pi * (np.arange(bets) + 0.5) / (2 * bets)) ** 2
    center = (1 + difference) / 2
    won = theta / center
    lost = (1 - theta) / (1 - center)
    return np.log(lost), np.log((won + lost) / 2), np.log(won)


def _check_margin(margin: float) -> None:
    if not 0 <= margin < 1:
        raise TutorialError(f"margin must be in [0, 1), got {margin}.")
