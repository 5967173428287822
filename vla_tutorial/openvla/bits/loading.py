"""Quantising a checkpoint while it is loaded, a stack of layers at a time; keeping the result.

The device holds the finished weights and one stack of layers in full precision, the host no more
than the reader's buffers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from vla_tutorial.openvla.bits.arithmetic import (
    BITS,
    GROUP,
    Kind,
    Quantised,
    join_rows,
    quantise,
    replace_stack,
    stacks_of,
)
from vla_tutorial.openvla.bits.cache import CACHE_VERSION, KeptWeights, write_cache
from vla_tutorial.openvla.model import OpenVLA, materialise
from vla_tutorial.openvla.shards import Entry, fill_parameters

Stack = Sequence[tuple[nn.Module, str]]

ROWS = 2048
"""Output channels that are quantised at a time, so that rounding takes little beside the weights.

It holds up to four float32 copies: 0.4 GB of so many rows of 11,008 inputs."""


def weights_bytes(model: OpenVLA, itemsize: int, kind: Kind | None) -> int:
    """Bytes of a model's weights on its device, with Llama's layers as `kind` (None: in full)."""
    few = 0
    for stack in stacks_of(model):
        few += sum(getattr(owner, name).weight.numel() for owner, name in stack)
    rest = (model.size - few) * itemsize
    if kind is None:
        return rest + few * itemsize
    # Scales and offsets, one of each a group.
    extra = 2 * itemsize * few // GROUP if kind == "int4" else 0
    return rest + few * BITS[kind] // 8 + extra


def fill_quantised(
    model: OpenVLA,
    entries: Mapping[str, Entry],
    device: torch.device | str,
    dtype: torch.dtype,
    kind: Kind,
    cache: Path | None = None,
) -> None:
    """Fill a meta model, Llama's layers in few bits.

    Args:
        entries: every tensor of the model, by its name.
        cache: a file that holds the quantised weights; it is written where it does not exist.

    Raises:
        TutorialError: as `fill_parameters`, or the cache is of another checkpoint, another kind
            or another version.
    """
    source = _fingerprint(entries, kind, dtype)
    kept = KeptWeights(cache, source) if cache is not None and cache.exists() else None
    stacks = _named_stacks(model)
    shapes = {names[0]: _stacked_shape(stack) for names, stack in stacks}
    rest = dict(entries)
    for names, _ in stacks:
        for name in names:
            del rest[name]
    placeholders = _empty_stacks(model)
    materialise(model, device, dtype)
    fill_parameters(rest, model.state_dict())
    with contextlib.ExitStack() as files:
        writer = None
        if cache is not None and kept is None:
            writer = files.enter_context(write_cache(cache, shapes, kind, dtype, source))
        for (names, stack), linears in zip(stacks, placeholders, strict=True):
            key = names[0]
            if kept is None:
                whole = _read_stack({name: entries[name] for name in names}, device, dtype, kind)
            else:
                whole = kept.stack(key, kind, shapes[key][1], device)
            for (owner, name), linear in zip(stack, linears, strict=True):
                setattr(owner, name, linear)
            replace_stack(stack, whole)
            if writer is not None:
                writer.add(key, whole)


def _stacked_shape(stack: Stack) -> tuple[int, int]:
    weights = [getattr(owner, name).weight for owner, name in stack]
    return sum(len(weight) for weight in weights), int(weights[0].shape[1])


def _read_stack(
    entries: Mapping[str, Entry], device: torch.device | str, dtype: torch.dtype, kind: Kind
) -> Quantised:
    parts = []
    for name, entry in entries.items():
        target = torch.empty(entry.shape, device=device, dtype=dtype)
        fill_parameters({name: entry}, {name: target})
        parts += [quantise(rows, kind) for rows in target.split(ROWS)]  # type: ignore[no-untyped-call]
    return join_rows(parts)


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


def _fingerprint(entries: Mapping[str, Entry], kind: Kind, dtype: torch.dtype) -> dict[str, str]:
    """What a cache belongs to: the checkpoint's headers and sizes, and samples of its bytes."""
    digest = hashlib.sha256()
    for name in sorted(entries):
        entry = entries[name]
        digest.update(json.dumps([name, str(entry.dtype), entry.shape]).encode())
        with entry.path.open("rb") as f:
            f.seek(entry.start + entry.nbytes // 2)
            digest.update(f.read(min(4096, entry.nbytes - entry.nbytes // 2)))
    held = f"{kind}, {str(dtype).removeprefix('torch.')}"
    return {"checkpoint": digest.hexdigest()[:32], "weights": held, "version": CACHE_VERSION}
