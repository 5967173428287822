"""Llama's weights in 8 or 4 bits: what they are, and the plain arithmetic with them.

The linear layers inside Llama's blocks are quantised: 6.5 of the 7.5 billion weights. The vision
tower, the embedding and the head stay as they are.

- int8: one scale an output channel, symmetric: w ≈ q · scale, q in −127 … 127.
- int4: a scale and an offset for each group of up to 128 inputs: w ≈ q · scale + offset, q in
  0 … 15. A byte holds two: input j in its low half, input j + K/2 in its high half, so that a
  kernel reads both halves of the activations in order.
- fp8: one scale an output channel, w ≈ q · scale, q a float8_e4m3fn with 4 significant bits. The
  inputs of a product are rounded in the same way, a scale a row (W8A8), so that a GPU can multiply
  in 8 bits.

With int8 and int4 a product takes the weights back to the activations' type, so errors come from
rounding weights alone. With fp8 they come from rounding both.
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

Kind = Literal["int8", "fp8", "int4"]
BITS: dict[Kind, int] = {"int8": 8, "fp8": 8, "int4": 4}
GROUP = 128

PACKED: dict[Kind, torch.dtype] = {
    "int8": torch.int8,
    "fp8": torch.float8_e4m3fn,
    "int4": torch.uint8,
}
"""The type that holds the weights; with int4 each of its numbers is two weights."""

FP8_MOST = 448.0
"""The largest number of float8_e4m3fn."""


@dataclass(frozen=True)
class Quantised:
    """A weight (N, K) in few bits.

    Attributes:
        packed: (N, K) of `PACKED`; for int4 (N, K / 2).
        scale: (N, 1), or (N, K / group) for int4, of `scale_dtype`.
        offset: as `scale`; None for 8 bits.
        group: inputs that share a scale; K for 8 bits.
    """

    packed: Tensor
    scale: Tensor
    offset: Tensor | None
    group: int

    @property
    def kind(self) -> Kind:
        """How it is held."""
        return next(kind for kind, dtype in PACKED.items() if dtype == self.packed.dtype)

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


def scale_dtype(kind: Kind, dtype: torch.dtype) -> torch.dtype:
    """Of scales and offsets, for activations of `dtype`; fp8 products take float32 alone."""
    return torch.float32 if kind == "fp8" else dtype


def to_fp8(x: Tensor) -> tuple[Tensor, Tensor]:
    """(…, K) of any float dtype → float8_e4m3fn (…, K) and a scale a row, float32 (…, 1).

    A scale is a power of two, so that q · scale is exact in bfloat16 and float32: what is rounded
    is rounded once. A row's largest number becomes 224 … 448, and 2⁻⁹ · scale is the least step.
    """
    wide = x.detach().float()
    most = wide.abs().amax(-1, keepdim=True) * (1 / FP8_MOST)
    exponent = most.clamp(min=1e-12).frexp().exponent
    scale = torch.ldexp(torch.ones_like(most), exponent)
    return (wide / scale).to(torch.float8_e4m3fn), scale


def rounded_to_fp8(x: Tensor) -> Tensor:
    """(…, K) → the same in x's dtype, each number as float8_e4m3fn with its row's scale holds it.

    With weights in fp8 it is what a product gets.
    """
    q, scale = to_fp8(x)
    return (q.float() * scale).to(x.dtype)


def quantise(weight: Tensor, kind: str) -> Quantised:
    """(N, K) of any float dtype → the same in few bits, rounded to nearest.

    Raises:
        TutorialError: another kind, or int4 and an odd K.
    """
    if kind == "fp8":
        return Quantised(*to_fp8(weight), None, weight.shape[1])
    wide = weight.detach().float()
    if kind == "int8":
        scale = wide.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        scale = scale.to(weight.dtype)
        q = (wide / scale.float()).round().clamp(-127, 127).to(torch.int8)
        return Quantised(q, scale, None, weight.shape[1])
    if kind != "int4":
        raise TutorialError(f"Weights {kind!r} are not known; expected {', '.join(BITS)}.")
    if weight.shape[1] % 2:
        raise TutorialError(f"A weight has {weight.shape[1]} inputs; int4 needs an even number.")
    group = group_of(weight.shape[1])
    grouped = wide.unflatten(1, (-1, group))  # type: ignore[no-untyped-call]
    low = grouped.amin(-1).to(weight.dtype)
    scale = ((grouped.amax(-1) - low.float()) / 15).clamp(min=1e-12).to(weight.dtype)
    q = (grouped - low.float()[..., None]) / scale.float()[..., None]
    q = q.round().clamp(0, 15).to(torch.uint8).flatten(1)
    half = q.shape[1] // 2
    return Quantised(q[:, :half] | (q[:, half:] << 4), scale, low, group)


def join_rows(parts: Sequence[Quantised]) -> Quantised:
    """Weights of the same K and kind, one below the other, as one."""
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
        """(…, K) → (…, N), the plain way: the weight is taken back to the activations' dtype.

        With fp8 the input is rounded first. Its values and the weight's are exact in bfloat16 and
        float32, so this is the exact product of what was rounded, but for the order of the sum.
        """
        if self.part.kind == "fp8":
            x = rounded_to_fp8(x)
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


def quantise_model(model: OpenVLA, kind: str) -> OpenVLA:
    """Quantise a filled model in place, stack by stack; the same model is returned."""
    for stack in stacks_of(model):
        weights = [getattr(owner, name).weight.detach() for owner, name in stack]
        replace_stack(stack, quantise(torch.cat(weights), kind))
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
