"""How fast OpenVLA's engine runs, with the hardware's bound beside each figure.

The weights are random, in the shapes of openvla-7b: speed depends on shapes alone. No published checkpoint is run here.

    PYTHONPATH=. python3 benchmarks/openvla_speed.py --out results/openvla_speed.json        # a GPU with 80 GB, about 6 minutes
    PYTHONPATH=. python3 benchmarks/openvla_speed.py --tiny --out /tmp/speed.json            # small shapes on a CPU, under a minute
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import openvla_load
import torch
from openvla_costs import Cost, costs

from vla_tutorial.openvla.bits.arithmetic import BITS, Kind, QuantisedLinear, quantise_model
from vla_tutorial.openvla.config import LlamaConfig, OpenVLAConfig, VisionConfig, ViTConfig
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.llama import Cache
from vla_tutorial.openvla.model import OpenVLA, materialise, meta_model, pad, round_up
from vla_tutorial.policies.device import lacks_fp8

ACTIONS = 7
"""Tokens an action."""

TEXT = 32
"""Prompt ids of the timed runs: LIBERO's prompts have about 30, and the engine rounds up to a multiple of 16."""

PHASES = ("ceilings", "speed", "products", "agree", "profile", "load")


class Report:
    """Results so far; written out after every entry, so that a killed run keeps what it had."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.data = path, dict[str, Any]()

    def put(self, key: str, value: Any) -> None:
        """Add one entry, print it, and write the file."""
        self.data[key] = value
        print(f"[{time.strftime('%H:%M:%S')}] {key}: {json.dumps(value)}", flush=True)
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.data, indent=1) + "\n")


def tiny_config() -> OpenVLAConfig:
    """Shapes small enough for any CPU."""
    vit = ViTConfig(32, 3, 2, 64)
    llama = LlamaConfig(64, 128, 2, 4, vocab_size=32064)
    return OpenVLAConfig(VisionConfig(224, 28, vit, vit), llama)


def random_model(
    config: OpenVLAConfig, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> OpenVLA:
    """A model drawn on its device; the spread keeps activations near one, as training does."""
    model = materialise(meta_model(config), device, dtype)
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        if name.endswith("scale_factor"):
            p.normal_(0.1, 0.01)
        elif p.ndim == 1 and "norm" in name and name.endswith("weight"):
            p.normal_(1.0, 0.1)
        else:
            p.normal_(0.0, 0.02 if p.ndim == 1 else p[0].numel() ** -0.5)
    return model


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of `work`: on CUDA captured as a graph, so that the host's launches do not count; elsewhere by the clock."""
    work()
    if device.type != "cuda":
        return statistics.median(_clock(work) for _ in range(repeats))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    return statistics.median(
        _clock(lambda: (graph.replay(), torch.cuda.synchronize())) for _ in range(repeats)
    )


def _clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def ceilings(device: torch.device, tiny: bool) -> Cost:
    """What this machine reaches on random data: FLOP/s of a square bf16 product, and of one in 8-bit floats where it has them; bytes/s of a copy (read and write) or a sum, the faster."""
    n, size = (512, 1 << 24) if tiny else (8192, 1 << 32)
    dtype = torch.float32 if tiny else torch.bfloat16
    a, b = torch.randn(2, n, n, device=device, dtype=torch.float32).to(dtype)
    product = milliseconds(lambda: a @ b, device, 10)
    x = torch.randn(size // 4, device=device).view(torch.uint8)
    y = torch.empty_like(x)
    copy = milliseconds(lambda: y.copy_(x), device, 10)
    total = milliseconds(lambda: x.view(torch.float32).sum(), device, 10)
    fp8 = 0.0
    if device.type == "cuda" and not lacks_fp8(str(device)):
        few, many = (one.to(torch.float8_e4m3fn) for one in (a, b))
        ones = torch.ones(n, 1, device=device)
        multiply = partial(
            torch._scaled_mm, few, many.t(), ones, ones.t(), out_dtype=dtype, use_fast_accum=True
        )
        fp8 = 2 * n**3 / milliseconds(multiply, device, 10) * 1e3
    return Cost(2 * n**3 / product * 1e3, max(2 * size / copy, size / total) * 1e3, fp8)


def ceilings_json(ceiling: Cost) -> dict[str, float | None]:
    """For the report; None where the machine has no 8-bit floats."""
    return {
        "matmul_tflops": round(ceiling.flops / 1e12, 2),
        "fp8_tflops": round(ceiling.fp8 / 1e12, 2) or None,
        "memory_gb_s": round(ceiling.bytes / 1e9, 1),
    }


def pictures(rows: int) -> torch.Tensor:
    """Random pictures (rows, 224, 224, 3) uint8."""
    return torch.randint(0, 256, (rows, 224, 224, 3), dtype=torch.uint8)


def speed(engine: Engine, rows: int, ceiling: Cost, repeats: int) -> dict[str, Any]:
    """Times of the parts and of the whole for one batch size, each with its bound."""
    model, device = engine.model, engine.model.device
    engine.release()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    pixels = pictures(rows)
    prompts = torch.randint(3, 31000, (rows, TEXT)).tolist()
    start = time.perf_counter()
    engine.generate(pixels, prompts, ACTIONS)
    ready = time.perf_counter() - start
    whole = statistics.median(
        _clock(lambda: engine.generate(pixels, prompts, ACTIONS)) for _ in range(repeats)
    )
    memory = torch.cuda.max_memory_reserved() / 2**30 if device.type == "cuda" else None
    result: dict[str, Any] = {
        "first_call_s": round(ready, 1),
        "peak_gib": memory and round(memory, 2),
    }
    bound = 0.0
    gap: dict[str, float] = {}
    for name, (ms, times) in parts(engine, pixels, prompts, repeats).items():
        cost = costs(model.config, rows, TEXT, ACTIONS, model.dtype.itemsize, kind_of(model))[name]
        least = cost.bound_ms(ceiling)
        bound += times * least
        gap[name] = round(times * (ms - least), 2)
        result[name] = {
            "ms": round(ms, 3),
            "bound_ms": round(least, 3),
            "ratio": round(ms / least, 2),
            "times": times,
        } | cost.json()
    result["action"] = {
        "ms": round(whole, 2),
        "bound_ms": round(bound, 2),
        "ratio": round(whole / bound, 2),
    }
    result["action"]["actions_per_s"] = round(1e3 * rows / whole, 1)
    # Above the bound, in ms: by part, and what the whole takes beside its parts.
    gap["beside the parts"] = round(whole - bound - sum(gap.values()), 2)
    result["action"]["gap_ms"] = gap
    return result


def kind_of(model: OpenVLA) -> Kind | None:
    """How Llama's layers are held; None where they are not quantised."""
    first = model.language_model.layers[0].mlp.down_proj
    return first.whole.kind if isinstance(first, QuantisedLinear) else None


def parts(
    engine: Engine, pixels: torch.Tensor, prompts: list[list[int]], repeats: int
) -> dict[str, tuple[float, int]]:
    """Milliseconds of vision (with projector), prefill and one decode step, and how often each runs for an action."""
    model, device = engine.model, engine.model.device
    pixels = pixels.to(device)
    ids, lengths = pad(prompts, TEXT, device)
    vision = milliseconds(lambda: model.embed_image(pixels), device, repeats)
    x = model.embed(model.embed_image(pixels), ids)
    cache = Cache.empty(model.config.llama, len(x), x.shape[1] + ACTIONS, x)
    first = model.config.vision.patches + lengths
    prefill = milliseconds(
        lambda: engine.runner.prefill(x.clone(), first - 1, cache), device, repeats
    )
    decode = milliseconds(lambda: engine.runner.decode(ids[:, 0], first, cache), device, repeats)
    return {"vision": (vision, 1), "prefill": (prefill, 1), "decode": (decode, ACTIONS - 1)}


def products(engine: Engine, ceiling: Cost) -> dict[str, Any]:
    """For each product of a decode step and each batch size: what was tried, in µs, beside the time to read the weight once."""
    out = {}
    for (name, rows), times in getattr(engine.runner, "timings", {}).items():
        weight = (
            engine.runner.head.weight
            if name == "head"
            else getattr(engine.runner.layers[0], name).weight
        )  # type: ignore[attr-defined]
        # Of the bytes at their width: `Quantised.nbytes` counts scales and offsets as well.
        theirs = "scaled_mm" if getattr(weight, "kind", "") == "fp8" else "cublas"
        tried = {str(tile) if tile else theirs: round(1e3 * ms, 1) for tile, ms in times.items()}
        out[f"{name} rows {rows}"] = {
            "bound_us": round(1e6 * weight.nbytes / ceiling.bytes, 1)
        } | tried
    return out


def agree(model: OpenVLA, engine: Engine, rows: int) -> dict[str, Any]:
    """Eager and engine in the model's dtype against eager float32, on the same random pictures and prompts of mixed lengths.

    Random weights give nearly tied logits, so tokens differ where rounding decides. Every path is fed the float32 path's tokens; what counts is
    that the engine lies no further from float32 than the eager path in the same dtype.
    """
    exact = materialise(meta_model(model.config), model.device, torch.float32)
    for a, b in zip(exact.parameters(), model.parameters(), strict=True):
        a.copy_(b)
    pixels = pictures(rows).to(model.device)
    prompts = [torch.randint(3, 31000, (int(n),)).tolist() for n in torch.randint(20, 45, (rows,))]
    tokens = exact.generate(pixels, prompts, ACTIONS)
    reference = eager_logits(exact, pixels, prompts, tokens)
    paths = {
        "eager": eager_logits(model, pixels, prompts, tokens),
        "engine": engine_logits(engine, pixels, prompts, tokens),
    }
    free = {
        "eager": model.generate(pixels, prompts, ACTIONS).cpu(),
        "engine": engine.generate(pixels, prompts, ACTIONS),
    }
    top = reference.topk(2, -1).values
    out: dict[str, Any] = {
        "rows": rows,
        "median_top1_margin": round((top[..., 0] - top[..., 1]).median().item(), 4),
    }
    for name, logits in paths.items():
        out[f"{name}_max_logit_diff_to_float32"] = round((logits - reference).abs().max().item(), 5)
        out[f"{name}_rms_logit_diff_to_float32"] = round(
            (logits - reference).square().mean().sqrt().item(), 6
        )
        out[f"{name}_top1_agrees_with_float32"] = round(
            (logits.argmax(-1) == reference.argmax(-1)).float().mean().item(), 4
        )
    out["engine_max_logit_diff_to_eager"] = round(
        (paths["engine"] - paths["eager"]).abs().max().item(), 5
    )
    out["engine_first_token_agrees_with_eager"] = round(
        (free["engine"] == free["eager"])[:, 0].float().mean().item(), 4
    )
    out["engine_all_tokens_agree_with_eager"] = round(
        (free["engine"] == free["eager"]).float().mean().item(), 4
    )
    return out


def eager_logits(
    model: OpenVLA, pixels: torch.Tensor, prompts: list[list[int]], tokens: torch.Tensor
) -> torch.Tensor:
    """Logits (N, D, V) float32 of every step, when the steps before it were `tokens` (N, D)."""
    ids, lengths = pad(
        [p + t for p, t in zip(prompts, tokens.tolist(), strict=True)],
        max(map(len, prompts)) + ACTIONS,
        model.device,
    )
    last = model.config.vision.patches + lengths - ACTIONS - 1
    image = model.embed_image(pixels)
    rows = [
        model.sequence_logits(image[i : i + 1], ids[i : i + 1])[0, n : n + ACTIONS].float()
        for i, n in enumerate(last.tolist())
    ]
    return torch.stack(rows)


def engine_logits(
    engine: Engine, pixels: torch.Tensor, prompts: list[list[int]], tokens: torch.Tensor
) -> torch.Tensor:
    """The same through the engine's runner, all rows at once."""
    model = engine.model
    ids, lengths = pad(prompts, round_up(max(map(len, prompts)), 16), model.device)
    x = model.embed(model.embed_image(pixels), ids)
    cache = Cache.empty(model.config.llama, len(x), x.shape[1] + ACTIONS, x)
    first = model.config.vision.patches + lengths
    steps = [engine.runner.prefill(x, first - 1, cache)]
    steps += [engine.runner.decode(tokens[:, i], first + i, cache) for i in range(ACTIONS - 1)]
    return torch.stack(steps, 1).float()


def profile(engine: Engine, rows: int) -> list[str]:
    """The kernels that take longest in one action, for whoever tunes next."""
    pixels, ids = pictures(rows), torch.randint(3, 31000, (rows, TEXT))
    args = (
        pixels.to(engine.model.device),
        ids.to(engine.model.device),
        torch.full((rows,), TEXT, device=engine.model.device),
        ACTIONS,
    )
    engine.act(*args)
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(
        activities=[activity.CUDA] if engine.graphs else [activity.CPU]
    ) as p:
        engine.act(*args)
    total = [
        (e.self_device_time_total or e.self_cpu_time_total, e.count, e.key)
        for e in p.key_averages()
    ]
    return [
        f"{us / 1e3:8.2f} ms {count:5d} × {key[:90]}"
        for us, count, key in sorted(total, reverse=True)[:16]
    ]


@torch.inference_mode()
def main() -> None:
    args = arguments()
    device = torch.device("cpu" if args.tiny else "cuda")
    report = Report(args.out)
    report.put("command", f"python {shlex.join(sys.argv)}")
    report.put("machine", machine(device))
    report.put(
        "weights",
        "random, shapes of "
        + ("a toy" if args.tiny else "openvla-7b")
        + "; no published checkpoint was run",
    )
    config, dtype = (
        (tiny_config(), torch.float32) if args.tiny else (OpenVLAConfig(), torch.bfloat16)
    )
    ceiling = ceilings(device, args.tiny)
    report.put("ceilings", ceilings_json(ceiling))
    model = random_model(config, device, dtype)
    if args.weights in BITS:
        quantise_model(model, args.weights)
        # Both compare or write full weights.
        args.phases = [phase for phase in args.phases if phase not in ("agree", "load")]
    engine = Engine(model, drafts=False)
    report.put("engine", engine.provenance)
    for rows in args.batches if "speed" in args.phases else ():
        report.put(f"batch {rows}", speed(engine, rows, ceiling, 3 if args.tiny else 10))
    if "products" in args.phases:
        report.put("products", products(engine, ceiling))
    if "profile" in args.phases:
        for rows in (1, args.batches[-1]):
            report.put(f"profile {rows}", profile(engine, rows))
    engine.release()
    if "agree" in args.phases:
        report.put("agree", agree(model, engine, 8))
    if "load" in args.phases:
        folder = args.folder
        openvla_load.write(model, folder)
        del model, engine
        openvla_load.compare(folder, device, report.put)


def machine(device: torch.device) -> dict[str, str]:
    name = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "device": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON file; written after every result")
    parser.add_argument(
        "--tiny", action="store_true", help="small shapes on the CPU: does the script work?"
    )
    parser.add_argument(
        "--phases",
        default=",".join(PHASES),
        type=lambda s: s.split(","),
        help="of %(default)s; ceilings are always measured",
    )
    parser.add_argument(
        "--batches",
        default="1,4,8,16,32",
        type=lambda s: [int(n) for n in s.split(",")],
        help="batch sizes (%(default)s)",
    )
    parser.add_argument("--weights", choices=("bf16", *BITS), default="bf16")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("/tmp/openvla_random"),
        help="where the load phase writes 15 GB (%(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
