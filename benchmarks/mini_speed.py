"""How long `mini` takes for an action, and how much memory it needs beside the simulator.

    python benchmarks/mini_speed.py --out results/mini_speed_cpu.json                                     (half a minute on two cores)
    python benchmarks/mini_speed.py --device cuda --batches 1 16 32 --out results/mini_speed_h100.json

The whole `predict` is timed, from pictures and prompts to tokens; figures are medians. The bound beside them is the arithmetic alone at the rate of
one large matrix product on the same device, dtype and threads.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shlex
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from vla_tutorial.files import write_atomically
from vla_tutorial.openvla.packed import packed
from vla_tutorial.policies import PolicyInput, load_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.provenance import versions
from vla_tutorial.wiring import OPENVLA_TEMPLATE

PROMPT = Prompt(
    OPENVLA_TEMPLATE.format(instruction="pick up the chocolate pudding and place it in the basket")
)
TOKENS = 7


def predict_ms(policy, batch: int, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    inputs = [
        PolicyInput(rng.integers(0, 256, (224, 224, 3), np.uint8), PROMPT) for _ in range(batch)
    ]
    times = []
    for k in range(repeats + 5):
        begin = time.perf_counter()
        policy.predict(inputs)
        if k >= 5:
            times.append(1e3 * (time.perf_counter() - begin))
    low, middle, high = statistics.quantiles(times, n=4)
    return {
        "batch_ms": round(middle, 2),
        "quartiles_ms": [round(low, 2), round(high, 2)],
        "action_ms": round(middle / batch, 3),
    }


def flops(model) -> float:
    """Multiplications and additions of an action: each weight meets every token that passes through it."""

    def count(module) -> int:
        return sum(p.numel() for p in module.parameters())

    config = model.config
    text = len(PROMPT.text) // 4 + TOKENS
    vision = count(model.vision_backbone) + count(model.projector)
    return 2.0 * (
        vision * config.vision.patches
        + count(model.language_model.model.layers) * (config.vision.patches + text)
    )


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one large matrix product."""
    n = 8192 if device.startswith("cuda") else 2048
    a = torch.randn(n, n, device=device, dtype=dtype)
    product = packed(a) if device == "cpu" else lambda x: x @ a
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        product(a)[0, 0].item()
        best = min(best, time.perf_counter() - begin)
    return 2 * n**3 / best


def memory_mib(policy) -> int:
    """Peak resident memory of this process after a few steps with the simulator."""
    from vla_tutorial.loop import rollout
    from vla_tutorial.scene import Scene
    from vla_tutorial.sim import Simulator
    from vla_tutorial.wiring import Wiring

    with Simulator("libero_object", 0) as simulator:
        for _ in rollout(
            policy,
            simulator,
            Wiring(unnorm_key="libero_object", max_steps=20),
            Scene("libero_object", 0, 0),
        ):
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", help="in place of the packaged one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--no-memory", action="store_true", help="leave out the simulator")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    policy = load_policy("mini", a.checkpoint, device=a.device)
    gpu = a.device.startswith("cuda")
    bound = 1e3 * flops(policy.model) / matrix_rate(a.device, policy.model.dtype)
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{torch.cuda.get_device_name(a.device)}"
        if gpu
        else f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU",
        "versions": versions(),
        "policy": policy.provenance,
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "predict": {str(batch): predict_ms(policy, batch, a.repeats) for batch in a.batches},
        "bound_action_ms": round(bound, 4),
        "peak_memory_with_simulator_mib": None if a.no_memory else memory_mib(policy),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if a.out:
        write_atomically(a.out, text + "\n")


if __name__ == "__main__":
    main()
