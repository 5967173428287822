"""How many passes an action takes when its tokens are drafted (`vla_tutorial/openvla/drafts/verify.py`).

From recorded episodes alone: a draft's first six tokens are verified in the prefill, and each of them that is wrong costs one pass. Without drafts an action
takes six. The logs are of `mini`; what OpenVLA accepts is unknown until somebody runs a published checkpoint, and then this reads its sweep as well.

    python benchmarks/openvla_drafts.py out/sweep --out results/openvla_drafts_mini.json      # seconds; out/sweep is a folder of vla-tutorial sweep
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.arrays import Ints
from vla_tutorial.log import read_log
from vla_tutorial.openvla.drafts.sources import SOURCES, Source

BATCHES = (1, 2, 4, 8, 16, 32)
PLAIN = 6
"""Passes an action without drafts: its seven tokens less the one that the prefill gives."""


def drafts(tokens: Ints, source: Source) -> Ints:
    """(T, 7) tokens of an episode → (T − 1, 7): what `source` guesses for each step but the first."""
    return np.stack([source(tokens[: t + 1]) for t in range(len(tokens) - 1)])


def wrong(episodes: Sequence[Ints], source: Source) -> list[Ints]:
    """For each episode and step, (T − 1,) passes without refining: wrong tokens among the first six."""
    return [(drafts(one, source) != one[1:])[:, :PLAIN].sum(1) for one in episodes]


def summary(episodes: Sequence[Ints], name: str) -> dict[str, Any]:
    """What one source saves: at batch 1, and in batches, which pass until their last row is done."""
    source = SOURCES[name]
    passes = wrong(episodes, source)
    together = np.concatenate(passes)
    right = np.concatenate([drafts(one, source) == one[1:] for one in episodes])
    draw = np.random.default_rng(0).choice(together, (4000, max(BATCHES)))
    means = [float(one.mean()) for one in passes]
    return {
        "passes_an_action": round(float(together.mean()), 3),
        "episodes_lowest_and_highest": [round(min(means), 2), round(max(means), 2)],
        "right_masks": masks(right) if name == "previous" else {},
        "histogram_0_to_6": np.bincount(together, minlength=PLAIN + 1).tolist(),
        "right_share_of_each_token": [round(float(x), 4) for x in right.mean(0)],
        "passes_of_a_batch": {n: round(float(draw[:, :n].max(1).mean()), 3) for n in BATCHES},
    }


def masks(right: NDArray[np.bool_]) -> dict[str, int]:
    """(T, 7) which tokens of a draft were right → how often each pattern was, "1101111", for openvla_h100.py to play back."""
    counted = Counter("".join("01"[int(one)] for one in row) for row in right)
    return dict(counted.most_common())


def random_weights(steps: int = 2000) -> float:
    """Passes where tokens are drawn anew each step, as far as drafts can tell of random weights."""
    tokens = np.random.default_rng(0).integers(31744, 32000, (steps, 7))
    return round(float(wrong([tokens], SOURCES["previous"])[0].mean()), 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of sweeps of one policy")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--most", type=int, default=50, help="episodes that are read (%(default)s)")
    args = parser.parse_args()
    paths = [p for f in args.folders for p in sorted((f / "episodes").rglob("steps.jsonl"))]
    paths = paths[: args.most]
    episodes = [read_log(path.parent).tokens for path in paths]
    episodes = [one for one in episodes if len(one) > 1]
    header = json.loads((args.folders[0] / "sweep.json").read_text())
    report = {
        "command": f"python {shlex.join(sys.argv)}",
        "policy": header["policy"]["name"],
        "weights": header["policy"]["weights"],
        "suite": header["suite"],
        "date": header["started"][:10],
        "about": "tokens of recorded episodes; OpenVLA's own acceptance is unknown until a published checkpoint is run",
        "episodes": len(episodes),
        "steps": int(sum(map(len, episodes))),
        "passes_without_drafts": PLAIN,
        "sources": {name: summary(episodes, name) for name in SOURCES},
        "passes_with_random_tokens": random_weights(),
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
