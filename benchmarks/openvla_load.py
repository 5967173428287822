"""Loading a checkpoint against merely reading its bytes, with the page cache cold and warm. A part of openvla_speed.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.config import VISION_KEY, read_config
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
        [sys.executable, __file__, str(folder), str(device)],
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


def child(folder: Path, device: torch.device) -> None:
    """What `load` runs: prints seconds and the host's peak before and after."""
    torch.zeros(1, device=device)
    before = peak_rss()
    start = time.perf_counter()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = load_weights(folder, read_config(folder / "config.json"), device, dtype)
    seconds = time.perf_counter() - start
    after = peak_rss()
    finite = all(bool(p.isfinite().all()) for p in model.parameters())
    print(
        json.dumps(
            {
                "load_s": round(seconds, 3),
                "rss_before_gb": before,
                "rss_peak_gb": after,
                "finite": finite,
            }
        )
    )


if __name__ == "__main__":
    child(Path(sys.argv[1]), torch.device(sys.argv[2]))
