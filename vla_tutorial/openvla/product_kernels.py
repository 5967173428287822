"""Triton kernels for a decode step's matrix products: few rows of activations, every weight.

They are bound by reading the weights once. `cuda.py` measures the candidates beside cuBLAS. Tests
hold each to plain PyTorch (in Triton's interpreter on a CPU, on the device in the benchmark).
"""
# Triton has no types, and is not installed where there is no GPU:
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-untyped-def"
# mypy: disable-error-code="untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """How a product cuts its work."""

    # Output columns a program, columns of the weight a step.
    columns: int
    depth: int
    # Steps in flight, warps of a program.
    stages: int
    warps: int
    # One row on the ordinary units (`_single`); else up to 32 on the matrix units (`_skinny`).
    single: bool = False


SKINNY = (Tile(16, 256, 4, 4), Tile(32, 128, 5, 4), Tile(64, 128, 4, 4))
SINGLE = (
    Tile(2, 2048, 2, 4, single=True),
    Tile(4, 1024, 2, 4, single=True),
    Tile(8, 512, 2, 4, single=True),
    Tile(4, 1024, 2, 2, single=True),
    Tile(8, 1024, 2, 8, single=True),
    Tile(16, 256, 2, 4, single=True),
)


def candidates(rows: int) -> tuple[Tile, ...]:
    """Tiles worth measuring for this many rows."""
    return SINGLE + SKINNY if rows == 1 else SKINNY


@triton.jit
def _single(
    x,
    norm,
    w,
    residual,
    out,
    N,
    K,
    eps,
    BN: tl.constexpr,
    BK: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    rows = n.to(tl.int64)[:, None] * K
    acc = tl.zeros((BN, BK), tl.float32)
    up = tl.zeros((BN, BK), tl.float32)
    squares = tl.zeros((BK,), tl.float32)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        xk = tl.load(x + k, mask=k < K, other=0.0)
        inside = (n < N)[:, None] & (k < K)[None, :]
        wk = tl.load(
            w + rows + k[None, :],
            mask=inside,
            other=0.0,
        )
        wide = xk.to(tl.float32)
        if NORM:
            squares += wide * wide
            factor = tl.load(norm + k, mask=k < K, other=0.0).to(tl.float32)
            wide = (wide * factor).to(xk.dtype).to(tl.float32)
        acc += wk.to(tl.float32) * wide[None, :]
        if GATED:
            uk = tl.load(
                w + N.to(tl.int64) * K + rows + k[None, :],
                mask=inside,
                other=0.0,
            )
            up += uk.to(tl.float32) * wide[None, :]
    y = tl.sum(acc, 1)
    scale = tl.rsqrt(tl.sum(squares, 0) / K + eps) if NORM else 1.0
    y = y * scale
    if GATED:
        y = y / (1 + tl.exp(-y)) * (tl.sum(up, 1) * scale)
    if RESIDUAL:
        y += tl.load(residual + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(
        out + n,
        y.to(out.dtype.element_ty),
        mask=n < N,
    )


# M is not specialized, so that one compilation serves all batch sizes.
@triton.jit(do_not_specialize=["M"])
def _skinny(
    x,
    norm,
    w,
    residual,
    out,
    M,
    N,
    K,
    eps,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    m = tl.arange(0, BM)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    here = (m < M)[:, None] & (n < N)[None, :]
    acc = tl.zeros((BM, BN), tl.float32)
    up = tl.zeros((BM, BN), tl.float32)
    squares = tl.zeros((BM,), tl.float32)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        given = (m < M)[:, None] & (k < K)[None, :]
        xk = tl.load(
            x + m[:, None] * K + k[None, :],
            mask=given,
            other=0.0,
        )
        inside = (n < N)[None, :] & (k < K)[:, None]
        wk = tl.load(
            w + n[None, :] * K + k[:, None],
            mask=inside,
            other=0.0,
        )
        if NORM:
            # 1/rms is the same for a whole row, so it can be applied to the sum at the end.
            # That saves a pass over x.
            wide = xk.to(tl.float32)
            squares += tl.sum(wide * wide, 1)
            factor = tl.load(norm + k, mask=k < K, other=0.0).to(tl.float32)
            xk = (wide * factor[None, :]).to(xk.dtype)
        acc = tl.dot(xk, wk, acc, input_precision="ieee")
        if GATED:
            uk = tl.load(
                w + N * K + n[None, :] * K + k[:, None],
                mask=inside,
                other=0.0,
            )
            up = tl.dot(xk, uk, up, input_precision="ieee")
    if NORM:
        scale = tl.rsqrt(squares / K + eps)[:, None]
        acc = acc * scale
        up = up * scale
    if GATED:
        acc = acc / (1 + tl.exp(-acc)) * up
    place = m[:, None] * N + n[None, :]
    if RESIDUAL:
        acc += tl.load(residual + place, mask=here, other=0.0).to(tl.float32)
    tl.store(
        out + place,
        acc.to(out.dtype.element_ty),
        mask=here,
    )


def run_product(
    x: Tensor,
    w: Tensor,
    tile: Tile,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    residual: Tensor | None = None,
    gated: bool = False,
) -> Tensor:
    """y = f(x) wᵀ for few rows, (M, N) in x's dtype: bound by reading w once.

    Args:
        x: (M, K), M ≤ 32, contiguous; M = 1 for a `single` tile.
        w: (N, K); with `gated` (2N, K), gate above up, and y = silu(gate) · up.
        norm: (K,) RMSNorm weight; x is normalised with `eps` on the way in.
        residual: (M, N), added to the result.
    """
    rows, depth = x.shape
    columns = len(w) // 2 if gated else len(w)
    out = x.new_empty(rows, columns)
    grid = (triton.cdiv(columns, tile.columns),)
    # A pointer that the kernel does not read must still be one, so x stands in for it.
    norm_or_x = x if norm is None else norm
    residual_or_x = x if residual is None else residual
    tensors = (x, norm_or_x, w, residual_or_x, out)
    options = {
        "BN": tile.columns,
        "BK": tile.depth,
        "NORM": norm is not None,
        "GATED": gated,
        "RESIDUAL": residual is not None,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
    if tile.single:
        _single[grid](*tensors, columns, depth, eps, **options)
    else:
        least = max(16, triton.next_power_of_2(rows))
        _skinny[grid](
            *tensors,
            rows,
            columns,
            depth,
            eps,
            BM=least,
            **options,
        )
    return out
