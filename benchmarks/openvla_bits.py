"""What lower bits cost: tokens, logits and success with int8, fp8 and int4 weights against full ones.

Three parts, each with its figures written as soon as it ends:

- *pictures*: the answers to real pictures, from the first control steps of every task. How many tokens are others, and how far.
- *random*: logits of random weights against float32, in a toy's shapes or openvla-7b's. It is the rounding alone, with no training behind it.
- *episodes*: closed loop from the same starts, paired. `--episodes 500` is the published protocol; the sweeps resume.

    python benchmarks/openvla_bits.py --out results/openvla_bits_mini.json --episodes 10                     # two cores, 15 minutes
    python benchmarks/openvla_bits.py --weights fp8 --steps 2 --out results/openvla_bits_mini_fp8.json       # one kind alone, 20 pictures
    python benchmarks/openvla_bits.py --out results/openvla_bits_mini_h100.json --episodes 500 --workers 32 --shapes openvla-7b     # a GPU with 80 GB
    python benchmarks/openvla_bits.py --checkpoint openvla/openvla-7b-finetuned-libero-object --out bits.json   # a published checkpoint, which was not run here

`mini` is not OpenVLA: it has 10 million parameters, and what rounding does to it says nothing of 7 billion.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the workers import this file too, and should not load PyTorch for it
    import msgspec
    import torch
    from openvla_speed import ACTIONS, eager_logits, pictures, random_model, tiny_config

    from vla_tutorial.accept.actors import spec_of
    from vla_tutorial.accept.precision import compare_weights
    from vla_tutorial.accept.rehearse import rehearse
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.files import write_atomically
    from vla_tutorial.openvla.bits.arithmetic import BITS, quantise_model
    from vla_tutorial.openvla.config import OpenVLAConfig
    from vla_tutorial.openvla.model import materialise, meta_model
    from vla_tutorial.policies.device import choose_device
    from vla_tutorial.policies.model import weights_on
    from vla_tutorial.provenance import machine, versions, weights_hash
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.stats import paired
    from vla_tutorial.sweep import LocalEngine, SweepPlan, prompts_of, run_sweep, warm_up

FULL = "bf16"
"""What the others are compared with: weights as the device's full precision has them."""

PUBLISHED: list[dict[str, str]] = [
    {"what": "AWQ int4 with QAIL, mean of four suites", "success": "70.8 %, bf16 73.7 %", "source": "arXiv:2412.01034, as an abstract gives it"},
    {"what": "Mix-QVLA W8A8 and W4A4, mean of four suites", "success": "76.3 % and 76.2 %, full 76.5 %", "source": "arXiv:2606.19565"},
]  # fmt: skip
"""What others report for OpenVLA; none of it was measured here."""


class Report:
    """Results so far, written after every entry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = {}

    def put(self, key: str, value: Any) -> None:
        """Add one entry, print it, and write the file."""
        self.data[key] = value
        print(f"[{time.strftime('%H:%M:%S')}] {key}: {json.dumps(value)}", flush=True)
        write_atomically(self.path, json.dumps(self.data, indent=1, ensure_ascii=False) + "\n")


def on_pictures(
    spec: EpisodeSpec, tasks: tuple[int, ...], kinds: tuple[str, ...], steps: int
) -> dict[str, Any]:
    policy = spec.load_policy()
    found = rehearse(policy, spec, 1, tasks, steps * len(tasks))
    policy.close()

    def load(name: str) -> Any:
        return replace(spec, weights=name).load_policy()

    compared = compare_weights(load, found.inputs, (FULL, *kinds), print)
    return {name: msgspec.to_builtins(one) for name, one in compared.items()}


def on_random_weights(
    shapes: str, device: str, kinds: tuple[str, ...], rows: int = 8
) -> dict[str, Any]:
    """Logits of every step against float32 on the CPU or GPU, each fed the float32 path's tokens.

    float32 weights are rounded, with fp8 activations too, so that nothing but the rounding differs; bfloat16 without rounding stands beside, on a GPU's type.
    """
    with torch.inference_mode():
        return _on_random_weights(shapes, device, kinds, rows)


def _on_random_weights(
    shapes: str, device: str, kinds: tuple[str, ...], rows: int
) -> dict[str, Any]:
    config = OpenVLAConfig() if shapes == "openvla-7b" else tiny_config()
    exact = random_model(config, torch.device(device), torch.float32)
    pixels = pictures(rows).to(device)
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, 31000, (rows, 32), generator=generator).tolist()
    tokens = exact.generate(pixels, prompts, ACTIONS).cpu()
    reference = eager_logits(exact, pixels, prompts, tokens)
    top = reference.topk(2, -1).values
    found: dict[str, Any] = {
        "shapes": shapes,
        "steps": rows * ACTIONS,
        "spread": round(float(reference.std()), 4),
        "median_margin": round(float((top[..., 0] - top[..., 1]).median()), 4),
    }
    half = materialise(meta_model(config), device, torch.bfloat16)
    for a, b in zip(half.parameters(), exact.parameters(), strict=True):
        a.copy_(b)
    found["bfloat16"] = errors(eager_logits(half, pixels, prompts, tokens), reference)
    del half
    for name in kinds:
        model = quantise_model(copy.deepcopy(exact), name)
        found[name] = errors(eager_logits(model, pixels, prompts, tokens), reference)
        del model
    return found


def errors(logits: Any, reference: Any) -> dict[str, float]:
    apart = logits - reference
    same = logits.argmax(-1) == reference.argmax(-1)
    return {
        "logit_rms": round(float(apart.square().mean().sqrt()), 6),
        "logit_most": round(float(apart.abs().max()), 5),
        "first_choice_agrees": round(float(same.float().mean()), 4),
    }


def in_closed_loop(
    spec: EpisodeSpec, episodes: int, tasks: tuple[int, ...], kinds: tuple[str, ...], workers: int, folder: Path, report: Report
) -> None:  # fmt: skip
    """Success with each kind of weights from the same starts; written after each."""
    inits = tuple(range(-(-episodes // len(tasks))))
    kept: dict[str, dict[tuple[int, int], bool]] = {}
    found: dict[str, Any] = {}
    for name in (FULL, *kinds):
        plan = SweepPlan(replace(spec, weights=name), tasks, inits)
        policy = plan.spec.load_policy()
        warm = lambda p=policy, q=plan: warm_up(p, prompts_of(q), workers)  # noqa: E731
        engine = LocalEngine(policy, workers, warm)
        done = run_sweep(
            plan, folder / name, engine, workers, weights=weights_hash(policy), say=print
        )
        policy.close()
        ended = [e for e in read_sweep(folder / name).episodes if e.success is not None]
        kept[name] = {(e.task, e.init): bool(e.success) for e in ended}
        found[name] = {
            "successes": sum(kept[name].values()),
            "episodes": len(ended),
            "errors": done.outcomes["error"],
        }
        if name != FULL:
            pair = paired(kept[FULL], kept[name])
            found[name] |= {
                "difference": round(pair.difference, 4),
                "interval": [round(x, 4) for x in pair.interval],
                "only_full": pair.only_a,
                "only_this": pair.only_b,
                "p": round(pair.p_value, 4),
                "flips": asdict(pair.flips),
            }
        report.put("episodes", {"suite": spec.suite, **found})


def main() -> None:
    args = arguments()
    tasks = tuple(range(10))
    began = time.monotonic()
    device = choose_device(args.device)
    kinds = tuple(args.weights or weights_on(device)[1:])
    gpus = [torch.cuda.get_device_name(device)] if device != "cpu" else []
    report = Report(args.out)
    report.put("command", f"python {shlex.join(sys.argv)}")
    report.put("machine", machine(gpus))
    report.put("versions", versions())
    report.put("date", time.strftime("%Y-%m-%d"))
    report.put("about", f"Weights of {args.checkpoint} in few bits against full ones.")
    report.put("reported_by_others_for_openvla", PUBLISHED)
    spec = spec_of(args.checkpoint, args.suite, device=args.device)
    report.put("random", on_random_weights(args.shapes, device, kinds))
    report.put("pictures", {"suite": args.suite, **on_pictures(spec, tasks, kinds, args.steps)})
    if args.episodes:
        folder = args.folder or args.out.with_suffix("")
        in_closed_loop(spec, args.episodes, tasks, kinds, args.workers, folder, report)
    report.put("seconds", round(time.monotonic() - began))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", default="mini", help="mini, a folder or a hub id (%(default)s)")
    add("--suite", default="libero_object")
    add("--device")
    add("--shapes", choices=("toy", "openvla-7b"), default="toy", help="of the random weights")
    add("--weights", nargs="+", choices=tuple(BITS), help="default: every kind that the device has")
    add("--steps", type=int, default=10, help="pictures of each of ten tasks (%(default)s)")
    add("--episodes", type=int, default=0, help="closed loop: so many with each kind of weights")
    add("--workers", type=int, default=2)
    add("--folder", type=Path, help="for the sweeps; default: beside --out")
    add("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
