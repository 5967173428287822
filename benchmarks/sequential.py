"""How many pairs would have been enough? Recorded comparisons, stopped as soon as they decide.

    python benchmarks/sequential.py --out results/sequential.json      (one minute)

Each comparison is of two recorded runs from the same starts. Its pairs are put into random order
`ORDERS` times, and each time the anytime-valid test of `stats/sequential.py` stops at the first
pair that decides: the two differ, or they are alike to within `MARGIN`. Beside it stands the number
of pairs that a test of fixed size needs for the measured difference with a power of 80 %, which
nobody knows beforehand, and how often ordinary peeking would be wrong, by simulation.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.special import betaln
from scipy.stats import binom

from vla_tutorial.episodes import read_sweep
from vla_tutorial.files import write_atomically
from vla_tutorial.recorded import SWEEPS
from vla_tutorial.report import ConditionRun
from vla_tutorial.stats import ALPHA, Start, paired, pairs_needed, rate
from vla_tutorial.stats.sequential import Look, in_random_order, stop_early

ORDERS = 200
"""Random orders of each comparison's pairs."""

MARGIN = 0.05
"""A difference in the success rate that is too small to matter here."""

TWO_SWEEPS = (
    ("mini_attempt_2", "mini_official"),
    ("published_16_workers", "published_32_workers"),
    ("mini_official", "expert_published"),
)
"""Folders whose published runs are compared: an earlier checkpoint and the shipped one, the same
policy twice, and the policy and a script."""

MANY_CONDITIONS = ("conditions", "mini_silent_failures")
"""Folders in which each condition is compared with the published run."""

RUNS = 2000
"""Simulated comparisons of two runs that do not differ."""

Outcomes = dict[Start, bool]


def comparisons() -> Iterator[tuple[str, Outcomes, Outcomes]]:
    """Name and both sides' outcomes of every recorded comparison."""
    for first, second in TWO_SWEEPS:
        runs = [ConditionRun(read_sweep(SWEEPS / name)) for name in (first, second)]
        yield f"{second} against {first}", runs[0].outcomes(), runs[1].outcomes()
    for folder in MANY_CONDITIONS:
        sweep = read_sweep(SWEEPS / folder)
        published = ConditionRun(sweep).outcomes()
        for name in sweep.conditions[1:]:
            yield f"{folder}: {name}", published, ConditionRun(sweep, name).outcomes()


def spread(numbers: list[int]) -> dict[str, float]:
    """Median, and the middle 90 %, and the mean."""
    low, middle, high = np.quantile(numbers, [0.05, 0.5, 0.95])
    return {
        "mean": round(float(np.mean(numbers)), 1),
        "5 %": float(low),
        "median": float(middle),
        "95 %": float(high),
    }


def stopped(a: Outcomes, b: Outcomes) -> dict[str, object]:
    """One comparison: when it stops, and what it says then, over random orders."""
    whole = paired(a, b)
    looks: list[Look] = []
    # Where every pair ends the same way, all orders are one.
    orders = ORDERS if len({b[start] - a[start] for start in a.keys() & b.keys()}) > 1 else 1
    for seed in range(orders):
        looks.append(stop_early(in_random_order(a, b, seed), MARGIN))
    loss, gain = sorted((whole.only_a / whole.pairs, whole.only_b / whole.pairs))
    return {
        "pairs": whole.pairs,
        "won": whole.only_b,
        "lost": whole.only_a,
        "p_value": whole.p_value,
        "verdicts": verdicts(looks),
        "stopped_after": spread([look.pairs for look in looks]),
        "fixed_size_needs": pairs_needed(gain, loss),
    }


def verdicts(looks: list[Look]) -> dict[str, float]:
    """Verdict → share of the orders in which it is reached."""
    counted = Counter(look.verdict for look in looks)
    return {verdict: round(number / len(looks), 3) for verdict, number in counted.items()}


def peeking() -> dict[str, object]:
    """How often runs that do not differ are called different, if one looks after every pair.

    One pair in ten disagrees, and goes either way with a probability of one half; 500 pairs.
    """
    random = np.random.default_rng(0)
    steps = random.choice([-1, 0, 1], size=(RUNS, 500), p=[0.05, 0.9, 0.05])
    won = np.cumsum(steps > 0, axis=1)
    disagree = won + np.cumsum(steps < 0, axis=1)
    # Exact McNemar: twice the smaller tail, at most 1.
    p_values = 2 * binom.cdf(np.minimum(won, disagree - won), disagree, 0.5)
    wealth = disagree * math.log(2)
    wealth += betaln(won + 0.5, disagree - won + 0.5) - betaln(0.5, 0.5)
    found = {"runs": RUNS, "pairs": 500, "pairs_that_disagree": 0.1}
    for name, wrong in (
        ("mcnemar_once_at_the_end", p_values[:, -1] <= ALPHA),
        ("mcnemar_after_every_pair", (p_values <= ALPHA).any(axis=1)),
        ("anytime_after_every_pair", (wealth >= -math.log(ALPHA)).any(axis=1)),
    ):
        counted = rate(int(wrong.sum()), RUNS)
        found[name] = {
            "wrong": counted.successes,
            "interval": [round(x, 4) for x in counted.interval],
        }
    return found


def summary(found: dict[str, dict]) -> dict[str, object]:
    """The recorded comparisons together, by what their pairs as a whole show."""
    groups: dict[str, list[dict]] = {}
    for row in found.values():
        kind = "differ" if row["p_value"] <= ALPHA else "no difference shown"
        groups.setdefault(kind, []).append(row)
    together = {}
    for kind, rows in groups.items():
        recorded = sum(row["pairs"] for row in rows)
        used = sum(row["stopped_after"]["mean"] for row in rows)
        reached: Counter[str] = Counter()
        for row in rows:
            reached.update(row["verdicts"])
        together[kind] = {
            "comparisons": len(rows),
            "pairs_recorded": recorded,
            "pairs_used": round(used),
            "saved": round(1 - used / recorded, 3),
            # Sums of shares: how many comparisons end so, on average over the orders.
            "verdicts": {verdict: round(total, 1) for verdict, total in reached.items()},
        }
    return together


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {name: stopped(a, b) for name, a, b in comparisons()}
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "about": "Recorded comparisons, stopped at the first pair that decides: how many pairs "
        "they take.",
        "machine": "any machine: nothing is timed",
        "versions": {"python": platform.python_version(), "scipy": version("scipy")},
        "orders": ORDERS,
        "margin": MARGIN,
        "alpha": ALPHA,
        "summary": summary(found),
        "peeking": peeking(),
        "comparisons": found,
    }
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    print(text, end="")
    if args.out:
        write_atomically(args.out, text)


if __name__ == "__main__":
    main()
