"""The whole path on a GPU: LIBERO rendered through EGL, the engine with random weights of openvla-7b's shapes, one episode recorded.

    python benchmarks/openvla_speed.py --out speed.json --folder /tmp/random --phases load --batches 1     (writes 15 GB of random weights)
    python benchmarks/openvla_episode.py --folder /tmp/random --out episode.json

Random weights act at random: this shows that the path runs and what a control step costs, and nothing about how well OpenVLA works.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vla_tutorial.policies import load_policy
from vla_tutorial.provenance import versions
from vla_tutorial.record import record_episode
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.libero import renderer_name
from vla_tutorial.wiring import OPENVLA_TEMPLATE, Wiring

KEY, INSTRUCTION = "libero_object", "pick up the alphabet soup and place it in the basket"


def complete(folder: Path) -> None:
    """Add what a published checkpoint has beside weights and config: statistics, and a tokenizer (made up: one id a word)."""
    from importlib import resources

    packaged = json.loads(
        resources.files("vla_tutorial").joinpath("data/norm_stats.json").read_text()
    )
    (folder / "dataset_statistics.json").write_text(json.dumps({KEY: packaged[KEY]}))
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *dict.fromkeys(re.findall(r"\w+|[:?]", f"{OPENVLA_TEMPLATE} {INSTRUCTION}")),
    ]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="weights and config.json, as openvla_speed.py writes them",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()
    complete(args.folder)
    start = time.perf_counter()
    policy = load_policy("openvla", str(args.folder))
    loaded = time.perf_counter() - start
    ends = []
    with Simulator("libero_object", 0) as simulator:
        scene, wiring = Scene("libero_object", 0, 0), Wiring(unnorm_key=KEY, max_steps=args.steps)
        folder = args.out.parent / "episode"
        result = record_episode(
            policy,
            simulator,
            wiring,
            scene,
            folder,
            video=False,
            overwrite=True,
            on_step=lambda step: ends.append(time.perf_counter()),
        )
        renderer = renderer_name()
    steps = [1e3 * (b - a) for a, b in pairwise(ends[1:])]
    report = {
        "command": f"python {shlex.join(sys.argv)}",
        "about": "random weights of openvla-7b's shapes; no published checkpoint was run",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "renderer": renderer,
        "versions": versions(),
        "load_and_preflight_s": round(loaded, 1),
        "steps": result.steps,
        "control_step_ms": {
            "median": round(statistics.median(steps), 1),
            "max": round(max(steps), 1),
        },
        "provenance": {k: v for k, v in policy.provenance.items() if k != "checkpoint"},
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    for name in ("agentview.png", "gripper.png", "steps.jsonl"):
        shutil.copy(folder / name, args.out.with_name(f"{args.out.stem}_{name}"))


if __name__ == "__main__":
    main()
