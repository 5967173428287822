"""Every figure of OpenVLA's speed and memory on one GPU in nine minutes, each beside its bound and its goal.

    PYTHONPATH=. python3 benchmarks/openvla_h100.py --out results/openvla_bits_h100.json       # a GPU with 80 GB, at most 9 minutes
    PYTHONPATH=. python3 benchmarks/openvla_h100.py --tiny --out /tmp/h100.json                # small shapes on a CPU: does the script work?

The weights are random, in the shapes of openvla-7b: speed depends on shapes alone. No published checkpoint is run here. Results are written after every
row. A row that fails is written with its error, and the next one begins. No row begins after `--seconds`.

Drafts are played back: `results/openvla_drafts_mini.json` says how often which tokens of a draft were right for `mini`. Random weights repeat nothing, so
a draft is made from the tokens that the model will answer, with the others changed. What OpenVLA itself accepts, only its own episodes say.
"""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from openvla_costs import Cost
from openvla_speed import (
    ACTIONS,
    TEXT,
    Report,
    ceilings,
    machine,
    pictures,
    products,
    random_model,
    speed,
    tiny_config,
)

from vla_tutorial.openvla.bits.arithmetic import BITS, quantise_model
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.drafts.drafter import Drafter
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import OpenVLA

GOALS: dict[str, dict[str, float]] = {
    "bf16 batch 1": {"ms": 38, "gib": 14.8},
    "bf16 drafts as mini's": {"ms": 32},
    "int8 batch 1": {"ms": 28, "gib": 9},
    "int4 batch 1": {"ms": 24, "gib": 6},
    "bf16 batch 32": {"actions_per_s": 130},
    "closed loop": {"actions_per_s": 105},
}
"""What was to be reached."""

MASKS = Path(__file__).parents[1] / "results/openvla_drafts_mini.json"
PLAYED = 60
"""Actions with drafts whose time is measured."""

TIES = 64
"""Pictures whose tokens with and without drafts are compared."""


class Bench:
    """The rows, in an order in which the most important come first."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.began = time.monotonic()
        self.args = args
        self.device = torch.device("cpu" if args.tiny else "cuda")
        self.report = Report(args.out)
        self.config = tiny_config() if args.tiny else OpenVLAConfig()
        self.dtype = torch.float32 if args.tiny else torch.bfloat16
        self.ceiling = Cost(1, 1)
        self.model: OpenVLA | None = None

    def row(self, name: str, work: Callable[[], Any]) -> None:
        """Measure one row, unless it is too late; an error is its result."""
        spent = time.monotonic() - self.began
        if spent > self.args.seconds:
            self.report.put(name, {"left_out": f"{spent:.0f} s had passed"})
            return
        began = time.monotonic()
        try:
            found = work()
        except Exception as e:
            traceback.print_exc()
            found = {"error": f"{type(e).__name__}: {e}"[:600]}
        if isinstance(found, dict):
            found |= {"goal": GOALS.get(name), "measured_in_s": round(time.monotonic() - began, 1)}
        self.report.put(name, found)

    def load(self, weights: str) -> OpenVLA:
        """A random model with such weights; the one before is given back."""
        self.model = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        model = random_model(self.config, self.device, self.dtype)
        if weights in BITS:
            quantise_model(model, BITS[weights])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.model = model
        return model

    def speeds(self, weights: str) -> None:
        """Batch 1, and for full weights batch 32, without drafts."""
        try:
            model = self.load(weights)
        except Exception as e:
            self.report.put(f"{weights} batch 1", {"error": f"{type(e).__name__}: {e}"[:600]})
            return
        engine = Engine(model, drafts=False)
        repeats = 3 if self.args.tiny else 10
        self.row(f"{weights} batch 1", lambda: speed(engine, 1, self.ceiling, repeats))
        self.row(f"{weights} products", lambda: products(engine, self.ceiling))
        self.row(f"{weights} tokens", lambda: kernels_agree(model, engine))
        if self.args.batches:
            for rows in self.args.batches:
                row = f"{weights} batch {rows}"
                self.row(row, lambda rows=rows: speed(engine, rows, self.ceiling, 3))
        engine.release()
        drafts = f"{weights} drafts as mini's"
        self.row(drafts, lambda: drafted(model, engine, played_masks(), refine=False))
        self.row(f"{weights} drafts, none right", lambda: drafted(model, engine, ["0" * 7], False))
        self.row(f"{weights} drafts, all right", lambda: drafted(model, engine, ["1" * 7], False))
        self.row(f"{weights} ties", lambda: ties(model, engine))
        engine.release()


def played_masks() -> list[str]:
    """Which tokens of a draft are right, step by step, in the proportions of `mini`'s logs."""
    counted: dict[str, int] = json.loads(MASKS.read_text())["sources"]["previous"]["right_masks"]
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([float(n) for n in counted.values()])
    drawn = torch.multinomial(weights, PLAYED, replacement=True, generator=generator)
    names = list(counted)
    return [names[i] for i in drawn.tolist()]


def drafted(model: OpenVLA, engine: Engine, masks: list[str], refine: bool) -> dict[str, Any]:
    """Milliseconds of an action at batch 1 whose draft is right where a mask has a 1."""
    drafter = Drafter(model, engine.runner, graphs=engine.graphs, refine=refine, always=True)
    pixels = pictures(1)
    prompts = torch.randint(3, 31000, (1, TEXT)).tolist()
    # What drafting itself answers, so that rounding makes no draft wrong.
    tokens = engine.generate(pixels, prompts, ACTIONS)
    for _ in range(3):
        tokens = drafter.verify(pixels, prompts, tokens)
    drafter.tally.passes = drafter.tally.batches = 0
    times = []
    for mask in masks * (1 if len(masks) > 1 else PLAYED // 3):
        right = torch.tensor([[c == "1" for c in mask]])
        draft = torch.where(right, tokens, (tokens + 1) % 256 + 31744)
        began = time.perf_counter()
        drafter.verify(pixels, prompts, draft)
        times.append(1e3 * (time.perf_counter() - began))
    drafter.release()
    return {
        "ms": round(statistics.mean(times), 2),
        "ms_median": round(statistics.median(times), 2),
        "ms_lowest_and_highest": [round(min(times), 2), round(max(times), 2)],
        "passes_an_action": round(drafter.tally.passes / max(drafter.tally.batches, 1), 3),
        "actions": len(times),
    }


@torch.inference_mode()
def margins(
    model: OpenVLA,
    pixels: torch.Tensor,
    prompts: list[list[int]],
    a: torch.Tensor,
    b: torch.Tensor,
) -> list[float]:
    """Where two answers part: by how much the eager logits prefer the one, in their standard deviations, without sign."""
    found = []
    for i in (a != b).any(1).nonzero()[:, 0].tolist():
        first = int((a[i] != b[i]).nonzero()[0])
        ids = torch.tensor([[*prompts[i], *a[i, :first].tolist()]], device=model.device)
        image = model.embed_image(pixels[i : i + 1].to(model.device))
        logits = model.sequence_logits(image, ids)[0, -1].float()
        apart = logits[a[i, first]] - logits[b[i, first]]
        found.append(round(abs(float(apart / logits.std())), 4))
    return found


def inputs(count: int) -> tuple[torch.Tensor, list[list[int]]]:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 224, 224, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(3, 31000, (count, TEXT), generator=generator).tolist()


def ties(model: OpenVLA, engine: Engine) -> dict[str, Any]:
    """Tokens with drafts against tokens without: how many pictures differ, and how near the two choices were."""
    pixels, prompts = inputs(TIES if model.device.type == "cuda" else 4)
    drafter = Drafter(model, engine.runner, graphs=engine.graphs, always=True)
    plain = torch.cat(
        [
            engine.generate(pixels[i : i + 1], prompts[i : i + 1], ACTIONS)
            for i in range(len(pixels))
        ]
    )
    # The draft of each is its neighbour's answer: wrong, so that every pass is run.
    with_drafts = torch.cat(
        [
            drafter.verify(pixels[i : i + 1], prompts[i : i + 1], plain[i - 1 : i or None])
            for i in range(len(pixels))
        ]
    )
    drafter.release()
    apart = margins(model, pixels, prompts, plain, with_drafts)
    return {
        "pictures": len(plain),
        "different": len(apart),
        "margins": sorted(apart, reverse=True)[:8],
    }


def kernels_agree(model: OpenVLA, engine: Engine) -> dict[str, Any]:
    """The engine's tokens against the eager path's in the same weights."""
    pixels, prompts = inputs(8)
    fast = engine.generate(pixels, prompts, ACTIONS)
    eager = model.generate(pixels, prompts, ACTIONS).cpu()
    apart = margins(model, pixels, prompts, eager, fast)
    return {
        "pictures": len(fast),
        "first_tokens_equal": round(float((fast == eager)[:, 0].float().mean()), 4),
        "different": len(apart),
        "margins": sorted(apart, reverse=True)[:8],
    }


def closed_loop(args: argparse.Namespace, left: float) -> dict[str, Any]:
    """`sweep_speed.py` with random weights, in a process of its own; needs LIBERO."""
    try:
        import libero  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
    except ImportError as e:
        return {"left_out": f"LIBERO is not installed here ({e})"}
    out = args.out.with_name(args.out.stem + "_closed_loop.json")
    words = [sys.executable, str(Path(__file__).with_name("sweep_speed.py")), "--random-openvla"]
    words += [str(args.folder), "--workers", "32", "--tasks", "0-7", "--inits", "0-7"]
    words += ["--max-steps", "80", "--no-plain", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=max(left, 60), check=False)
    if done.returncode:
        return {"error": done.stderr[-600:]}
    return {"file": out.name, **json.loads(out.read_text())}


def apart(args: argparse.Namespace, bench: Bench) -> None:
    """Each kind of weights in a process of its own: an error of CUDA then spoils no other row."""
    for number, weights in enumerate(args.weights):
        out = args.out.with_name(f"{args.out.stem}_{weights}.json")
        left = args.seconds - (time.monotonic() - bench.began)
        words = [sys.executable, __file__, "--out", str(out), "--weights", weights]
        words += ["--seconds", str(max(left, 1))]
        words += ["--batches", ",".join(map(str, args.batches if number == 0 else ()))]
        words += ["--tiny"] if args.tiny else []
        done = subprocess.run(words, check=False)
        rows = json.loads(out.read_text()) if out.exists() else {}
        for name, found in rows.items():
            if name.startswith(weights):
                bench.report.put(name, found)
        if done.returncode:
            bench.report.put(f"{weights} ended", {"error": f"exit code {done.returncode}"})


@torch.inference_mode()
def main() -> None:
    args = arguments()
    bench = Bench(args)
    report = bench.report
    report.put("command", f"python {shlex.join(sys.argv)}")
    report.put("machine", machine(bench.device))
    shapes = "a toy" if args.tiny else "openvla-7b"
    report.put("weights", f"random, shapes of {shapes}; no published checkpoint was run")
    bench.ceiling = ceilings(bench.device, args.tiny)
    flops, bandwidth = bench.ceiling.flops / 1e12, bench.ceiling.bytes / 1e9
    report.put("ceilings", {"matmul_tflops": round(flops, 2), "memory_gb_s": round(bandwidth, 1)})
    if len(args.weights) == 1:
        bench.speeds(args.weights[0])
    else:
        apart(args, bench)
    if args.folder:
        left = args.seconds - (time.monotonic() - bench.began)
        bench.row("closed loop", lambda: closed_loop(args, left))
    report.put("seconds", round(time.monotonic() - bench.began, 1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSON file; written after every result")
    add("--tiny", action="store_true", help="small shapes on the CPU: does the script work?")
    add("--seconds", type=float, default=500, help="no row begins after these (%(default)s)")
    add(
        "--weights",
        default="bf16,int8,int4",
        type=lambda s: s.split(","),
        help="of %(default)s, in this order",
    )
    add(
        "--batches",
        default="32",
        type=lambda s: [int(n) for n in s.split(",") if n],
        help="further batch sizes of the first weights (%(default)s)",
    )
    add(
        "--folder",
        type=Path,
        help="closed loop: a folder that openvla_speed.py --phases load wrote, 15 GB",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
