"""Every figure of OpenVLA's speed and memory on one GPU in nine minutes, each beside its bound and its goal.

    PYTHONPATH=. python3 benchmarks/openvla_h100.py --out results/openvla_bits_h100.json       # a GPU with 80 GB, at most 9 minutes
    PYTHONPATH=. python3 benchmarks/openvla_h100.py --only "fp8 batch 32" "fp8 sums" --out /tmp/fp8.json          # these rows alone
    PYTHONPATH=. python3 benchmarks/openvla_h100.py --only loop --folder /tmp/random --out /tmp/loop.json         # closed loop; needs LIBERO and 15 GB of disk
    PYTHONPATH=. python3 benchmarks/openvla_h100.py --only "loop bf16" "loop two GPUs" --folder /tmp/random --out /tmp/two.json     # two GPUs of one host
    PYTHONPATH=. python3 benchmarks/openvla_h100.py --tiny --out /tmp/h100.json                # small shapes on a CPU: does the script work?

The weights are random, in the shapes of openvla-7b: speed depends on shapes alone. No published checkpoint is run here. Results are written after every
row. A row that fails is written with its error, and the next one begins. No row begins after `--seconds`. Each row has its bound, what was measured, its
goal and whether it was reached. `gap_ms` says how many milliseconds above the bound each part takes.

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
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openvla_load
import torch
from openvla_costs import Cost, costs
from openvla_speed import (
    ACTIONS,
    TEXT,
    Report,
    ceilings,
    ceilings_json,
    kind_of,
    machine,
    milliseconds,
    pictures,
    products,
    random_model,
    speed,
    tiny_config,
)

from vla_tutorial.openvla.bits.arithmetic import BITS, quantise_model, to_fp8
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
    "fp8 batch 32": {"actions_per_s": 190},
    "loop bf16": {"actions_per_s": 105},
    "loop fp8": {"actions_per_s": 140},
    "loop two GPUs": {"times_of_one": 1.8},
}
"""What was to be reached: milliseconds and GiB at most, actions a second and times of one GPU at least."""

KINDS = ("bf16", "fp8", "int8", "int4")
"""In the order in which they are measured."""

BATCH = 32
"""Pictures of an answer where many are asked together, and simulators of a closed loop."""

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
        if not wanted(name, self.args.only):
            return
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
        goal = GOALS.get(name, {})
        found |= {"goal": goal or None, "measured_in_s": round(time.monotonic() - began, 1)}
        found["reached"] = reached(found, goal) or None
        self.report.put(name, found)

    def load(self, weights: str) -> OpenVLA:
        """A random model with such weights; the one before is given back."""
        self.load_nothing()
        model = random_model(self.config, self.device, self.dtype)
        if weights in BITS:
            quantise_model(model, weights)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.model = model
        return model

    def load_nothing(self) -> None:
        """Give the GPU's memory back."""
        self.model = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def speeds(self, weights: str) -> None:
        """Batch 1, and with bf16 and fp8 larger batches, without drafts; then drafts."""
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
        for rows in self.args.batches if weights in ("bf16", "fp8") else ():
            row = f"{weights} batch {rows}"
            self.row(row, lambda rows=rows: speed(engine, rows, self.ceiling, 3))
        engine.release()
        if weights == "fp8":
            self.row("fp8 sums", lambda: sums(model, 4 if self.args.tiny else BATCH))
        else:
            self.drafts(weights, model, engine)
        self.row(f"{weights} ties", lambda: ties(model, engine))
        engine.release()

    def drafts(self, weights: str, model: OpenVLA, engine: Engine) -> None:
        """Batch 1 with drafts as good as `mini`'s, and with the worst and the best."""
        for name, masks in (
            ("drafts as mini's", played_masks()),
            ("drafts, none right", ["0" * 7]),
            ("drafts, all right", ["1" * 7]),
        ):
            work = lambda masks=masks: drafted(model, engine, masks, self.ceiling)  # noqa: E731
            self.row(f"{weights} {name}", work)


def wanted(name: str, only: list[str] | None) -> bool:
    """Whether a row was asked for: by the beginning of its name, or with all others."""
    return not only or any(name.startswith(one) for one in only)


def any_wanted(beginning: str, only: list[str] | None) -> bool:
    """Whether a row of these was asked for, all of whose names begin so."""
    return wanted(beginning, only) or any(one.startswith(beginning) for one in only or ())


def reached(found: dict[str, Any], goal: dict[str, float]) -> dict[str, bool]:
    """For each figure of a goal that was measured, whether it was reached."""
    action = found.get("action", found)
    measured = {
        "ms": action.get("ms"),
        "gib": found.get("peak_gib"),
        "actions_per_s": action.get("actions_per_s"),
        "times_of_one": found.get("times_of_one"),
    }
    said = {}
    for key, least in goal.items():
        if measured[key] is not None:
            said[key] = measured[key] <= least if key in ("ms", "gib") else measured[key] >= least
    return said


def bounds(
    config: OpenVLAConfig, rows: int, itemsize: int, kind: Any, ceiling: Cost
) -> dict[str, float]:
    """Milliseconds that vision, prefill and one decode step take at least."""
    parts = costs(config, rows, TEXT, ACTIONS, itemsize, kind)
    return {name: cost.bound_ms(ceiling) for name, cost in parts.items()}


def sums(model: OpenVLA, rows: int) -> dict[str, Any]:
    """fp8 products of a prefill with the matrix units' short sums and with full ones: time of one layer, error against float32.

    The error is the root mean square over that of the exact products of the same rounded numbers. On a CPU both are the same.
    """
    device = model.device
    length = rows * (model.config.vision.patches + TEXT)
    layer = model.language_model.layers[0]
    linears = (
        layer.self_attn.q_proj,
        layer.self_attn.o_proj,
        layer.mlp.up_proj,
        layer.mlp.down_proj,
    )
    found: dict[str, Any] = {"rows": length}
    for fast in (True, False):
        times = []
        errors = []
        for linear in linears:
            w = linear.whole
            x, scale = to_fp8(torch.randn(length, w.shape[1], device=device))
            multiply = partial(
                torch._scaled_mm, x, w.packed.t(), scale, w.scale.t(),
                out_dtype=torch.bfloat16, use_fast_accum=fast,
            )  # fmt: skip
            times.append(milliseconds(multiply, device, 5))
            exact = (x[:64].float() * scale[:64]) @ w.dequantise().t()
            apart = (multiply()[:64].float() - exact).square().mean() / exact.square().mean()
            errors.append(float(apart.sqrt()))
        name = "short sums" if fast else "full sums"
        found[name] = {"layer_ms": round(sum(times), 3), "errors": [round(e, 6) for e in errors]}
    flop = 2 * length * sum(linear.whole.packed.numel() for linear in linears)
    return found | {"tflop": round(flop / 1e12, 4)}


def played_masks() -> list[str]:
    """Which tokens of a draft are right, step by step, in the proportions of `mini`'s logs."""
    counted: dict[str, int] = json.loads(MASKS.read_text())["sources"]["previous"]["right_masks"]
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([float(n) for n in counted.values()])
    drawn = torch.multinomial(weights, PLAYED, replacement=True, generator=generator)
    names = list(counted)
    return [names[i] for i in drawn.tolist()]


def drafted(model: OpenVLA, engine: Engine, masks: list[str], ceiling: Cost) -> dict[str, Any]:
    """Milliseconds of an action at batch 1 whose draft is right where a mask has a 1.

    Its bound counts a pass as one decode step, which reads the weights as often.
    """
    drafter = Drafter(model, engine.runner, graphs=engine.graphs, refine=False, always=True)
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
    passes = drafter.tally.passes / max(drafter.tally.batches, 1)
    least = bounds(model.config, 1, model.dtype.itemsize, kind_of(model), ceiling)
    bound = least["vision"] + least["prefill"] + passes * least["decode"]
    return {
        "ms": round(statistics.mean(times), 2),
        "bound_ms": round(bound, 2),
        "ratio": round(statistics.mean(times) / bound, 2),
        "ms_median": round(statistics.median(times), 2),
        "ms_lowest_and_highest": [round(min(times), 2), round(max(times), 2)],
        "passes_an_action": round(passes, 3),
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


def loops(bench: Bench) -> None:
    """Closed loop on one GPU with full weights and fp8, then on two GPUs with a sweep each; needs LIBERO and `--folder`."""
    args = bench.args
    if not args.folder or not any_wanted("loop", args.only):
        return
    if not (args.folder / "config.json").exists():
        openvla_load.write(bench.load("bf16"), args.folder)
    bench.load_nothing()
    for weights in ("bf16", "fp8"):
        bench.row(f"loop {weights}", lambda weights=weights: loop(bench, weights, 1))
    bench.row("loop two GPUs", lambda: loop(bench, "bf16", 2))


def loop(bench: Bench, weights: str, gpus: int) -> dict[str, Any]:
    """`sweep_speed.py` with random weights, in a process of its own for each GPU. Two GPUs run two shards of a sweep, from other starts."""
    if find_spec("libero") is None:
        return {"left_out": "LIBERO is not installed here"}
    args = bench.args
    cuda = bench.device.type == "cuda"
    if cuda and torch.cuda.device_count() < gpus:
        return {"left_out": f"this machine has {torch.cuda.device_count()} GPU"}
    began = time.monotonic()
    running = []
    for number in range(gpus):
        out = args.out.with_name(f"{args.out.stem}_loop_{weights}_{number + 1}_of_{gpus}.json")
        words = [sys.executable, str(Path(__file__).with_name("sweep_speed.py")), "--no-plain"]
        words += ["--random-openvla", str(args.folder), "--weights", weights, "--out", str(out)]
        words += ["--device", f"cuda:{number}" if cuda else "cpu"]
        if args.tiny:
            words += ["--workers", "1", "--tasks", "0", "--inits", str(number), "--max-steps", "4"]
        else:
            first = 8 * number
            words += ["--workers", str(BATCH), "--tasks", "0-7", "--max-steps", "80"]
            words += ["--inits", f"{first}-{first + 7}"]
        running.append((subprocess.Popen(words, stderr=subprocess.PIPE, text=True), out))
    swept = []
    for process, out in running:
        _, said = process.communicate(timeout=600)
        if process.returncode:
            return {"error": said[-600:]}
        found = json.loads(out.read_text())
        swept.append(next(value for key, value in found.items() if key.startswith("workers ")))
    rate = sum(one["actions_per_s"] for one in swept)
    least = bounds(bench.config, BATCH, 2, None if weights == "bf16" else weights, bench.ceiling)
    action = least["vision"] + least["prefill"] + (ACTIONS - 1) * least["decode"]
    alone = bench.report.data.get(f"{weights} batch {BATCH}", {}).get("action", {})
    one = bench.report.data.get(f"loop {weights}", {}).get("actions_per_s")
    return {
        "actions_per_s": round(rate, 2),
        "bound_actions_per_s": round(gpus * 1e3 * BATCH / action, 1),
        "batch_32_alone_actions_per_s": alone.get("actions_per_s"),
        "times_of_one": round(rate / one, 3) if gpus > 1 and one else None,
        "mean_batch": [one["mean_batch"] for one in swept],
        "policy_share_of_time": [one["policy_share_of_time"] for one in swept],
        "busy": [one["share_of_time_simulators_are_busy"] for one in swept],
        "seconds": round(time.monotonic() - began, 1),
    }


def apart(args: argparse.Namespace, bench: Bench) -> None:
    """Each kind of weights in a process of its own: an error of CUDA then spoils no other row."""
    for weights in args.weights:
        if not any_wanted(weights, args.only):
            continue
        out = args.out.with_name(f"{args.out.stem}_{weights}.json")
        left = args.seconds - (time.monotonic() - bench.began)
        words = [sys.executable, __file__, "--out", str(out), "--weights", weights]
        words += ["--seconds", str(max(left, 1))]
        words += ["--batches", ",".join(map(str, args.batches))]
        words += ["--only", *args.only] if args.only else []
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
    report.put("ceilings", ceilings_json(bench.ceiling))
    if len(args.weights) == 1:
        bench.speeds(args.weights[0])
    else:
        apart(args, bench)
    loops(bench)
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
        default=",".join(KINDS),
        type=lambda s: s.split(","),
        help="of %(default)s, in this order",
    )
    add(
        "--batches",
        default="32",
        type=lambda s: [int(n) for n in s.split(",") if n],
        help="further batch sizes of bf16 and fp8 (%(default)s)",
    )
    add(
        "--folder",
        type=Path,
        help="closed loop: where 15 GB of random weights lie, or are written",
    )
    add("--only", nargs="+", help="rows, each by the beginning of its name (default: all)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
