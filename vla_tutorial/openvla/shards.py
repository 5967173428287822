"""Reading safetensors shards: headers first, to compare with the model, then bytes to the device.

The file format (github.com/huggingface/safetensors): 8 bytes little-endian header length, a JSON
header {name: {dtype, shape, data_offsets}}, then the tensors' bytes; nothing to execute.

safetensors' own reader moves the bytes in one thread and through memory of its own. Measured on an
H100 with safetensors 0.8.0, 15.1 GB from the page cache: `load_file` 3.1 s and 8.2 GB of host
memory at the peak, `safe_open` 2.3 s and 7.6 GB, this module 1.1 s and 0.95 GB (0.67 GB of it
Python and CUDA). From a cold disk: 10.4, 9.6 and 9.3 s.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vla_tutorial.errors import TutorialError

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
# Bytes a read: large enough for the disk, and all staging buffers together stay under 300 MB.
CHUNK = 16 << 20
THREADS = 8
# The format's own limit.
MAX_HEADER = 100 << 20


@dataclass(frozen=True)
class Entry:
    """One tensor in a shard: where its bytes are."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    nbytes: int


@dataclass(frozen=True)
class Piece:
    """At most CHUNK bytes of one tensor and the part of the parameter that they fill."""

    path: Path
    start: int
    nbytes: int
    dtype: torch.dtype
    target: Tensor


def read_headers(paths: Sequence[Path]) -> dict[str, Entry]:
    """Every tensor of the shards by name; a damaged shard, or a name twice, is an error."""
    entries: dict[str, Entry] = {}
    for path in paths:
        for name, entry in _read_header(path).items():
            if name in entries:
                both = f"{entries[name].path.name} and {path.name}"
                raise TutorialError(f"Tensor {name!r} is in {both}. Download them again.")
            entries[name] = entry
    return entries


def _read_header(path: Path) -> dict[str, Entry]:
    try:
        size = path.stat().st_size
        with path.open("rb") as f:
            length = int.from_bytes(f.read(8), "little")
            if not 0 < length <= min(MAX_HEADER, size - 8):
                raise ValueError(f"it has {size} bytes and names a header of {length} bytes")
            header = json.loads(f.read(length))
        header.pop("__metadata__", None)
        entries = {name: _entry(path, raw, 8 + length) for name, raw in header.items()}
        end = max((e.start + e.nbytes for e in entries.values()), default=8 + length)
        if end != size:
            raise ValueError(f"its header promises {end} bytes and it has {size}")
    except OSError as e:
        raise TutorialError(f"Shard {path} cannot be read ({e.strerror}). Download it.") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise TutorialError(
            f"{path} is damaged or cut short, no whole safetensors file: its header and bytes do "
            f"not match ({e}). Delete it and download it again."
        ) from e
    return entries


def _entry(path: Path, raw: Mapping[str, Any], base: int) -> Entry:
    name = str(raw["dtype"])
    shape = tuple(raw["shape"])
    start, end = raw["data_offsets"]
    if name not in DTYPES:
        raise ValueError(f"dtype {name}; known: {', '.join(DTYPES)}")
    dtype = DTYPES[name]
    if end - start != prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - start} bytes for shape {shape} {name}")
    return Entry(path, dtype, shape, base + start, end - start)


def check_names(entries: Mapping[str, Entry], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise a TutorialError that lists tensors which are missing, extra or of another shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    missing = [f"missing {name} {shapes[name]}" for name in shapes if name not in entries]
    extra = [f"extra {name} {e.shape}" for name, e in entries.items() if name not in shapes]
    other = [
        f"{name} has shape {entry.shape}, expected {shapes[name]}"
        for name, entry in entries.items()
        if entry.shape != shapes.get(name, entry.shape)
    ]
    problems = missing + extra + other
    if problems:
        more = f"; and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise TutorialError(
            f"The tensors in {source} are not those of the model that its config.json describes: "
            f"{'; '.join(problems[:12])}{more}. Use the config.json that came with these weights."
        )


def fill_parameters(entries: Mapping[str, Entry], targets: Mapping[str, Tensor]) -> None:
    """Copy every tensor's bytes into the parameter of its name.

    Several threads do it, so that reading and copying to the device overlap. A shard that ends
    early, although its header was whole, is an error.
    """
    pieces = sorted(_pieces(entries, targets), key=lambda piece: (piece.path, piece.start))
    largest = max(piece.nbytes for piece in pieces)
    device = pieces[0].target.device
    local = threading.local()

    def copy(piece: Piece) -> None:
        if not hasattr(local, "staging"):
            local.staging = Staging(largest, device)
        local.staging.copy(piece)

    with ThreadPoolExecutor(THREADS) as pool:
        # Reading the results raises what a thread raised.
        for _ in pool.map(copy, pieces):
            pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _pieces(entries: Mapping[str, Entry], targets: Mapping[str, Tensor]) -> Iterator[Piece]:
    for name, entry in entries.items():
        flat = targets[name].detach().view(-1)
        size = entry.dtype.itemsize
        step = CHUNK // size
        for i in range(0, len(flat), step):
            part = flat[i : i + step]
            yield Piece(entry.path, entry.start + i * size, len(part) * size, entry.dtype, part)


class Staging:
    """One thread's two page-locked buffers: while one is copied, the other is read into."""

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.turn = 0
        self.buffers = [
            torch.empty(nbytes, dtype=torch.uint8, pin_memory=self.cuda) for _ in range(2)
        ]
        if self.cuda:
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self.copied = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]

    def copy(self, piece: Piece) -> None:
        """Read a piece and start its copy."""
        self.turn ^= 1
        if self.cuda:
            self.copied[self.turn].synchronize()
        source = self.buffers[self.turn][: piece.nbytes]
        _read(piece, source)
        if not self.cuda:
            piece.target.copy_(source.view(piece.dtype))
            return
        with torch.cuda.stream(self.stream):
            piece.target.copy_(source.view(piece.dtype), non_blocking=True)
            self.copied[self.turn].record()


def _read(piece: Piece, into: Tensor) -> None:
    view = memoryview(into.numpy())  # type: ignore[arg-type]
    done = 0
    with piece.path.open("rb", buffering=0) as f:
        while done < piece.nbytes:
            count = os.preadv(f.fileno(), [view[done:]], piece.start + done)
            if count == 0:
                ends = f"{piece.path} ends at byte {piece.start + done}, inside a tensor"
                raise TutorialError(f"{ends}. Delete it and download it again.")
            done += count
