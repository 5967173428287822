"""Triton kernels for the steps of Llama between its products: attention of one new token, rotary positions, the gate.

Each is one pass over its memory. `fast.py` calls them; `llama.py` says the same in plain PyTorch, and tests hold the two together (in Triton's
interpreter on a CPU, on the device in the benchmark).
"""
# Triton has no types, and is not installed where there is no GPU:
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-untyped-def, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _attend(
    qkv,
    positions,
    cos,
    sin,
    keys,
    values,
    out,
    tops,
    totals,
    S,
    H,
    HKV,
    scale,
    HALF: tl.constexpr,
    BS: tl.constexpr,
    PARTS: tl.constexpr,
):
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
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
    if (head % (H // HKV) == 0) & (part == 0):
        fresh = keys + start + p * 2 * HALF
        tl.store(fresh + i, k1.to(keys.dtype.element_ty))
        tl.store(fresh + HALF + i, k2.to(keys.dtype.element_ty))
        tl.store(values + start + p * 2 * HALF + d, v)
    # the new token itself, from registers and by the first part; then everything before it, from the cache, a share each
    first = part == 0
    top = tl.where(first, tl.sum(q1 * k1 + q2 * k2, 0), -1e30)
    total = tl.where(first, 1.0, 0.0)
    acc = tl.where(first, v.to(tl.float32), 0.0)
    share = tl.cdiv(p, PARTS)
    end = tl.minimum((part + 1) * share, p)
    for s0 in range(part * share, end, BS):
        j = s0 + tl.arange(0, BS)
        there = (j < end)[:, None]
        at = start + j[:, None] * 2 * HALF
        a = tl.load(keys + at + i[None, :], mask=there, other=0.0).to(tl.float32)
        b = tl.load(keys + at + HALF + i[None, :], mask=there, other=0.0).to(tl.float32)
        vs = tl.load(values + at + d[None, :], mask=there, other=0.0).to(tl.float32)
        score = tl.where(j < end, tl.sum(a * q1[None, :] + b * q2[None, :], 1), float("-inf"))
        new = tl.maximum(top, tl.max(score, 0))
        weight, shrink = tl.exp(score - new), tl.exp(top - new)
        total = total * shrink + tl.sum(weight, 0)
        acc = acc * shrink + tl.sum(weight[:, None] * vs, 0)
        top = new
    place = (row * H + head) * PARTS + part
    if PARTS == 1:
        acc /= total
    else:
        tl.store(tops + place, top)
        tl.store(totals + place, total)
    tl.store(out + place * 2 * HALF + d, acc.to(out.dtype.element_ty))


@triton.jit
def _merge(partial, tops, totals, out, DIM: tl.constexpr, PARTS: tl.constexpr):
    place, d, part = tl.program_id(0), tl.arange(0, DIM), tl.arange(0, PARTS)
    top = tl.load(tops + place * PARTS + part)
    weight = tl.exp(top - tl.max(top, 0))
    acc = tl.load(partial + (place * PARTS + part)[:, None] * DIM + d[None, :])
    total = tl.sum(weight * tl.load(totals + place * PARTS + part), 0)
    tl.store(
        out + place * DIM + d, (tl.sum(acc * weight[:, None], 0) / total).to(out.dtype.element_ty)
    )


PROGRAMS = 256
"""About two for each of an H100's 132 multiprocessors: below this, the past is shared out among more programs, and their parts merged."""


def attend(
    qkv: Tensor, positions: Tensor, rope: tuple[Tensor, Tensor], keys: Tensor, values: Tensor
) -> Tensor:
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
    parts = min(8, max(1, triton.next_power_of_2(PROGRAMS // (rows * heads))))
    out = qkv.new_empty(rows, heads * dim)
    partial = out if parts == 1 else torch.empty(rows * heads * parts, dim, device=qkv.device)
    tops, totals = torch.empty(2, rows * heads * parts, device=qkv.device)
    _attend[(rows, heads, parts)](
        qkv, positions, *rope, keys, values, partial, tops, totals, length, heads, groups, dim**-0.5, HALF=dim // 2, BS=64, PARTS=parts, num_warps=4
    )  # fmt: skip
    if parts > 1:
        _merge[(rows * heads,)](partial, tops, totals, out, DIM=dim, PARTS=parts, num_warps=1)
    return out


@triton.jit
def _rotate(qkv, cos, sin, keys, values, T, S, H, HKV, HALF: tl.constexpr, BH: tl.constexpr):
    token = tl.program_id(0)
    row, p = token // T, token % T
    h, i = tl.program_id(1) * BH + tl.arange(0, BH), tl.arange(0, HALF)
    here = (h < H + 2 * HKV)[:, None]
    source = (
        qkv + token.to(tl.int64) * (H + 2 * HKV) * 2 * HALF + h[:, None] * 2 * HALF + i[None, :]
    )
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


def rotate(
    qkv: Tensor, rows: int, rope: tuple[Tensor, Tensor], keys: Tensor, values: Tensor
) -> None:
    """Rotate the queries of (rows · T, (H + 2 Hkv) · hd) in place; rotate the keys into the cache's positions 0 … T−1; copy the values there."""
    tokens, groups, length, dim = len(qkv), *keys.shape[1:]
    heads = qkv.shape[1] // dim
    grid = (tokens, triton.cdiv(heads, 16))
    _rotate[grid](
        qkv,
        *rope,
        keys,
        values,
        tokens // rows,
        length,
        heads - 2 * groups,
        groups,
        HALF=dim // 2,
        BH=16,
        num_warps=4,
    )


@triton.jit
def _silu_mul(x, out, N, BLOCK: tl.constexpr):
    row, n = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(x + row * 2 * N + n, mask=n < N, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * N + N + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(
        out + row * N + n, (gate / (1 + tl.exp(-gate)) * up).to(out.dtype.element_ty), mask=n < N
    )


def silu_mul(x: Tensor) -> Tensor:
    """(M, 2N), gate beside up → silu(gate) · up (M, N)."""
    out = torch.empty(len(x), x.shape[1] // 2, device=x.device, dtype=x.dtype)
    _silu_mul[(len(x), triton.cdiv(out.shape[1], 1024))](
        x, out, out.shape[1], BLOCK=1024, num_warps=4
    )
    return out
