"""Do the same episodes end alike when they run twice? Two sweeps, every condition that both have.

    python benchmarks/reruns.py results/sweeps/conditions_h100 results/sweeps/conditions --out results/reruns_h100_h200.json      (a second)

The policy's weights, the protocol and the versions must be the same; what may differ is the machine, the number of workers, and what was batched with what.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from vla_tutorial.episodes import Sweep, read_sweep
from vla_tutorial.files import write_atomically
from vla_tutorial.stats.rates import Rate, rate

ALIKE = ("suite", "max_steps", "wiring", "versions")
"""Keys of `sweep.json` that must be equal, beside the weights."""


def ended(sweep: Sweep) -> dict[tuple[str, int, int], tuple[bool, int]]:
    """(condition, task, init) → (success, steps)."""
    return {
        (e.condition, e.task, e.init): (e.success, e.steps)
        for e in sweep.episodes
        if e.success is not None and e.steps is not None
    }


def share(different: Iterable[bool]) -> dict[str, object]:
    """How many differ, with Wilson's interval."""
    values = list(different)
    found: Rate = rate(sum(values), len(values))
    return {
        "differ": found.successes,
        "of": found.episodes,
        "interval": [round(x, 5) for x in found.interval],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    a, b = read_sweep(args.a), read_sweep(args.b)
    unlike = [key for key in ALIKE if a.config[key] != b.config[key]]
    if unlike or a.config["policy"]["weights"] != b.config["policy"]["weights"]:
        parser.exit(
            2,
            f"{args.a} and {args.b} are not the same run twice: they differ in {', '.join(unlike) or 'weights'}.\n",
        )
    first, second = ended(a), ended(b)
    both = sorted(first.keys() & second.keys())
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "about": "The same episodes run twice: how many end otherwise, and how many in another number of steps.",
        "machine": ", then ".join(
            " and ".join(sweep.config["machine"]["gpus"]) or "no GPU" for sweep in (a, b)
        ),
        "versions": a.config["versions"],
        "outcomes": share(first[key][0] != second[key][0] for key in both),
        "steps": share(first[key][1] != second[key][1] for key in both),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.out:
        write_atomically(args.out, text)


if __name__ == "__main__":
    main()
