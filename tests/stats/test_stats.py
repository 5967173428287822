"""Statistics against published values, independent formulas and simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from vla_tutorial.errors import TutorialError
from vla_tutorial.stats import pairs as paired
from vla_tutorial.stats import power
from vla_tutorial.stats import rates as stats


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_newcombe_tabulates_it(successes, episodes, low, high):
    """Newcombe, Statistics in Medicine 17, 857–872 (1998), table I, method 3."""
    assert stats.wilson(successes, episodes) == pytest.approx((low, high), abs=6e-5)


def test_wilson_is_where_the_score_test_turns():
    """Wilson (1927): the ends are the shares p whose own standard error puts the measured share 1.96 of them away."""
    for successes, episodes in ((9, 10), (482, 500), (1, 3)):
        share = successes / episodes
        for end in stats.wilson(successes, episodes):
            assert abs(share - end) / np.sqrt(end * (1 - end) / episodes) == pytest.approx(
                1.959964, abs=1e-5
            )


def test_rate_has_the_chapters_standard_error():
    found = stats.rate(90, 100)
    assert (found.rate, found.standard_error) == (0.9, pytest.approx(0.03))
    assert stats.rate(50, 50).standard_error == 0  # which is why the interval stands beside it
    assert stats.rate(50, 50).interval.low == pytest.approx(0.9287, abs=1e-4)


@pytest.mark.parametrize(
    ("successes", "episodes", "words"),
    [(0, 0, "from 0 episodes"), (6, 5, "0 and 5, got 6"), (-1, 5, "0 and 5, got -1")],
)
def test_a_rate_of_nothing_is_refused(successes, episodes, words):
    with pytest.raises(TutorialError, match=words):
        stats.rate(successes, episodes)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((53, 0, 0, 1), -0.0729, 0.0729),
        ((0, 30, 0, 0), 0.8395, 1.0000),
    ],
)
def test_paired_difference_as_newcombe_tabulates_it(table, low, high):
    """Newcombe, Statistics in Medicine 17, 2635–2650 (1998), method 10; his difference is ours with the runs swapped."""
    e, f, g, h = table
    assert paired.newcombe(e, g, f, h) == pytest.approx((low, high), abs=6e-5)


def test_paired_difference_turns_round_with_the_runs():
    for table in itertools.product((0, 1, 7), repeat=4):
        if sum(table):
            both, only_a, only_b, neither = table
            low, high = paired.newcombe(both, only_a, only_b, neither)
            assert -1 <= low <= (only_b - only_a) / sum(table) + 1e-12
            assert paired.newcombe(both, only_b, only_a, neither) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 7), (7, 1), (12, 2), (5, 5), (6, 0), (0, 1)])
def test_exact_mcnemar_is_twice_the_binomial_tail(only_a, only_b):
    tail = binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    assert paired.mcnemar(only_a, only_b) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_of_no_disagreement():
    assert paired.mcnemar(0, 0) == 1


def test_holm_worked_by_hand():
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert paired.holm([0.9, 0.8]) == (1, 1)
    assert paired.holm([0.02]) == (0.02,)
    assert paired.holm([]) == ()


def test_paired_counts_what_is_shared():
    a = {(0, 0): True, (0, 1): True, (0, 2): False, (1, 0): False, (1, 1): True}
    b = {(0, 0): True, (0, 1): False, (0, 2): True, (1, 0): False, (2, 0): True}
    found = paired.paired(a, b)
    assert (found.both, found.only_a, found.only_b, found.neither, found.pairs) == (1, 1, 1, 1, 4)
    assert (found.difference, found.p_value, found.flips.successes) == (0, 1, 2)
    assert found.over_tasks is None  # two tasks
    with pytest.raises(TutorialError, match="share no"):
        paired.paired(a, {(7, 7): True})


def test_paired_agrees_with_its_parts(rng):
    starts = [(task, init) for task in range(10) for init in range(20)]
    a = {s: bool(rng.random() < 0.9) for s in starts}
    b = {s: bool(rng.random() < 0.6) for s in starts}
    found, turned = paired.paired(a, b), paired.paired(b, a)
    assert found.difference == pytest.approx(np.mean(list(b.values())) - np.mean(list(a.values())))
    assert (
        found.interval.low < found.over_tasks.high
        and found.over_tasks.low < found.difference < found.over_tasks.high
    )
    assert (turned.difference, turned.p_value) == (-found.difference, found.p_value)
    assert paired.paired(a, a).interval.low <= 0 <= paired.paired(a, a).interval.high


def test_suite_mean_weighs_tasks_alike():
    found = stats.suite_mean({0: (10, 10), 1: (0, 30), 2: (5, 10), 3: (9, 10), 4: (1, 10)})
    assert found.mean == pytest.approx((1 + 0 + 0.5 + 0.9 + 0.1) / 5)
    assert found == stats.suite_mean({0: (10, 10), 1: (0, 30), 2: (5, 10), 3: (9, 10), 4: (1, 10)})
    assert (
        found.interval
        != stats.suite_mean(
            {0: (10, 10), 1: (0, 30), 2: (5, 10), 3: (9, 10), 4: (1, 10)}, seed=1
        ).interval
    )


@pytest.mark.parametrize("tasks", [1, 4])
@pytest.mark.parametrize("successes", [0, 3, 10])
def test_no_interval_over_few_tasks(tasks, successes):
    found = stats.suite_mean({task: (successes, 10) for task in range(tasks)})
    assert found.interval is None
    assert found.alike == (successes != 3)


@pytest.mark.parametrize(("successes", "won"), [(50, 10), (0, 0)])
def test_where_all_end_alike_each_task_counts_once(successes, won):
    found = stats.suite_mean({task: (successes, 50) for task in range(10)})
    assert found.alike
    assert found.interval == stats.wilson(won, 10)


def test_one_that_ends_otherwise_is_not_alike():
    found = stats.suite_mean({task: (50 - (task == 3), 50) for task in range(10)})
    assert not found.alike
    assert found.interval.low > stats.wilson(10, 10).low


def test_rare_hard_tasks_are_covered(rng):
    """One task in ten of the kind is hard, so that in a third of the sweeps every episode succeeds."""
    alike = covered = 0
    for seed in range(200):
        won = rng.binomial(50, np.where(rng.random(10) < 0.9, 1, 0.7))
        counts = {task: (int(k), 50) for task, k in enumerate(won)}
        found = stats.suite_mean(counts, resamples=400, seed=seed)
        alike += found.alike
        covered += found.interval.low <= 0.97 <= found.interval.high
    assert 50 < alike < 100
    assert covered >= 190


@pytest.mark.parametrize("counts", [{}, {0: (0, 0)}])
def test_a_mean_of_nothing_is_refused(counts):
    with pytest.raises(TutorialError, match="needs tasks"):
        stats.suite_mean(counts)


def test_bootstrap_equals_resampling_one_by_one(rng):
    """The multinomial shortcut against drawing tasks and then episodes in plain loops."""
    counts = {t: (k, 12) for t, k in enumerate((12, 11, 6, 9, 12, 3))}
    episodes = [np.repeat([1, 0], (k, n - k)) for k, n in counts.values()]
    plain = [
        np.mean([rng.choice(episodes[t], 12).mean() for t in rng.integers(6, size=6)])
        for _ in range(3000)
    ]
    assert stats.suite_mean(counts).interval == pytest.approx(
        np.quantile(plain, [0.025, 0.975]), abs=0.02
    )


def test_suite_mean_covers_the_truth_where_wilson_does_not(rng):
    """Ten tasks whose true rates differ a lot: for other tasks of the kind, the pooled interval is far too narrow."""
    clustered = pooled = 0
    for seed in range(200):
        won = rng.binomial(50, rng.beta(2, 2, 10))
        found = stats.suite_mean(
            {t: (int(k), 50) for t, k in enumerate(won)}, resamples=500, seed=seed
        )
        clustered += found.interval.low <= 0.5 <= found.interval.high
        wilson = stats.wilson(int(won.sum()), 500)
        pooled += wilson.low <= 0.5 <= wilson.high
    assert clustered / 200 > 0.87
    assert pooled / 200 < 0.6


def test_mcnemar_power_by_going_through_every_table():
    for gain, loss in ((0.3, 0.05), (0.15, 0.1), (0.4, 0.0)):
        tables = [(g, k) for g in range(21) for k in range(21 - g)]
        chance = multinomial.pmf(
            [(g, k, 20 - g - k) for g, k in tables], 20, (gain, loss, 1 - gain - loss)
        )
        rejects = [paired.mcnemar(g, k) <= 0.05 for g, k in tables]
        assert power.mcnemar_power(20, gain, loss) == pytest.approx(chance @ rejects, abs=1e-9)


def test_mcnemar_power_as_published():
    """R's MESS checks its exact power with 144 pairs, 0.45 against 0.25, one-sided 2.5 %: 0.80 to two places."""
    assert power.mcnemar_power(144, 0.45, 0.25) == pytest.approx(0.80, abs=0.005)


def test_pairs_needed_reach_the_power():
    """Connor (1987) gives 23 pairs for 0.45 against 0.05 by normal approximation; the exact test is a little more careful."""
    needed = power.pairs_needed(0.45, 0.05)
    assert 23 <= needed <= 26
    for gain, loss in ((0.45, 0.05), (0.05, 0.45), (0.04, 0.01), (0.1, 0.0)):
        assert power.mcnemar_power(power.pairs_needed(gain, loss), gain, loss) >= 0.8
    assert power.pairs_needed(0.1, 0.1) is None
    assert power.pairs_needed(0.0, 0.0) is None
    assert power.pairs_needed(0.1, 0.0999) is None  # beyond any sweep


def test_smallest_difference_and_pairs_needed_agree():
    for pairs, loss in ((50, 0.0), (200, 0.02), (500, 0.01)):
        smallest = power.smallest_paired(pairs, loss)
        assert power.mcnemar_power(pairs, loss + smallest, loss) == pytest.approx(0.8, abs=0.01)
        assert power.pairs_needed(loss + smallest + 1e-4, loss) <= pairs * 1.05
    assert (
        power.smallest_paired(200, 0.05)
        > power.smallest_paired(200, 0.0)
        > power.smallest_paired(500, 0.0)
    )


def test_few_pairs_show_nothing():
    assert power.smallest_paired(5, 0.0) is None  # five of five still have p = 0.0625
    assert power.smallest_paired(6, 0.0) == pytest.approx(
        0.8 ** (1 / 6), abs=1e-3
    )  # all six must go one way
    with pytest.raises(TutorialError, match=r"loss .* 0\.6"):
        power.smallest_paired(10, 0.6)


def test_unpaired_episodes_as_rs_power_prop_test():
    """R's documentation: power.prop.test(p1 = .50, p2 = .75, power = .90) gives n = 76.7."""
    assert power.episodes_needed(0.5, 0.75, 0.9) == 77
    with pytest.raises(TutorialError, match=r"equal rates .0\.9"):
        power.episodes_needed(0.9, 0.9)


def test_pairing_pays():
    smallest = power.smallest_paired(100, 0.01)
    assert power.episodes_needed(0.9, 0.9 - smallest) > 100


def test_the_chapters_two_per_cent():
    """“Within ±2 % requires at least 100”: 100 give a standard error of 3 points; 2 take 225, and an interval of ±2 points 868."""
    assert power.episodes_for_standard_error(0.9, 0.02) == 225
    assert stats.standard_error(0.9, 100) == pytest.approx(0.03)
    assert power.episodes_for_half_width(0.9, 0.02) == 868
    low, high = stats.wilson(781, 868)  # 0.9 × 868 = 781.2
    assert (high - low) / 2 == pytest.approx(0.02, abs=5e-5)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.97, 1.0])
def test_half_width_is_wilsons(rate):
    def half_width(n):  # Wilson's, for a rate that need not be a whole number of successes
        return 1.959964 * np.sqrt(n * rate * (1 - rate) + 1.959964**2 / 4) / (n + 1.959964**2)

    assert half_width(100) == pytest.approx(np.diff(stats.wilson(round(rate * 100), 100))[0] / 2)
    n = power.episodes_for_half_width(rate, 0.04)
    assert half_width(n) <= 0.04 < half_width(n - 1)
    with pytest.raises(TutorialError, match=r"half-width .* 0\.7"):
        power.episodes_for_half_width(rate, 0.7)
    with pytest.raises(TutorialError, match=r"rate .* 1\.5"):
        power.episodes_for_half_width(1.5, 0.04)
