"""Reading safetensors shards: headers first, to compare with the model, then bytes to the device.

The file format (github.com/huggingface/safetensors): 8 bytes little-endian header length, a JSON
header {name: {dtype, shape, data_offsets}}, then the tensors' bytes; nothing to execute.

safetensors' own reader moves the bytes in one thread and through memory of its own. Measured on an
H100 with safetensors 0.8.0, 15.1 GB from the page cache: `load_file` 3.1 s and 8.2 GB of host
memory at the peak, `safe_open` 2.3 s and 7.6 GB, this module 1.1 s and 0.95 GB (0.67 GB of it
Python and CUDA). From a cold disk: 10.4, 9.6 and 9.3 s.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import msgspec
import torch
from torch import Tensor

from vla_tutorial.decoding import MOST_BYTES, fault
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.foreign import describe_dtype, recognise_bytes

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
# Bytes a read: large enough for the disk, and all staging buffers together stay under 300 MB.
CHUNK = 16 << 20
THREADS = 8
# The format allows 100 MB. The names of openvla-7b in one file take 0.13 MB.
MAX_HEADER = MOST_BYTES
Offset = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class _Tensor(msgspec.Struct, frozen=True):
    """A tensor's entry in a header, as the format has it."""

    dtype: str
    shape: Annotated[list[Offset], msgspec.Meta(max_length=8)]
    data_offsets: tuple[Offset, Offset]


_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TENSOR = msgspec.json.Decoder(_Tensor)


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
    """Every tensor of the shards by name. Only headers are read.

    Raises:
        TutorialError: a shard is missing or breaks the format's rules, has a tensor of a dtype that
            is not read, or two shards hold the same name.
    """
    entries: dict[str, Entry] = {}
    for path in paths:
        for name, entry in _read_header(path).items():
            if name in entries:
                both = f"{entries[name].path.name} and {path.name}"
                raise TutorialError(f"Tensor {name!r} is in {both}. Download them again.")
            entries[name] = entry
    return entries


def _read_header(path: Path) -> dict[str, Entry]:
    start = b""
    try:
        size = path.stat().st_size
        # Opening a pipe would wait for its other end.
        if not path.is_file():
            raise TutorialError(f"Shard {path} is not a file. Download it again.")
        with path.open("rb") as f:
            start = f.read(512)
            f.seek(8)
            length = int.from_bytes(start[:8], "little")
            if not 0 < length <= min(MAX_HEADER, size - 8):
                raise ValueError(f"it has {size} bytes and names a header of {length} bytes")
            header = f.read(length)
        return _entries(header, path, size)
    except OSError as e:
        raise TutorialError(f"Shard {path} cannot be read ({e.strerror}). Download it.") from e
    except (ValueError, RecursionError) as e:
        what = recognise_bytes(start) or (
            f"It is damaged or cut short: its header and its bytes do not match ({e}). "
            "Delete it and download it again."
        )
        raise TutorialError(f"{path} is not a whole safetensors file. {what}") from e


def _entries(header: bytes, path: Path, size: int) -> dict[str, Entry]:
    """The tensors in the header of a file of `size` bytes, checked by the format's rules.

    The tensors lie one behind the other: none overlaps another, and they fill the file.
    """
    if not header.startswith(b"{"):
        raise ValueError(f"the header begins with {header[:1]!r}, expected '{{'")
    named = _NAMES.decode(header)
    metadata = named.pop("__metadata__", None)
    if metadata is not None:
        msgspec.json.decode(metadata, type=dict[str, str])
    tensors = {name: _tensor(name, raw) for name, raw in named.items()}
    base = 8 + len(header)
    entries = {name: _entry(name, tensor, path, base) for name, tensor in tensors.items()}
    end = base
    for entry in sorted(entries.values(), key=attrgetter("start", "nbytes")):
        if entry.start != end:
            raise ValueError(f"a tensor begins at byte {entry.start}, the one before ends at {end}")
        end += entry.nbytes
    if end != size:
        raise ValueError(f"its header promises {end} bytes and it has {size}")
    return entries


def _tensor(name: str, raw: msgspec.Raw) -> _Tensor:
    try:
        return _TENSOR.decode(raw)
    except msgspec.DecodeError as e:
        raise ValueError(f"tensor {name!r:.80} {fault(bytes(raw), _Tensor, e)}") from e


def _entry(name: str, tensor: _Tensor, path: Path, base: int) -> Entry:
    if tensor.dtype not in DTYPES:
        what = describe_dtype(name, tensor.dtype, DTYPES)
        raise TutorialError(f"{path}: {what}")
    dtype = DTYPES[tensor.dtype]
    start, end = tensor.data_offsets
    if end - start != prod(tensor.shape) * dtype.itemsize:
        what = f"{end - start} bytes for shape {tensor.shape} {tensor.dtype}"
        raise ValueError(f"tensor {name!r:.80} has {what}")
    return Entry(
        path,
        dtype,
        tuple(tensor.shape),
        base + start,
        end - start,
    )


def fill_parameters(entries: Mapping[str, Entry], targets: Mapping[str, Tensor]) -> None:
    """Copy every tensor's bytes into the parameter of its name, cast to the parameter's dtype.

    Several threads do it, so that reading and copying to the device overlap.

    Args:
        entries: from `read_headers`.
        targets: by the same names, of the same shapes, all on one device.

    Raises:
        TutorialError: a shard ends early or cannot be read, although its header was whole.
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
            yield Piece(
                entry.path,
                entry.start + i * size,
                len(part) * size,
                entry.dtype,
                part,
            )


class Staging:
    """One thread's two buffers: while one is on its way to the device, the other is read into.

    Page-locked memory makes the copy to a GPU asynchronous.
    """

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
    try:
        with piece.path.open("rb", buffering=0) as f:
            while done < piece.nbytes:
                count = os.preadv(
                    f.fileno(),
                    [view[done:]],
                    piece.start + done,
                )
                if count == 0:
                    ends = f"{piece.path} ends at byte {piece.start + done}, inside a tensor"
                    raise TutorialError(f"{ends}. Delete it and download it again.")
                done += count
    except OSError as e:
        # The disk fails, or the file went away since its header was read.
        at = f"at byte {piece.start + done}"
        raise TutorialError(f"{piece.path} cannot be read {at} ({e.strerror}).") from e
