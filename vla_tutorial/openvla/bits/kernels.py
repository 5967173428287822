"""Triton kernels for products with weights of 8 or 4 bits: `bits.py` says the same in PyTorch.

Weights in fp8 are read as bytes and taken for what they are in the kernel: a mask then needs no 0
of that type. Their activations come rounded (`fp8.py`).

One row of activations is bound by reading the weights, so that fewer bits are less time. More rows
go through the matrix units, the weights taken back to the activations' type on the way; a prefill
is many tiles of rows of the same kernel.
"""
# Triton has no types, and is not installed where there is no GPU:
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-untyped-def"
# mypy: disable-error-code="untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vla_tutorial.openvla.bits.arithmetic import Quantised
from vla_tutorial.openvla.product_kernels import Tile

# Tiles worth measuring. With 4 bits a step is as deep as a group, whatever `depth` says.
SINGLE_BITS = (
    Tile(4, 1024, 2, 4, single=True),
    Tile(8, 512, 2, 4, single=True),
    Tile(16, 256, 2, 4, single=True),
    Tile(32, 128, 3, 4, single=True),
    Tile(16, 128, 4, 2, single=True),
)
FEW_BITS = (Tile(16, 128, 4, 4), Tile(32, 128, 4, 4), Tile(64, 128, 4, 4))
MANY_BITS = (Tile(64, 64, 4, 4), Tile(128, 64, 3, 8), Tile(256, 64, 3, 8))
# Rows up to which a product is one tile of rows, and rows of a tile of a prefill.
FEW = 32
MANY_ROWS = 128


def candidates_bits(rows: int) -> tuple[Tile, ...]:
    """Tiles worth measuring for this many rows."""
    if rows == 1:
        return SINGLE_BITS + FEW_BITS
    return FEW_BITS if rows <= FEW else MANY_BITS


@triton.jit
def _weights(
    packed,
    scale,
    offset,
    n,
    k,
    inside,
    HIGH: tl.constexpr,
    WIDTH,
    GROUPS,
    GROUP: tl.constexpr,
    FOUR: tl.constexpr,
    FP8: tl.constexpr,
):
    """A tile of weights as float32, without its scale for 8 bits; n and k broadcast to the tile."""
    q = tl.load(packed + n.to(tl.int64) * WIDTH + k, mask=inside, other=0)
    if FOUR:
        q = (q >> 4) if HIGH else (q & 15)
        group = n * GROUPS + (k + WIDTH if HIGH else k) // GROUP
        s = tl.load(scale + group, mask=inside, other=0.0).to(tl.float32)
        o = tl.load(offset + group, mask=inside, other=0.0).to(tl.float32)
        return q.to(tl.float32) * s + o
    if FP8:
        return q.to(tl.float8e4nv, bitcast=True).to(tl.float32)
    return q.to(tl.float32)


@triton.jit
def _single_bits(
    x,
    norm,
    packed,
    scale,
    offset,
    residual,
    out,
    N,
    WIDTH,
    K,
    GROUPS,
    eps,
    GROUP: tl.constexpr,
    FOUR: tl.constexpr,
    FP8: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    acc = tl.zeros((BN, BK), tl.float32)
    up = tl.zeros((BN, BK), tl.float32)
    squares = tl.zeros((BK,), tl.float32)
    for k0 in range(0, WIDTH, BK):
        k = k0 + tl.arange(0, BK)
        inside = (n < N)[:, None] & (k < WIDTH)[None, :]
        for half in tl.static_range(2 if FOUR else 1):
            at = k + half * WIDTH
            xk = tl.load(x + at, mask=k < WIDTH, other=0.0)
            wide = xk.to(tl.float32)
            if NORM:
                squares += wide * wide
                factor = tl.load(norm + at, mask=k < WIDTH, other=0.0).to(tl.float32)
                wide = (wide * factor).to(xk.dtype).to(tl.float32)
            w = _weights(
                packed,
                scale,
                offset,
                n[:, None],
                k[None, :],
                inside,
                half,
                WIDTH,
                GROUPS,
                GROUP,
                FOUR,
                FP8,
            )
            acc += w * wide[None, :]
            if GATED:
                u = _weights(
                    packed,
                    scale,
                    offset,
                    n[:, None] + N,
                    k[None, :],
                    inside,
                    half,
                    WIDTH,
                    GROUPS,
                    GROUP,
                    FOUR,
                    FP8,
                )
                up += u * wide[None, :]
    factor = tl.rsqrt(tl.sum(squares, 0) / K + eps) if NORM else 1.0
    y = tl.sum(acc, 1) * factor
    if not FOUR:
        y = y * tl.load(scale + n, mask=n < N, other=0.0).to(tl.float32)
    if GATED:
        z = tl.sum(up, 1) * factor
        if not FOUR:
            z = z * tl.load(scale + N + n, mask=n < N, other=0.0).to(tl.float32)
        y = y / (1 + tl.exp(-y)) * z
    if RESIDUAL:
        y += tl.load(residual + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(out + n, y.to(out.dtype.element_ty), mask=n < N)


@triton.jit(do_not_specialize=["M"])
def _tiled_bits(
    x,
    norm,
    packed,
    scale,
    offset,
    residual,
    out,
    M,
    N,
    WIDTH,
    K,
    GROUPS,
    eps,
    GROUP: tl.constexpr,
    FOUR: tl.constexpr,
    FP8: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    # Tiles of rows are neighbours, so that the second finds the weights in the cache.
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    here = (m < M)[:, None] & (n < N)[None, :]
    acc = tl.zeros((BM, BN), tl.float32)
    up = tl.zeros((BM, BN), tl.float32)
    squares = tl.zeros((BM,), tl.float32)
    for k0 in range(0, WIDTH, BK):
        k = k0 + tl.arange(0, BK)
        inside = (n < N)[None, :] & (k < WIDTH)[:, None]
        given = (m < M)[:, None] & (k < WIDTH)[None, :]
        for half in tl.static_range(2 if FOUR else 1):
            at = k + half * WIDTH
            place = m.to(tl.int64)[:, None] * K + at[None, :]
            xk = tl.load(x + place, mask=given, other=0.0)
            if NORM:
                wide = xk.to(tl.float32)
                squares += tl.sum(wide * wide, 1)
                factor = tl.load(norm + at, mask=k < WIDTH, other=0.0).to(tl.float32)
                xk = (wide * factor[None, :]).to(xk.dtype)
            w = _weights(
                packed,
                scale,
                offset,
                n[None, :],
                k[:, None],
                inside,
                half,
                WIDTH,
                GROUPS,
                GROUP,
                FOUR,
                FP8,
            )
            acc = tl.dot(xk, w.to(xk.dtype), acc, input_precision="ieee")
            if GATED:
                u = _weights(
                    packed,
                    scale,
                    offset,
                    n[None, :] + N,
                    k[:, None],
                    inside,
                    half,
                    WIDTH,
                    GROUPS,
                    GROUP,
                    FOUR,
                    FP8,
                )
                up = tl.dot(xk, u.to(xk.dtype), up, input_precision="ieee")
    if NORM:
        factor = tl.rsqrt(squares / K + eps)[:, None]
        acc = acc * factor
        up = up * factor
    if not FOUR:
        acc = acc * tl.load(scale + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    if GATED:
        if not FOUR:
            up = up * tl.load(scale + N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
        acc = acc / (1 + tl.exp(-acc)) * up
    place = m.to(tl.int64)[:, None] * N + n[None, :]
    if RESIDUAL:
        acc += tl.load(residual + place, mask=here, other=0.0).to(tl.float32)
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=here)


def run_bits(
    x: Tensor,
    w: Quantised,
    tile: Tile,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    residual: Tensor | None = None,
    gated: bool = False,
) -> Tensor:
    """y = f(x) wᵀ, (M, N) in x's dtype; arguments as in `product_kernels.run_product`.

    M may be any number: above `FEW` rows are cut into tiles. With fp8 x is as `round_rows` has it.
    """
    rows, depth = x.shape
    height = w.shape[0]
    columns = height // 2 if gated else height
    out = x.new_empty(rows, columns)
    # A pointer that the kernel does not read must still be one, so x stands in for it.
    tensors = (
        x,
        x if norm is None else norm,
        w.packed.view(torch.int8) if w.kind == "fp8" else w.packed,
        w.scale,
        w.scale if w.offset is None else w.offset,
        x if residual is None else residual,
        out,
    )
    four = w.offset is not None
    width = w.packed.shape[1]
    sizes = (columns, width, depth, w.scale.shape[1])
    options = {
        "GROUP": w.group,
        "FOUR": four,
        "FP8": w.kind == "fp8",
        "BN": tile.columns,
        "BK": tile.depth,
        "NORM": norm is not None,
        "GATED": gated,
        "RESIDUAL": residual is not None,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
    if tile.single:
        _single_bits[(triton.cdiv(columns, tile.columns),)](*tensors, *sizes, eps, **options)
        return out
    block = max(16, triton.next_power_of_2(rows)) if rows <= FEW else MANY_ROWS
    grid = (triton.cdiv(rows, block), triton.cdiv(columns, tile.columns))
    _tiled_bits[grid](*tensors, rows, *sizes, eps, BM=block, **options)
    return out
