"""How many of those who have asked should be answered at once? Simulators and one policy, played through event by event.

    python benchmarks/batching.py --out results/batching.json      (ten seconds; no GPU, no simulator)

An answer takes what the CUDA graph of its size took alone in `results/openvla_speed_h100.json`, times --slow; a simulator asks again after a normally
distributed time. It is a model, not a measurement: it says which rule is worth measuring.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from vla_tutorial.files import write_atomically
from vla_tutorial.provenance import versions
from vla_tutorial.sweep.policy_server import best_batch_size

SPEED = Path(__file__).parents[1] / "results" / "openvla_speed_h100.json"
SECONDS, MOST = 60.0, 32

Rule = Callable[[int, int, dict[int, float]], int]
"""(who have asked, simulators, graph size → seconds) → how many to answer; 0 waits for the next to ask."""

RULES: dict[str, Rule] = {
    "everybody": lambda asked, n, times: min(asked, MOST),
    "best_batch_size": lambda asked, n, times: best_batch_size(asked, times, MOST),
    "wait for all": lambda asked, n, times: asked if asked == min(n, MOST) else 0,
}


def measured() -> dict[int, float]:
    """Graph size → seconds of an action."""
    found = json.loads(SPEED.read_text(encoding="utf-8"))
    return {
        int(key.split()[1]): value["action"]["ms"] / 1e3
        for key, value in found.items()
        if key.startswith("batch ")
    }


def play(
    n: int, times: dict[int, float], rule: Rule, step: float, seed: int = 0
) -> dict[str, float]:
    """Actions a second of `n` simulators, and the mean batch.

    Args:
        step: seconds from an answer to the next question; its standard deviation is a quarter.
    """
    drawn, now, asked, batches = random.Random(seed), 0.0, 0, list[int]()
    coming = [drawn.uniform(0, 0.3) for _ in range(n)]
    heapq.heapify(coming)
    while now < SECONDS:
        while coming and coming[0] <= now:
            heapq.heappop(coming)
            asked += 1
        count = rule(asked, n, times) if asked else 0
        if not count:
            now = coming[0]
            continue
        now += times[min(size for size in times if size >= count)]
        for _ in range(count):
            heapq.heappush(coming, now + max(0.0, drawn.gauss(step, step / 4)))
        asked -= count
        batches.append(count)
    return {
        "actions_per_s": round(sum(batches) / now, 1),
        "mean_batch": round(statistics.mean(batches), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulators", type=int, nargs="+", default=[16, 24, 32])
    parser.add_argument(
        "--step", type=float, default=32.0, help="milliseconds of a control step beside 31 others"
    )
    parser.add_argument(
        "--slow",
        type=float,
        nargs="+",
        default=[1.0, 1.15],
        help="factors on every answer: a GPU that renders too",
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {
        f"{n} simulators, answers × {slow:g}": {
            name: play(
                n,
                {size: slow * seconds for size, seconds in measured().items()},
                rule,
                args.step / 1e3,
            )
            for name, rule in RULES.items()
        }
        for n in args.simulators
        for slow in args.slow
    }
    about = "A model with measured times of answers, not a measurement."
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "about": about,
        "machine": "any machine: arithmetic",
        "versions": versions(),
        "played": found,
    }
    print(json.dumps(found, indent=1))
    if args.out:
        write_atomically(args.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
