"""Llama's weights in 8 or 4 bits: what they are, and the plain arithmetic with them.

Only weights are quantised, of the linear layers inside Llama's blocks: 6.5 of the 7.5 billion. The
vision tower, the embedding and the head stay as they are. A product takes the weights back to the
activations' type, so errors come from rounding weights alone.

- 8 bits: one scale an output channel, symmetric: w ≈ q · scale, q in −127 … 127.
- 4 bits: a scale and an offset for each group of up to 128 inputs: w ≈ q · scale + offset, q in
  0 … 15. A byte holds two: input j in its low half, input j + K/2 in its high half, so that a
  kernel reads both halves of the activations in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.llama import Llama
from vla_tutorial.openvla.model import OpenVLA

Weights = Literal["bf16", "int8", "int4"]
BITS = {"int8": 8, "int4": 4}
GROUP = 128


@dataclass(frozen=True)
class Quantised:
    """A weight (N, K) in few bits.

    Attributes:
        packed: int8 (N, K), or uint8 (N, K / 2).
        scale: (N, 1), or (N, K / group), of the activations' dtype.
        offset: as `scale`; None for 8 bits.
        group: inputs that share a scale; K for 8 bits.
    """

    packed: Tensor
    scale: Tensor
    offset: Tensor | None
    group: int

    @property
    def bits(self) -> int:
        """8 or 4."""
        return 8 if self.offset is None else 4

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K) of the weight that it stands for."""
        rows, columns = self.packed.shape
        return rows, columns if self.offset is None else 2 * columns

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        offset = 0 if self.offset is None else self.offset.nbytes
        return self.packed.nbytes + self.scale.nbytes + offset

    def rows(self, start: int, stop: int) -> Quantised:
        """Some of the output channels, in the same memory."""
        offset = None if self.offset is None else self.offset[start:stop]
        return Quantised(self.packed[start:stop], self.scale[start:stop], offset, self.group)

    def dequantise(self) -> Tensor:
        """(N, K) in the scale's dtype."""
        if self.offset is None:
            return self.packed.to(self.scale.dtype) * self.scale
        halves = [self.packed & 15, self.packed >> 4]
        q = torch.cat(halves, 1).to(self.scale.dtype).unflatten(1, (-1, self.group))  # type: ignore[no-untyped-call]
        whole: Tensor = (q * self.scale[..., None] + self.offset[..., None]).flatten(1)
        return whole


def group_of(columns: int) -> int:
    """Inputs that share a scale in 4 bits: 128, or less where half the inputs are no multiple."""
    return gcd(columns // 2, GROUP)


def quantise(weight: Tensor, bits: int) -> Quantised:
    """(N, K) of any float dtype → the same in 8 or 4 bits, rounded to nearest.

    Raises:
        TutorialError: another number of bits, or 4 bits and an odd K.
    """
    wide = weight.detach().float()
    if bits == 8:
        scale = wide.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        scale = scale.to(weight.dtype)
        q = (wide / scale.float()).round().clamp(-127, 127).to(torch.int8)
        return Quantised(q, scale, None, weight.shape[1])
    if bits != 4:
        raise TutorialError(f"Weights of {bits} bits are not known; expected 8 or 4.")
    if weight.shape[1] % 2:
        raise TutorialError(f"A weight has {weight.shape[1]} inputs; 4 bits need an even number.")
    group = group_of(weight.shape[1])
    grouped = wide.unflatten(1, (-1, group))  # type: ignore[no-untyped-call]
    low = grouped.amin(-1).to(weight.dtype)
    scale = ((grouped.amax(-1) - low.float()) / 15).clamp(min=1e-12).to(weight.dtype)
    q = (grouped - low.float()[..., None]) / scale.float()[..., None]
    q = q.round().clamp(0, 15).to(torch.uint8).flatten(1)
    half = q.shape[1] // 2
    return Quantised(q[:, :half] | (q[:, half:] << 4), scale, low, group)


def join_rows(parts: Sequence[Quantised]) -> Quantised:
    """Weights of the same (K, bits), one below the other, as one."""
    offsets = [part.offset for part in parts if part.offset is not None]
    return Quantised(
        torch.cat([part.packed for part in parts]),
        torch.cat([part.scale for part in parts]),
        torch.cat(offsets) if offsets else None,
        parts[0].group,
    )


class QuantisedLinear(nn.Module):
    """A linear layer without bias whose weight is some rows of a `Quantised`.

    Layers that a fast path runs as one, such as q, k and v, are parts of one `whole`.
    """

    def __init__(self, whole: Quantised, start: int, stop: int) -> None:
        super().__init__()
        self.whole = whole
        self.part = whole.rows(start, stop)

    def forward(self, x: Tensor) -> Tensor:
        """(…, K) → (…, N), the plain way: the weight is taken back to the activations' dtype."""
        return F.linear(x, self.part.dequantise().to(x.dtype))


def stacks_of(model: OpenVLA) -> list[list[tuple[nn.Module, str]]]:
    """As `stacks_of_llama`."""
    return stacks_of_llama(model.language_model)


def stacks_of_llama(llama: Llama) -> list[list[tuple[nn.Module, str]]]:
    """The linear layers that are quantised, as owner and name, those that run as one together."""
    stacks: list[list[tuple[nn.Module, str]]] = []
    for layer in llama.layers:
        attention = layer.self_attn
        mlp = layer.mlp
        stacks.append([(attention, name) for name in ("q_proj", "k_proj", "v_proj")])
        stacks.append([(attention, "o_proj")])
        stacks.append([(mlp, name) for name in ("gate_proj", "up_proj")])
        stacks.append([(mlp, "down_proj")])
    return stacks


def replace_stack(stack: Sequence[tuple[nn.Module, str]], whole: Quantised) -> None:
    """Put a stack's quantised weight in place of its linear layers."""
    start = 0
    for owner, name in stack:
        stop = start + getattr(owner, name).weight.shape[0]
        setattr(owner, name, QuantisedLinear(whole, start, stop))
        start = stop


def quantise_model(model: OpenVLA, bits: int) -> OpenVLA:
    """Quantise a filled model in place, stack by stack; the same model is returned."""
    for stack in stacks_of(model):
        weights = [getattr(owner, name).weight.detach() for owner, name in stack]
        replace_stack(stack, quantise(torch.cat(weights), bits))
    return model


def quantised_bytes(model: OpenVLA) -> int:
    """Bytes of the quantised weights of a model; 0 for an ordinary one."""
    total = 0
    for stack in stacks_of(model):
        first = getattr(*stack[0])
        if isinstance(first, QuantisedLinear):
            total += first.whole.nbytes
    return total


def is_quantised(model: OpenVLA) -> bool:
    """Whether Llama's layers are in few bits."""
    return quantised_bytes(model) > 0
