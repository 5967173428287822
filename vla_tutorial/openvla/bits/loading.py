"""Quantising a checkpoint while it is loaded, a stack of layers at a time; keeping the result.

The device holds the finished weights and one stack of layers in full precision, the host no more
than the reader's buffers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import whole_file
from vla_tutorial.openvla.bits.arithmetic import (
    GROUP,
    Quantised,
    quantise,
    replace_stack,
    stacks_of,
)
from vla_tutorial.openvla.model import OpenVLA, materialise
from vla_tutorial.openvla.shards import Entry, fill_parameters

CACHE_VERSION = "1"
"""Of the cache's file. Another rounding or layout is another version."""

Stack = Sequence[tuple[nn.Module, str]]


def weights_bytes(model: OpenVLA, itemsize: int, bits: int | None) -> int:
    """Bytes of a model's weights on its device, with Llama's layers in so many bits (None: all)."""
    few = 0
    for stack in stacks_of(model):
        few += sum(getattr(owner, name).weight.numel() for owner, name in stack)
    rest = (model.size - few) * itemsize
    if bits is None:
        return rest + few * itemsize
    # Scales and offsets, one of each a group.
    extra = 0 if bits == 8 else 2 * itemsize * few // GROUP
    return rest + few * bits // 8 + extra


def fill_quantised(
    model: OpenVLA,
    entries: Mapping[str, Entry],
    device: torch.device | str,
    dtype: torch.dtype,
    bits: int,
    cache: Path | None = None,
) -> None:
    """Fill a meta model, Llama's layers in few bits.

    Args:
        entries: every tensor of the model, by its name.
        cache: a file that holds the quantised weights; it is written where it does not exist.

    Raises:
        TutorialError: as `fill_parameters`, or the cache is of another checkpoint, another number
            of bits or another version.
    """
    kept = None
    source = _fingerprint(entries, bits, dtype)
    if cache is not None and cache.exists():
        kept = _read_cache(cache, source)
    stacks = _named_stacks(model)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    written: dict[str, Tensor] = {}
    rest = dict(entries)
    for names, _ in stacks:
        for name in names:
            del rest[name]
    placeholders = _empty_stacks(model)
    materialise(model, device, dtype)
    fill_parameters(rest, model.state_dict())
    for (names, stack), linears in zip(stacks, placeholders, strict=True):
        key = names[0]
        if kept is None:
            whole = _read_stack({name: entries[name] for name in names}, device, dtype, bits)
        else:
            whole = _of_cache(kept, key, bits, shapes[key][1], device)
        for (owner, name), linear in zip(stack, linears, strict=True):
            setattr(owner, name, linear)
        replace_stack(stack, whole)
        if cache is not None and kept is None:
            written |= _to_cache(whole, key)
    if written and cache is not None:
        _write_cache(cache, written, source)


def _read_stack(
    entries: Mapping[str, Entry], device: torch.device | str, dtype: torch.dtype, bits: int
) -> Quantised:
    targets = {
        name: torch.empty(entry.shape, device=device, dtype=dtype)
        for name, entry in entries.items()
    }
    fill_parameters(entries, targets)
    return quantise(torch.cat(list(targets.values())), bits)


def _named_stacks(model: OpenVLA) -> list[tuple[list[str], Stack]]:
    owners = {module: name for name, module in model.named_modules()}
    found: list[tuple[list[str], Stack]] = []
    for stack in stacks_of(model):
        names = [f"{owners[owner]}.{name}.weight" for owner, name in stack]
        found.append((names, stack))
    return found


def _empty_stacks(model: OpenVLA) -> list[list[nn.Module]]:
    """Take the linear layers out of the model, so that it can be filled without them."""
    taken = []
    for stack in stacks_of(model):
        taken.append([getattr(owner, name) for owner, name in stack])
        for owner, name in stack:
            setattr(owner, name, nn.Identity())
    return taken


def _fingerprint(entries: Mapping[str, Entry], bits: int, dtype: torch.dtype) -> dict[str, str]:
    """What a cache belongs to: the checkpoint's headers and sizes, and samples of its bytes."""
    digest = hashlib.sha256()
    for name in sorted(entries):
        entry = entries[name]
        digest.update(json.dumps([name, str(entry.dtype), entry.shape]).encode())
        with entry.path.open("rb") as f:
            f.seek(entry.start + entry.nbytes // 2)
            digest.update(f.read(min(4096, entry.nbytes - entry.nbytes // 2)))
    kind = f"{bits} bits, {str(dtype).removeprefix('torch.')}"
    return {"checkpoint": digest.hexdigest()[:32], "weights": kind, "version": CACHE_VERSION}


def _to_cache(whole: Quantised, key: str) -> dict[str, Tensor]:
    parts = {f"{key}.packed": whole.packed, f"{key}.scale": whole.scale}
    if whole.offset is not None:
        parts[f"{key}.offset"] = whole.offset
    return {name: part.contiguous().cpu() for name, part in parts.items()}


def _of_cache(
    kept: Any, key: str, bits: int, columns: int, device: torch.device | str
) -> Quantised:
    packed = kept.get_tensor(f"{key}.packed").to(device)
    scale = kept.get_tensor(f"{key}.scale").to(device)
    if bits == 8:
        return Quantised(packed, scale, None, columns)
    offset = kept.get_tensor(f"{key}.offset").to(device)
    return Quantised(packed, scale, offset, columns // scale.shape[1])


def _write_cache(path: Path, tensors: Mapping[str, Tensor], source: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        save_file(dict(tensors), part, metadata=dict(source))


def _read_cache(path: Path, source: Mapping[str, str]) -> Any:
    again = "Delete it, and it is made anew; or name another file."
    try:
        kept: Any = safetensors.safe_open(str(path), framework="pt")
        found = kept.metadata() or {}
    except (OSError, safetensors.SafetensorError, msgspec.MsgspecError) as e:
        raise TutorialError(f"{path} is no cache of quantised weights ({e!s:.200}). {again}") from e
    for what, expected in source.items():
        if found.get(what) != expected:
            raise TutorialError(
                f"{path} holds weights of another {what} ({found.get(what)!r:.80}, expected "
                f"{expected!r}). {again}"
            )
    return kept
