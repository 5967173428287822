"""How many questions should be answered at once? Simulators and a policy, played event by event.

    python benchmarks/batching.py --out results/batching.json     (ten seconds; no GPU, no simulator)

An answer takes what the CUDA graph of its size took alone in `results/openvla_speed_h100.json`,
times --slow. A simulator asks again after a normally distributed time. This is a model, not a
measurement: it says which rule is worth measuring.
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
SECONDS = 60.0
MOST = 32
"""The largest batch."""

FIRST_S = 0.3
"""Simulators ask for the first time within so many seconds."""

Rule = Callable[[int, int, dict[int, float]], int]
"""(who have asked, simulators, graph size → seconds) → how many to answer; 0 waits for the next."""

RULES: dict[str, Rule] = {
    "everybody": lambda asked, n, times: min(asked, MOST),
    "best_batch_size": lambda asked, n, times: best_batch_size(asked, times, MOST),
    "wait for all": lambda asked, n, times: asked if asked == min(n, MOST) else 0,
}


def measured_seconds() -> dict[int, float]:
    """Graph size → seconds of an action."""
    found = json.loads(SPEED.read_text(encoding="utf-8"))
    batches = {key: value for key, value in found.items() if key.startswith("batch ")}
    return {int(key.split()[1]): value["action"]["ms"] / 1e3 for key, value in batches.items()}


def play(
    n: int, times: dict[int, float], rule: Rule, step: float, seed: int = 0
) -> dict[str, float]:
    """Actions a second of `n` simulators, and the mean batch.

    Args:
        times: graph size → seconds.
        step: seconds from an answer to the next question; its standard deviation is a quarter.
    """
    drawn = random.Random(seed)
    now = 0.0
    asked = 0
    batches: list[int] = []
    coming = [drawn.uniform(0, FIRST_S) for _ in range(n)]
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


def play_all(simulators: list[int], slow: list[float], step: float) -> dict[str, dict]:
    """Every rule, for each number of simulators and each slowing of the answers."""
    found = {}
    for n in simulators:
        for factor in slow:
            times = {size: factor * seconds for size, seconds in measured_seconds().items()}
            played = {name: play(n, times, rule, step) for name, rule in RULES.items()}
            found[f"{n} simulators, answers × {factor:g}"] = played
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--simulators", type=int, nargs="+", default=[16, 24, 32])
    add("--step", type=float, default=32.0, help="milliseconds of a control step beside 31 others")
    add("--slow", type=float, nargs="+", default=[1.0, 1.15], help="factors on every answer's time")
    add("--out", type=Path)
    arguments = parser.parse_args()
    found = play_all(arguments.simulators, arguments.slow, arguments.step / 1e3)
    print(json.dumps(found, indent=1))
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "about": "A model with measured times of answers, not a measurement.",
        "machine": "any machine: arithmetic",
        "versions": versions(),
        "played": found,
    }
    if arguments.out:
        write_atomically(arguments.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
