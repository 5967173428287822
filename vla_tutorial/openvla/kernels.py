"""Triton kernels for the steps of Llama that PyTorch leaves slow: skinny products that stream weights, attention of one new token, rotary positions.

Each is one pass over its memory. `fast.py` calls them; `llama.py` says the same in plain PyTorch, and tests hold the two together (in Triton's
interpreter on a CPU, on the device in the benchmark).
"""
# Triton has no types, and is not installed where there is no GPU:
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-untyped-def, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """How `skinny` cuts its work: output columns a program, columns of the weight a step, steps in flight, warps."""

    columns: int
    depth: int
    stages: int
    warps: int


TILES = (Tile(16, 256, 4, 4), Tile(32, 128, 5, 4), Tile(32, 256, 3, 4), Tile(64, 128, 4, 4), Tile(16, 512, 3, 8))
"""Candidates; `fast.py` measures them on the machine that it runs on."""


@triton.jit(do_not_specialize=["M"])  # one compilation for all batch sizes
def _skinny(
    x, norm, w, residual, out, M, N, K, eps,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, NORM: tl.constexpr, GATED: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    m, n = tl.arange(0, BM), tl.program_id(0) * BN + tl.arange(0, BN)
    here = (m < M)[:, None] & (n < N)[None, :]
    acc = tl.zeros((BM, BN), tl.float32)
    up = tl.zeros((BM, BN), tl.float32)
    squares = tl.zeros((BM,), tl.float32)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        xk = tl.load(x + m[:, None] * K + k[None, :], mask=(m < M)[:, None] & (k < K)[None, :], other=0.0)
        inside = (n < N)[None, :] & (k < K)[:, None]
        wk = tl.load(w + n[None, :] * K + k[:, None], mask=inside, other=0.0)
        if NORM:
            # 1/rms is the same for a whole row, so it can be applied to the sum at the end: no pass over x beforehand
            wide = xk.to(tl.float32)
            squares += tl.sum(wide * wide, 1)
            xk = (wide * tl.load(norm + k, mask=k < K, other=0.0).to(tl.float32)[None, :]).to(xk.dtype)
        acc = tl.dot(xk, wk, acc, input_precision="ieee")
        if GATED:
            uk = tl.load(w + N * K + n[None, :] * K + k[:, None], mask=inside, other=0.0)
            up = tl.dot(xk, uk, up, input_precision="ieee")
    if NORM:
        scale = tl.rsqrt(squares / K + eps)[:, None]
        acc, up = acc * scale, up * scale
    if GATED:
        acc = acc / (1 + tl.exp(-acc)) * up
    place = m[:, None] * N + n[None, :]
    if RESIDUAL:
        acc += tl.load(residual + place, mask=here, other=0.0).to(tl.float32)
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=here)


def skinny(x: Tensor, w: Tensor, tile: Tile, *, norm: Tensor | None = None, eps: float = 0.0, residual: Tensor | None = None, gated: bool = False) -> Tensor:
    """y = f(x) wᵀ for few rows: bound by reading w once.

    Args:
        x: (M, K), M ≤ 32, contiguous.
        w: (N, K); with `gated` (2N, K), gate above up, and y = silu(gate) · up.
        norm: (K,) RMSNorm weight; x is normalised with `eps` on the way in.
        residual: (M, N), added to the result.

    Returns:
        (M, N) in x's dtype.
    """
    rows, depth = x.shape
    columns = len(w) // 2 if gated else len(w)
    out = x.new_empty(rows, columns)
    _skinny[(triton.cdiv(columns, tile.columns),)](
        x, x if norm is None else norm, w, x if residual is None else residual, out, rows, columns, depth, eps,
        BM=max(16, triton.next_power_of_2(rows)), BN=tile.columns, BK=tile.depth,
        NORM=norm is not None, GATED=gated, RESIDUAL=residual is not None, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out


@triton.jit
def _attend(qkv, positions, cos, sin, keys, values, out, S, H, HKV, scale, HALF: tl.constexpr, BS: tl.constexpr):
    row, head = tl.program_id(0), tl.program_id(1)
    group = head // (H // HKV)
    p = tl.load(positions + row).to(tl.int32)
    i, d = tl.arange(0, HALF), tl.arange(0, 2 * HALF)
    c, s = tl.load(cos + p * HALF + i), tl.load(sin + p * HALF + i)
    base = qkv + row * (H + 2 * HKV) * 2 * HALF
    q, k = base + head * 2 * HALF + i, base + (H + group) * 2 * HALF + i
    q1, q2 = tl.load(q).to(tl.float32), tl.load(q + HALF).to(tl.float32)
    k1, k2 = tl.load(k).to(tl.float32), tl.load(k + HALF).to(tl.float32)
    q1, q2 = (q1 * c - q2 * s) * scale, (q2 * c + q1 * s) * scale
    k1, k2 = k1 * c - k2 * s, k2 * c + k1 * s
    v = tl.load(base + (H + HKV + group) * 2 * HALF + d)
    start = (row * HKV + group).to(tl.int64) * S * 2 * HALF
    if head % (H // HKV) == 0:
        fresh = keys + start + p * 2 * HALF
        tl.store(fresh + i, k1.to(keys.dtype.element_ty))
        tl.store(fresh + HALF + i, k2.to(keys.dtype.element_ty))
        tl.store(values + start + p * 2 * HALF + d, v)
    # the new token itself, from registers; then everything before it, from the cache
    top = tl.sum(q1 * k1 + q2 * k2, 0)
    total = tl.full((), 1.0, tl.float32)
    acc = v.to(tl.float32)
    for s0 in range(0, p, BS):
        j = s0 + tl.arange(0, BS)
        there = (j < p)[:, None]
        at = start + j[:, None] * 2 * HALF
        a = tl.load(keys + at + i[None, :], mask=there, other=0.0).to(tl.float32)
        b = tl.load(keys + at + HALF + i[None, :], mask=there, other=0.0).to(tl.float32)
        vs = tl.load(values + at + d[None, :], mask=there, other=0.0).to(tl.float32)
        score = tl.where(j < p, tl.sum(a * q1[None, :] + b * q2[None, :], 1), float("-inf"))
        new = tl.maximum(top, tl.max(score, 0))
        weight, shrink = tl.exp(score - new), tl.exp(top - new)
        total = total * shrink + tl.sum(weight, 0)
        acc = acc * shrink + tl.sum(weight[:, None] * vs, 0)
        top = new
    tl.store(out + (row * H + head) * 2 * HALF + d, (acc / total).to(out.dtype.element_ty))


def attend(qkv: Tensor, positions: Tensor, rope: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one new token a row, over what the row has in its cache and no more.

    Args:
        qkv: (N, (H + 2 Hkv) · hd), not yet rotated.
        positions: (N,) int64; the new key and value are written there.
        rope: from `llama.rope_table`, float32.
        keys, values: one layer of the cache, (N, Hkv, S, hd).

    Returns:
        (N, H · hd) in qkv's dtype.
    """
    rows, groups, length, dim = keys.shape
    heads = qkv.shape[1] // dim - 2 * groups
    out = qkv.new_empty(rows, heads * dim)
    _attend[(rows, heads)](qkv, positions, *rope, keys, values, out, length, heads, groups, dim**-0.5, HALF=dim // 2, BS=64, num_warps=4)
    return out


@triton.jit
def _rotate(qkv, cos, sin, keys, values, T, S, H, HKV, HALF: tl.constexpr, BH: tl.constexpr):
    token = tl.program_id(0)
    row, p = token // T, token % T
    h, i = tl.program_id(1) * BH + tl.arange(0, BH), tl.arange(0, HALF)
    here = (h < H + 2 * HKV)[:, None]
    source = qkv + token.to(tl.int64) * (H + 2 * HKV) * 2 * HALF + h[:, None] * 2 * HALF + i[None, :]
    a, b = tl.load(source, mask=here, other=0.0), tl.load(source + HALF, mask=here, other=0.0)
    turn = (h < H + HKV)[:, None]
    c = tl.where(turn, tl.load(cos + p * HALF + i)[None, :], 1.0)
    s = tl.where(turn, tl.load(sin + p * HALF + i)[None, :], 0.0)
    wide_a, wide_b = a.to(tl.float32), b.to(tl.float32)
    a, b = (wide_a * c - wide_b * s).to(a.dtype), (wide_b * c + wide_a * s).to(b.dtype)
    query, key, value = (h < H)[:, None], turn & (h >= H)[:, None], here & (h >= H + HKV)[:, None]
    slot = ((row * HKV + (h - H) % HKV).to(tl.int64)[:, None] * S + p) * 2 * HALF + i[None, :]
    tl.store(source, a, mask=query)
    tl.store(source + HALF, b, mask=query)
    tl.store(keys + slot, a, mask=key)
    tl.store(keys + slot + HALF, b, mask=key)
    tl.store(values + slot, a, mask=value)
    tl.store(values + slot + HALF, b, mask=value)


def rotate(qkv: Tensor, rows: int, rope: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> None:
    """Rotate the queries of (rows · T, (H + 2 Hkv) · hd) in place; rotate the keys into the cache's positions 0 … T−1; copy the values there."""
    tokens, groups, length, dim = len(qkv), *keys.shape[1:]
    heads = qkv.shape[1] // dim
    grid = (tokens, triton.cdiv(heads, 16))
    _rotate[grid](qkv, *rope, keys, values, tokens // rows, length, heads - 2 * groups, groups, HALF=dim // 2, BH=16, num_warps=4)


@triton.jit
def _silu_mul(x, out, N, BLOCK: tl.constexpr):
    row, n = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(x + row * 2 * N + n, mask=n < N, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * N + N + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(out + row * N + n, (gate / (1 + tl.exp(-gate)) * up).to(out.dtype.element_ty), mask=n < N)


def silu_mul(x: Tensor) -> Tensor:
    """(M, 2N), gate beside up → silu(gate) · up (M, N)."""
    out = torch.empty(len(x), x.shape[1] // 2, device=x.device, dtype=x.dtype)
    _silu_mul[(len(x), triton.cdiv(out.shape[1], 1024))](x, out, out.shape[1], BLOCK=1024, num_warps=4)
    return out
