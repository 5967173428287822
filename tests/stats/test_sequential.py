"""The comparison that may be looked at after every pair: closed forms, and errors by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import binom

from vla_tutorial.errors import TutorialError
from vla_tutorial.stats import in_random_order, look, sequential, stop_early


def counts_up_to(most):
    for pairs in range(1, most + 1):
        for won, lost in itertools.product(range(pairs + 1), repeat=2):
            if won + lost <= pairs:
                yield won, lost, pairs - won - lost


def test_against_no_difference_it_is_robbins_mixture():
    """2ᵈ B(won + ½, lost + ½) / B(½, ½) over the d pairs that disagree; ties change nothing."""
    for won, lost, tied in counts_up_to(9):
        log_wealth = (won + lost) * math.log(2) + betaln(won + 0.5, lost + 0.5) - betaln(0.5, 0.5)
        assert look(won, lost, tied).e_value == pytest.approx(math.exp(log_wealth), rel=1e-9)


def test_the_wealth_is_the_integral_that_it_stands_for():
    for (won, lost, tied), d in itertools.product(((3, 1, 4), (0, 0, 7), (9, 2, 0)), (-0.4, 0.15)):
        center = (1 + d) / 2

        def wealth(angle, won=won, lost=lost, tied=tied, center=center):
            share = math.sin(angle) ** 2
            up = share / center
            down = (1 - share) / (1 - center)
            return up**won * down**lost * ((up + down) / 2) ** tied

        # θ = sin² φ turns Jeffreys' weight into a uniform one.
        expected = quad(wealth, 0, math.pi / 2)[0] * 2 / math.pi
        changes = np.repeat([1, -1, 0], (won, lost, tied))
        found = sequential.log_e_values(changes, d)
        assert math.exp(found[-1]) == pytest.approx(expected, rel=1e-6)


def test_the_bet_is_fair_if_the_difference_is_true():
    """Its expected wealth is 1, exactly: a sum over every sequence of five pairs."""
    for gain, loss in ((0.3, 0.1), (0.05, 0.5), (0.2, 0.2)):
        chance = {1: gain, -1: loss, 0: 1 - gain - loss}
        expected = 0.0
        for changes in itertools.product(chance, repeat=5):
            wealth = math.exp(sequential.log_e_values(np.array(changes), gain - loss)[-1])
            expected += wealth * math.prod(chance[change] for change in changes)
        assert expected == pytest.approx(1)


def test_what_is_not_ruled_out_is_one_piece():
    """The interval's ends are found by a root; no difference beyond them is left."""
    for won, lost, tied in ((1, 0, 2), (3, 3, 0), (2, 1, 9), (0, 0, 40), (20, 5, 35), (6, 0, 0)):
        low, high = sequential.anytime_interval(won, lost, tied)
        changes = np.repeat([1, -1, 0], (won, lost, tied))
        for difference in np.linspace(-0.99, 0.99, 67):
            kept = sequential.log_e_values(changes, difference)[-1] < sequential.ENOUGH
            assert kept == (low < difference < high), (won, lost, tied, difference)


def false_alarms(steps):
    """Share of the rows in which somebody who looks after every pair says that the two differ."""
    won = np.cumsum(steps > 0, axis=1)
    disagree = won + np.cumsum(steps < 0, axis=1)
    wealth = disagree * math.log(2) + betaln(won + 0.5, disagree - won + 0.5) - betaln(0.5, 0.5)
    mcnemar = 2 * binom.cdf(np.minimum(won, disagree - won), disagree, 0.5)
    anytime = (wealth >= math.log(20)).any(axis=1)
    return anytime.mean(), (mcnemar <= 0.05).any(axis=1).mean()


@pytest.mark.parametrize("disagree", [0.02, 0.1, 0.5])
def test_peeking_after_every_pair_is_wrong_in_at_most_one_case_of_twenty(disagree):
    """2,000 comparisons of two runs that do not differ, 500 pairs each."""
    random = np.random.default_rng(1)
    share = [disagree / 2, 1 - disagree, disagree / 2]
    steps = random.choice([-1, 0, 1], size=(2000, 500), p=share)
    anytime, mcnemar = false_alarms(steps)
    assert anytime <= 0.05
    # The simulation can fail: with an ordinary test, peeking is wrong more often.
    assert mcnemar > anytime
    if disagree > 0.05:
        assert mcnemar > 0.1


@pytest.mark.parametrize(("gain", "loss"), [(0.02, 0.07), (0.3, 0.1), (0.0, 0.01)])
def test_the_interval_holds_the_truth_at_all_times_together(gain, loss):
    """2,000 comparisons of 200 pairs: the true difference is hardly ever ruled out on the way."""
    random = np.random.default_rng(2)
    steps = random.choice([-1, 0, 1], size=(2000, 200), p=[loss, 1 - gain - loss, gain])
    ruled_out = [
        (sequential.log_e_values(row, gain - loss) >= sequential.ENOUGH).any() for row in steps
    ]
    assert np.mean(ruled_out) <= 0.05


def test_it_stops_where_it_first_decides():
    lost = np.full(50, -1)
    found = stop_early(lost)
    assert (found.pairs, found.verdict) == (7, "differ")
    assert look(0, 6, 0).verdict == "open"
    assert found.p_value == pytest.approx(1 / found.e_value)
    assert found.interval.high < 0


def test_it_stops_where_nothing_beyond_the_margin_is_left():
    ties = np.zeros(500, int)
    found = stop_early(ties, margin=0.05)
    assert found.verdict == "alike"
    assert -0.05 < found.interval.low < found.interval.high < 0.05
    assert look(0, 0, found.pairs - 1, margin=0.05).verdict == "open"
    assert stop_early(ties).verdict == "open"
    assert stop_early(ties).pairs == 500


def test_pair_by_pair_and_at_once_agree():
    changes = np.random.default_rng(3).choice([-1, 0, 1], size=120, p=[0.1, 0.75, 0.15])
    found = stop_early(changes, 0.1)
    for pairs in range(1, found.pairs + 1):
        won, lost = ((changes[:pairs] == side).sum() for side in (1, -1))
        now = look(int(won), int(lost), int(pairs - won - lost), 0.1)
        assert (now.verdict == "open") == (pairs < found.pairs or found.verdict == "open")


def test_random_order_keeps_the_pairs():
    a = {(task, init): init > task for task in range(4) for init in range(6)}
    b = {start: not success for start, success in a.items()} | {(9, 9): True}
    changes = in_random_order(a, b, seed=4)
    assert len(changes) == 24
    assert changes.sum() == sum(not won for won in a.values()) - sum(a.values())
    assert (changes != in_random_order(a, b, seed=5)).any()
    assert (changes == in_random_order(a, b, seed=4)).all()


def test_everything_one_way():
    assert look(500, 0, 0).interval.high == 1
    assert look(0, 500, 0).interval.low == -1
    assert math.isfinite(look(5000, 0, 0).e_value)


@pytest.mark.parametrize("wrong", [(0, 0, 0), (-1, 2, 3)])
def test_no_pairs_are_refused(wrong):
    with pytest.raises(TutorialError, match="at least one pair"):
        look(*wrong)


@pytest.mark.parametrize("margin", [-0.1, 1, 5])
def test_a_margin_that_is_no_share_is_refused(margin):
    with pytest.raises(TutorialError, match=r"margin must be in \[0, 1\)"):
        look(1, 0, 0, margin)
    with pytest.raises(TutorialError, match="margin"):
        stop_early(np.array([1]), margin)


def test_runs_without_common_starts_are_refused():
    with pytest.raises(TutorialError, match="share no initial state"):
        in_random_order({(0, 0): True}, {(0, 1): True})
