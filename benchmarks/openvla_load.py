"""Loading a checkpoint against merely reading its bytes, with the page cache cold and warm. A part of openvla_speed.py.

By itself it measures the host's memory while a checkpoint is quantised and its cache is written, at the real width and of as many layers as the disk and the
memory allow. On a CPU the weights lie in the host's memory too, so what counts is the peak beside them.

    python benchmarks/openvla_load.py write /tmp/random --layers 4                              # 4 GB, half a minute
    python benchmarks/openvla_load.py load /tmp/random --weights int8 --cache /tmp/int8.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vla_tutorial.openvla.bits.arithmetic import BITS, quantised_bytes
from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.config import VISION_KEY, OpenVLAConfig, read_config
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.openvla.shards import CHUNK, THREADS

SHARD = 7 * 10**9
"""Bytes a shard at most; openvla-7b has three, the largest 6.9 GB."""


def write(model: OpenVLA, folder: Path) -> None:
    """Write the model in the published layout, with config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "openvla",
        "text_config": asdict(model.config.llama),
        VISION_KEY: asdict(model.config.vision),
    }
    (folder / "config.json").write_text(json.dumps(config))
    for i, names in enumerate(_shards(model)):
        tensors = {name: p.cpu() for name, p in model.state_dict().items() if name in names}
        save_file(tensors, folder / f"model-{i + 1:05d}.safetensors")
        print(f"wrote shard {i + 1}", flush=True)
    os.sync()


def _shards(model: OpenVLA) -> Iterator[set[str]]:
    names, size = set[str](), 0
    for name, p in model.state_dict().items():
        if size + p.nbytes > SHARD:
            yield names
            names, size = set(), 0
        names.add(name)
        size += p.nbytes
    yield names


def forget(folder: Path) -> None:
    """Drop the files from the page cache."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(folder: Path, threads: int) -> float:
    """Seconds to read every byte into memory that is used again for the next chunk."""
    pieces = [
        (p, i)
        for p in sorted(folder.glob("*.safetensors"))
        for i in range(0, p.stat().st_size, CHUNK)
    ]
    buffers = [bytearray(CHUNK) for _ in range(threads)]

    def run(worker: int) -> None:
        for path, offset in pieces[worker::threads]:
            with path.open("rb", buffering=0) as f:
                os.preadv(f.fileno(), [buffers[worker]], offset)

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
    return time.perf_counter() - start


def load(folder: Path, device: torch.device) -> dict[str, float]:
    """Load in a fresh process, so that its peak of host memory is the loading's own."""
    out = subprocess.run(
        [sys.executable, __file__, "load", str(folder), "--device", str(device)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, float] = json.loads(out.stdout.splitlines()[-1])
    return result


def compare(folder: Path, device: torch.device, put: Callable[[str, Any], None]) -> None:
    """Read, load, read, load: with a cold page cache, then with a warm one."""
    sizes = [p.stat().st_size for p in folder.glob("*.safetensors")]
    put(
        "load files",
        {"gb": round(sum(sizes) / 1e9, 3), "largest_shard_gb": round(max(sizes) / 1e9, 3)},
    )
    for state in ("cold", "warm"):
        for turn in (1, 2):
            result: dict[str, Any] = {}
            for threads in (1, THREADS):
                if state == "cold":
                    forget(folder)
                result[f"read_{threads}_threads_s"] = round(read(folder, threads), 3)
            if state == "cold":
                forget(folder)
            result |= load(folder, device)
            result["load_over_read"] = round(
                result["load_s"] / min(v for k, v in result.items() if k.startswith("read_")), 3
            )
            put(f"load {state} {turn}", result)


def peak_rss() -> float:
    """GB of host memory at the most so far, of this program alone (ru_maxrss would remember the parent's)."""
    line = next(
        text
        for text in Path("/proc/self/status").read_text().splitlines()
        if text.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024 / 1e9


def child(
    folder: Path, device: torch.device, weights: str | None = None, cache: Path | None = None
) -> None:
    """What `load` runs: prints seconds and the host's peak before and after."""
    torch.zeros(1, device=device)
    before = peak_rss()
    start = time.perf_counter()
    full = torch.float32 if device.type == "cpu" and weights is None else torch.bfloat16
    kind = next((one for one in BITS if one == weights), None)
    config = read_config(folder / "config.json")
    model = load_weights(folder, config, device, full, kind, cache)
    seconds = time.perf_counter() - start
    after = peak_rss()
    finite = all(bool(p.isfinite().all()) for p in model.parameters())
    held = sum(p.nbytes for p in model.parameters()) + quantised_bytes(model)
    found: dict[str, Any] = {
        "load_s": round(seconds, 3),
        "rss_before_gb": before,
        "rss_peak_gb": after,
        "finite": finite,
    }
    if device.type == "cpu":
        found["weights_gb"] = round(held / 1e9, 3)
        found["rss_peak_beside_the_weights_gb"] = round(after - held / 1e9, 3)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("write", "load"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--layers", type=int, default=4, help="of Llama's 32 (%(default)s)")
    parser.add_argument("--weights", choices=tuple(BITS))
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    if args.what == "load":
        child(args.folder, args.device, args.weights, args.cache)
        return
    from openvla_speed import random_model

    config = OpenVLAConfig()
    llama = replace(config.llama, num_hidden_layers=args.layers)
    model = random_model(replace(config, llama=llama), args.device, torch.bfloat16)
    write(model, args.folder)


if __name__ == "__main__":
    main()
