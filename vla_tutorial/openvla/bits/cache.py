"""The file that keeps quantised weights, written a tensor at a time.

It is an ordinary safetensors file. The library writes one from tensors that are all in memory, 7 GB
for int8. Here the header comes first, since every shape is known beforehand, and then each tensor
as it is quantised.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import safetensors
import torch
from torch import Tensor

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import explain_full_disk, whole_file
from vla_tutorial.openvla.bits.arithmetic import PACKED, Kind, Quantised, group_of, scale_dtype

CACHE_VERSION = "1"
"""Of the file. Another rounding or layout is another version."""

_NAMES = {
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.uint8: "U8",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
}

Shape = tuple[int, int]


class CacheWriter:
    """Writes quantised stacks in the order in which they were announced."""

    def __init__(self, file: BinaryIO, expected: Mapping[str, tuple[torch.dtype, Shape]]) -> None:
        self._file = file
        self._left = dict(expected)

    def add(self, key: str, whole: Quantised) -> None:
        """Write one stack: (N, K) in few bits, on any device."""
        for name, tensor in _parts(key, whole).items():
            dtype, shape = self._left.pop(name)
            assert (tensor.dtype, tuple(tensor.shape)) == (dtype, shape), name
            flat = tensor.detach().contiguous().cpu().view(torch.uint8)
            flat.numpy().tofile(self._file)


def _parts(key: str, whole: Quantised) -> dict[str, Tensor]:
    parts = {f"{key}.packed": whole.packed, f"{key}.scale": whole.scale}
    if whole.offset is not None:
        parts[f"{key}.offset"] = whole.offset
    return parts


def _expected(
    stacks: Mapping[str, Shape], kind: Kind, dtype: torch.dtype
) -> dict[str, tuple[torch.dtype, Shape]]:
    """Every tensor of the file, in its order: name → dtype and shape."""
    found: dict[str, tuple[torch.dtype, Shape]] = {}
    packed = PACKED[kind]
    dtype = scale_dtype(kind, dtype)
    for key, (rows, columns) in stacks.items():
        if kind == "int4":
            groups = columns // group_of(columns)
            found[f"{key}.packed"] = (packed, (rows, columns // 2))
            found[f"{key}.scale"] = (dtype, (rows, groups))
            found[f"{key}.offset"] = (dtype, (rows, groups))
        else:
            found[f"{key}.packed"] = (packed, (rows, columns))
            found[f"{key}.scale"] = (dtype, (rows, 1))
    return found


@contextlib.contextmanager
def write_cache(
    path: Path,
    stacks: Mapping[str, Shape],
    kind: Kind,
    dtype: torch.dtype,
    source: Mapping[str, str],
) -> Iterator[CacheWriter]:
    """A writer for `path`, which is there once every stack has been added.

    Args:
        stacks: (N, K) of each stack's weight, by its key, in the order in which they come.
        dtype: of activations.
        source: what the file belongs to, as `read_cache` asks for it.
    """
    expected = _expected(stacks, kind, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    full = explain_full_disk(path.parent, "Make room, or leave the cache out.")
    with full, whole_file(path) as part, part.open("wb") as file:
        file.write(_header(expected, source))
        writer = CacheWriter(file, expected)
        yield writer
        assert not writer._left


def _header(expected: Mapping[str, tuple[torch.dtype, Shape]], source: Mapping[str, str]) -> bytes:
    """Length (8 bytes, little endian) and JSON, padded to a multiple of 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": dict(source)}
    start = 0
    for name, (dtype, shape) in expected.items():
        end = start + shape[0] * shape[1] * dtype.itemsize
        entries[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


class KeptWeights:
    """A cache that is there, a stack at a time."""

    def __init__(self, path: Path, source: Mapping[str, str]) -> None:
        """Open the file.

        Raises:
            TutorialError: it is no such file, or belongs to something else than `source` says.
        """
        again = "Delete it, and the next run makes it again; or name another file."
        try:
            kept: Any = safetensors.safe_open(str(path), framework="pt")
            found = kept.metadata() or {}
        except (OSError, safetensors.SafetensorError, msgspec.MsgspecError) as e:
            what = f"{path} is not a cache of quantised weights ({e!s:.200})"
            raise TutorialError(f"{what}. {again}") from e
        for what, expected in source.items():
            if found.get(what) != expected:
                raise TutorialError(
                    f"{path} holds weights of another {what} ({found.get(what)!r:.80}, expected "
                    f"{expected!r}). {again}"
                )
        self._file = kept

    def stack(self, key: str, kind: Kind, columns: int, device: torch.device | str) -> Quantised:
        """One stack's weight (N, `columns`) on its device."""
        packed = self._file.get_tensor(f"{key}.packed").to(device)
        scale = self._file.get_tensor(f"{key}.scale").to(device)
        if kind != "int4":
            return Quantised(packed, scale, None, columns)
        offset = self._file.get_tensor(f"{key}.offset").to(device)
        return Quantised(packed, scale, offset, columns // scale.shape[1])
