"""How long `mini` takes for an action, and how much memory it needs beside the simulator.

    python benchmarks/mini_speed.py --out results/mini_speed_cpu.json     (half a minute, two cores)
    python benchmarks/mini_speed.py --device cuda --batches 1 16 32 --out results/mini_speed_h100.json

The whole `predict` is timed, from pictures and prompts to tokens. Figures are medians. The bound
beside them is the arithmetic alone, at the rate of one large matrix product on the same device,
with the same number format and threads.
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
from vla_tutorial.loop import rollout
from vla_tutorial.openvla.cpu import pack_weight
from vla_tutorial.policies import PolicyInput, load_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.provenance import versions
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.wiring import OPENVLA_TEMPLATE

PROMPT = Prompt(
    OPENVLA_TEMPLATE.format(instruction="pick up the chocolate pudding and place it in the basket")
)
CHARACTERS_A_TOKEN = 4
TOKENS = 7
"""Tokens of an action."""

WARM_UP = 5
"""Answers before the clock runs."""

MEMORY_STEPS = 20


def predict_ms(policy, batch: int, repeats: int) -> dict[str, float | list[float]]:
    """Milliseconds of an answer to `batch` random pictures, and of one action in it."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(batch)]
    inputs = [PolicyInput(picture, PROMPT) for picture in pictures]
    for _ in range(WARM_UP):
        policy.predict(inputs)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        policy.predict(inputs)
        times.append(1e3 * (time.perf_counter() - begin))
    low, middle, high = statistics.quantiles(times, n=4)
    return {
        "batch_ms": round(middle, 2),
        "quartiles_ms": [round(low, 2), round(high, 2)],
        "action_ms": round(middle / batch, 3),
    }


def parameters_of(module) -> int:
    return sum(p.numel() for p in module.parameters())


def flops(model) -> float:
    """FLOPs of an action: each weight meets every token that passes through it."""
    patches = model.config.vision.patches
    text = len(PROMPT.text) // CHARACTERS_A_TOKEN + TOKENS
    vision = parameters_of(model.vision_backbone) + parameters_of(model.projector)
    language = parameters_of(model.language_model.model.layers)
    return 2.0 * (vision * patches + language * (patches + text))


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one large matrix product."""
    n = 8192 if device.startswith("cuda") else 2048
    a = torch.randn(n, n, device=device, dtype=dtype)
    multiply = pack_weight(a) if device == "cpu" else a.matmul
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        # Reading a number waits until a GPU has finished.
        multiply(a)[0, 0].item()
        best = min(best, time.perf_counter() - begin)
    return 2 * n**3 / best


def memory_mib(policy) -> int:
    """Peak resident memory of this process after a few steps with the simulator."""
    spec = EpisodeSpec(max_steps=MEMORY_STEPS)
    with Simulator(spec.suite, spec.task) as simulator:
        for _ in rollout(policy, simulator, *spec.settings()):
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def machine_of(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", help="in place of the packaged one")
    add("--device", default="cpu")
    add("--batches", type=int, nargs="+", default=[1])
    add("--repeats", type=int, default=60)
    add("--no-memory", action="store_true", help="leave out the simulator")
    add("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    device = arguments.device
    policy = load_policy("mini", arguments.checkpoint, device=device)
    bound = 1e3 * flops(policy.model) / matrix_rate(device, policy.model.dtype)
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine_of(device),
        "versions": versions(),
        "policy": policy.provenance,
        "parameters": parameters_of(policy.model),
        "predict": {str(n): predict_ms(policy, n, arguments.repeats) for n in arguments.batches},
        "bound_action_ms": round(bound, 4),
        "peak_memory_with_simulator_mib": None if arguments.no_memory else memory_mib(policy),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.out:
        write_atomically(arguments.out, text + "\n")


if __name__ == "__main__":
    main()
