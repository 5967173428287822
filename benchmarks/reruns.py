"""Do the same episodes end alike when they run twice? Two sweeps, every condition that both have.

    python benchmarks/reruns.py results/sweeps/conditions_h100 results/sweeps/conditions \\
        --out results/reruns_h100_h200.json      (a second)

The policy's weights, the protocol and the versions must be the same. The machine, the number of
workers and the batches may differ.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from vla_tutorial.episodes import EpisodeKey, Sweep, read_sweep
from vla_tutorial.files import write_atomically
from vla_tutorial.stats import rate

ALIKE = ("suite", "max_steps", "wiring", "versions")
"""Keys of `sweep.json` that must be equal, beside the weights."""


def ended(sweep: Sweep) -> dict[EpisodeKey, tuple[bool | None, int | None]]:
    """Episode → (success, steps), of those that ended in success or failure."""
    return {e.key: (e.success, e.steps) for e in sweep.episodes if e.success is not None}


def share(different: Iterable[bool]) -> dict[str, object]:
    """How many differ, with Wilson's interval."""
    values = list(different)
    found = rate(sum(values), len(values))
    return {
        "differ": found.successes,
        "of": found.episodes,
        "interval": [round(x, 5) for x in found.interval],
    }


def gpus(sweep: Sweep) -> str:
    """Names of the GPUs that a sweep ran on."""
    return " and ".join(sweep.config["machine"]["gpus"]) or "no GPU"


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
        names = ", ".join(unlike) or "weights"
        parser.exit(2, f"{args.a} and {args.b} are not one run twice: they differ in {names}.\n")
    first, second = ended(a), ended(b)
    both = sorted(first.keys() & second.keys())
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "about": "The same episodes run twice: how many end otherwise, and how many in another "
        "number of steps.",
        "machine": f"{gpus(a)}, then {gpus(b)}",
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
