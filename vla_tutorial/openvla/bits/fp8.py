"""Products of fp8 weights on a GPU: rounding the activations in Triton, multiplying in 8 bits.

It is what `QuantisedLinear` does in plain PyTorch. Every product gets rounded activations, those of
a single row too. Then a token depends neither on the batch nor on what drafts let a pass verify.
No GPU has run this yet: `benchmarks/openvla_h100.py` measures it. A CPU has run the rounding in
Triton's interpreter, and the product through the same PyTorch operator.
"""
# Triton has no types, and is not installed where there is no GPU:
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-untyped-def"
# mypy: disable-error-code="untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vla_tutorial.openvla.bits.arithmetic import FP8_MOST, Quantised

MULTIPLE = 16
"""Inputs and outputs of PyTorch's product are a multiple of this."""


@triton.jit
def _round_rows(
    x,
    norm,
    out,
    scale,
    K,
    eps,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    BACK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK)
    start = row * (2 * K if GATED else K)
    given = tl.load(x + start + k, mask=k < K, other=0.0)
    wide = given.to(tl.float32)
    if GATED:
        up = tl.load(x + start + K + k, mask=k < K, other=0.0).to(tl.float32)
        wide = (wide / (1 + tl.exp(-wide)) * up).to(given.dtype).to(tl.float32)
    if NORM:
        rms = tl.rsqrt(tl.sum(wide * wide, 0) / K + eps)
        factor = tl.load(norm + k, mask=k < K, other=0.0).to(tl.float32)
        wide = (wide * rms * factor).to(given.dtype).to(tl.float32)
    most = tl.maximum(tl.max(tl.abs(wide), 0) * PART, 1e-12)
    # The power of two above, as `frexp` finds it: a float's bits 23 to 30 are 127 + its exponent.
    power = (most.to(tl.int32, bitcast=True) >> 23) + 1
    step = (power << 23).to(tl.float32, bitcast=True)
    one_over = ((254 - power) << 23).to(tl.float32, bitcast=True)
    q = (wide * one_over).to(tl.float8e4nv)
    if BACK:
        tl.store(out + row * K + k, (q.to(tl.float32) * step).to(given.dtype), mask=k < K)
    else:
        tl.store(out + row * K + k, q.to(tl.int8, bitcast=True), mask=k < K)
        tl.store(scale + row, step)


def round_rows(x: Tensor, depth: int, norm: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """What a product of `depth` inputs gets, as `rounded_to_fp8` has it: (M, K) of x's dtype.

    Args:
        x: (M, K), or (M, 2K), gate beside up, and what is rounded is silu(gate) · up.
        depth: K.
        norm: (K,) RMSNorm weight; x is normalised with `eps` first.
    """
    out = x.new_empty(len(x), depth)
    _run(x, norm, eps, out, None)
    return out


def rows_in_fp8(
    x: Tensor, depth: int, norm: Tensor | None = None, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The same as `to_fp8` has it: float8_e4m3fn (M, K) and float32 (M, 1)."""
    out = x.new_empty(len(x), depth, dtype=torch.int8)
    scale = x.new_empty(len(x), 1, dtype=torch.float32)
    _run(x, norm, eps, out, scale)
    return out.view(torch.float8_e4m3fn), scale


def _run(x: Tensor, norm: Tensor | None, eps: float, out: Tensor, scale: Tensor | None) -> None:
    rows, depth = out.shape
    block = triton.next_power_of_2(depth)
    _round_rows[(rows,)](
        x,
        x if norm is None else norm,
        out,
        x if scale is None else scale,
        depth,
        eps,
        PART=1 / FP8_MOST,
        BLOCK=block,
        NORM=norm is not None,
        GATED=x.shape[1] != depth,
        BACK=scale is None,
        num_warps=min(max(block // 1024, 1), 8),
    )


def can_multiply(w: Quantised, dtype: torch.dtype) -> bool:
    """Whether `multiply` takes such a weight for activations of `dtype`."""
    return dtype == torch.bfloat16 and not any(size % MULTIPLE for size in w.shape)


def multiply(x: Tensor, scale: Tensor, w: Quantised, fast: bool = True) -> Tensor:
    """(M, K) float8_e4m3fn, its scales (M, 1) → x wᵀ, (M, N) bfloat16.

    Args:
        fast: whether Hopper's matrix units may sum with fewer digits than float32 has. The
            benchmark measures time and error of both.
    """
    return torch._scaled_mm(
        x,
        w.packed.t(),
        scale_a=scale,
        scale_b=w.scale.t(),
        out_dtype=torch.bfloat16,
        use_fast_accum=fast,
    )
