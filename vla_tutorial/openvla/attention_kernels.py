"""Triton kernels for the steps of Llama between its products: attention, rotation, the gate.

Each is one pass over its memory. `llama.py` says the same in plain PyTorch, and tests hold the two
together (in Triton's interpreter on a CPU, on the device in the benchmark).
"""
# Triton has no types, and is not installed where there is no GPU:
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-untyped-def"
# mypy: disable-error-code="untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vla_tutorial.openvla.llama import Rope

# About two for each of an H100's 132 multiprocessors. Below this, the past is shared out among more
# programs, and their parts merged.
PROGRAMS = 256


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
    DIM: tl.constexpr,
    BS: tl.constexpr,
    PARTS: tl.constexpr,
):
    row = tl.program_id(0)
    head = tl.program_id(1)
    part = tl.program_id(2)
    group = head // (H // HKV)
    i = tl.arange(0, HALF)
    d = tl.arange(0, DIM)

    # The new token: its query and key are rotated, and one program a group caches key and value.
    p = tl.load(positions + row).to(tl.int32)
    c = tl.load(cos + p * HALF + i)
    s = tl.load(sin + p * HALF + i)
    base = qkv + row * (H + 2 * HKV) * DIM
    query = base + head * DIM + i
    key = base + (H + group) * DIM + i
    a = tl.load(query).to(tl.float32)
    b = tl.load(query + HALF).to(tl.float32)
    q1 = (a * c - b * s) * scale
    q2 = (b * c + a * s) * scale
    a = tl.load(key).to(tl.float32)
    b = tl.load(key + HALF).to(tl.float32)
    k1 = a * c - b * s
    k2 = b * c + a * s
    v = tl.load(base + (H + HKV + group) * DIM + d)
    start = (row * HKV + group).to(tl.int64) * S * DIM
    if (head % (H // HKV) == 0) & (part == 0):
        fresh = start + p * DIM
        tl.store(keys + fresh + i, k1.to(keys.dtype.element_ty))
        tl.store(keys + fresh + HALF + i, k2.to(keys.dtype.element_ty))
        tl.store(values + fresh + d, v)

    # The first part begins with the new token itself, from registers. Then each part takes its
    # share of everything before it, from the cache.
    first = part == 0
    top = tl.where(
        first,
        tl.sum(q1 * k1 + q2 * k2, 0),
        -1e30,
    )
    total = tl.where(first, 1.0, 0.0)
    acc = tl.where(first, v.to(tl.float32), 0.0)
    share = tl.cdiv(p, PARTS)
    end = tl.minimum((part + 1) * share, p)
    for s0 in range(part * share, end, BS):
        j = s0 + tl.arange(0, BS)
        inside = (j < end)[:, None]
        at = start + j[:, None] * DIM
        key1 = tl.load(keys + at + i[None, :], mask=inside, other=0.0).to(tl.float32)
        key2 = tl.load(keys + at + HALF + i[None, :], mask=inside, other=0.0).to(tl.float32)
        value = tl.load(values + at + d[None, :], mask=inside, other=0.0).to(tl.float32)
        score = tl.sum(key1 * q1[None, :] + key2 * q2[None, :], 1)
        score = tl.where(j < end, score, float("-inf"))
        new = tl.maximum(top, tl.max(score, 0))
        weight = tl.exp(score - new)
        shrink = tl.exp(top - new)
        total = total * shrink + tl.sum(weight, 0)
        acc = acc * shrink + tl.sum(weight[:, None] * value, 0)
        top = new
    place = (row * H + head) * PARTS + part
    if PARTS == 1:
        acc /= total
    else:
        tl.store(tops + place, top)
        tl.store(totals + place, total)
    tl.store(out + place * DIM + d, acc.to(out.dtype.element_ty))


@triton.jit
def _merge(partial, tops, totals, out, DIM: tl.constexpr, PARTS: tl.constexpr):
    place = tl.program_id(0)
    d = tl.arange(0, DIM)
    parts = place * PARTS + tl.arange(0, PARTS)
    top = tl.load(tops + parts)
    weight = tl.exp(top - tl.max(top, 0))
    acc = tl.load(partial + parts[:, None] * DIM + d[None, :])
    total = tl.sum(weight * tl.load(totals + parts), 0)
    merged = tl.sum(acc * weight[:, None], 0) / total
    tl.store(out + place * DIM + d, merged.to(out.dtype.element_ty))


def attend(qkv: Tensor, positions: Tensor, rope: Rope, keys: Tensor, values: Tensor) -> Tensor:
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
    partial = out
    if parts > 1:
        partial = torch.empty(rows * heads * parts, dim, device=qkv.device)
    tops, totals = torch.empty(
        2,
        rows * heads * parts,
        device=qkv.device,
    )
    _attend[(rows, heads, parts)](
        qkv,
        positions,
        *rope,
        keys,
        values,
        partial,
        tops,
        totals,
        length,
        heads,
        groups,
        dim**-0.5,
        HALF=dim // 2,
        DIM=dim,
        BS=64,
        PARTS=parts,
        num_warps=4,
    )
    if parts > 1:
        _merge[(rows * heads,)](
            partial,
            tops,
            totals,
            out,
            DIM=dim,
            PARTS=parts,
            num_warps=1,
        )
    return out


@triton.jit
def _rotate(
    qkv,
    starts,
    cos,
    sin,
    keys,
    values,
    T,
    S,
    H,
    HKV,
    HALF: tl.constexpr,
    DIM: tl.constexpr,
    BH: tl.constexpr,
    STARTS: tl.constexpr,
):
    token = tl.program_id(0)
    row = token // T
    p = token % T
    if STARTS:
        p += tl.load(starts + row).to(tl.int32)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    i = tl.arange(0, HALF)
    inside = (h < H + 2 * HKV)[:, None]
    source = qkv + token.to(tl.int64) * (H + 2 * HKV) * DIM + h[:, None] * DIM + i[None, :]
    a = tl.load(source, mask=inside, other=0.0)
    b = tl.load(source + HALF, mask=inside, other=0.0)

    # Values pass unturned: an angle of 0.
    turn = (h < H + HKV)[:, None]
    c = tl.where(
        turn,
        tl.load(cos + p * HALF + i)[None, :],
        1.0,
    )
    s = tl.where(
        turn,
        tl.load(sin + p * HALF + i)[None, :],
        0.0,
    )
    wide_a = a.to(tl.float32)
    wide_b = b.to(tl.float32)
    a = (wide_a * c - wide_b * s).to(a.dtype)
    b = (wide_b * c + wide_a * s).to(b.dtype)

    # Queries go back to where they were, keys and values into the cache.
    query = (h < H)[:, None]
    key = turn & (h >= H)[:, None]
    value = inside & (h >= H + HKV)[:, None]
    group = (row * HKV + (h - H) % HKV).to(tl.int64)
    slot = (group[:, None] * S + p) * DIM + i[None, :]
    tl.store(source, a, mask=query)
    tl.store(source + HALF, b, mask=query)
    tl.store(keys + slot, a, mask=key)
    tl.store(keys + slot + HALF, b, mask=key)
    tl.store(values + slot, a, mask=value)
    tl.store(values + slot + HALF, b, mask=value)


def rotate(
    qkv: Tensor,
    rows: int,
    rope: Rope,
    keys: Tensor,
    values: Tensor,
    starts: Tensor | None = None,
) -> None:
    """Rotate the queries of qkv (rows · T, (H + 2 Hkv) · hd) in place.

    The rotated keys and the values go to the cache's positions starts + 0 … T−1, where `starts`,
    (rows,) int64, is 0 when it is left out: a prompt.
    """
    tokens = len(qkv)
    _, groups, length, dim = keys.shape
    heads = qkv.shape[1] // dim
    grid = (tokens, triton.cdiv(heads, 16))
    _rotate[grid](
        qkv,
        qkv if starts is None else starts,
        *rope,
        keys,
        values,
        tokens // rows,
        length,
        heads - 2 * groups,
        groups,
        HALF=dim // 2,
        DIM=dim,
        BH=16,
        STARTS=starts is not None,
        num_warps=4,
    )


@triton.jit
def _attend_few(
    qkv,
    starts,
    keys,
    values,
    out,
    tops,
    totals,
    T,
    S,
    H,
    HKV,
    scale,
    DIM: tl.constexpr,
    BT: tl.constexpr,
    BS: tl.constexpr,
    PARTS: tl.constexpr,
):
    row = tl.program_id(0)
    head = tl.program_id(1)
    part = tl.program_id(2)
    group = head // (H // HKV)
    t = tl.arange(0, BT)
    d = tl.arange(0, DIM)
    token = row * T + t
    given = (t < T)[:, None]
    place = token[:, None] * (H + 2 * HKV) * DIM + head * DIM + d[None, :]
    query = tl.load(qkv + place, mask=given, other=0.0)
    p = tl.load(starts + row).to(tl.int32)
    base = (row * HKV + group).to(tl.int64) * S * DIM

    # Every token's key is in the cache by now. Each part takes its share of them all.
    top = tl.full((BT,), -1e30, tl.float32)
    total = tl.zeros((BT,), tl.float32)
    acc = tl.zeros((BT, DIM), tl.float32)
    share = tl.cdiv(p + T, PARTS)
    end = tl.minimum((part + 1) * share, p + T)
    for s0 in range(part * share, end, BS):
        j = s0 + tl.arange(0, BS)
        inside = (j < end)[:, None]
        at = base + j[:, None] * DIM + d[None, :]
        key = tl.load(keys + at, mask=inside, other=0.0)
        value = tl.load(values + at, mask=inside, other=0.0)
        score = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        seen = (j < end)[None, :] & (j[None, :] <= p + t[:, None])
        score = tl.where(seen, score, float("-inf"))
        new = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp(score - new[:, None])
        shrink = tl.exp(top - new)
        total = total * shrink + tl.sum(weight, 1)
        acc = acc * shrink[:, None]
        acc = tl.dot(weight.to(value.dtype), value, acc, input_precision="ieee")
        top = new
    place = (token * H + head) * PARTS + part
    if PARTS == 1:
        acc /= total[:, None]
    else:
        tl.store(tops + place, top, mask=t < T)
        tl.store(totals + place, total, mask=t < T)
    tl.store(
        out + place[:, None] * DIM + d[None, :],
        acc.to(out.dtype.element_ty),
        mask=given,
    )


def attend_few(qkv: Tensor, starts: Tensor, rope: Rope, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of K ≤ 16 new tokens a row, over what the row has in its cache before and in them.

    Args:
        qkv: (N · K, (H + 2 Hkv) · hd), not yet rotated; it is rotated in place.
        starts: (N,) int64, each row's first position; keys and values go to it and the next K − 1.
        rope: from `llama.rope_table`, float32.
        keys, values: one layer of the cache, (N, Hkv, S, hd).

    Returns:
        (N · K, H · hd) in qkv's dtype.
    """
    rows, groups, length, dim = keys.shape
    heads = qkv.shape[1] // dim - 2 * groups
    tokens = len(qkv)
    rotate(qkv, rows, rope, keys, values, starts)
    parts = min(8, max(1, triton.next_power_of_2(PROGRAMS // (rows * heads))))
    out = qkv.new_empty(tokens, heads * dim)
    partial = out
    if parts > 1:
        partial = torch.empty(tokens * heads * parts, dim, device=qkv.device)
    tops, totals = torch.empty(
        2,
        tokens * heads * parts,
        device=qkv.device,
    )
    _attend_few[(rows, heads, parts)](
        qkv,
        starts,
        keys,
        values,
        partial,
        tops,
        totals,
        tokens // rows,
        length,
        heads,
        groups,
        dim**-0.5,
        DIM=dim,
        BT=max(16, triton.next_power_of_2(tokens // rows)),
        BS=64,
        PARTS=parts,
        num_warps=4,
    )
    if parts > 1:
        _merge[(tokens * heads,)](
            partial,
            tops,
            totals,
            out,
            DIM=dim,
            PARTS=parts,
            num_warps=1,
        )
    return out


@triton.jit
def _silu_mul(x, out, N, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(x + row * 2 * N + n, mask=n < N, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * N + N + n, mask=n < N, other=0.0).to(tl.float32)
    product = gate / (1 + tl.exp(-gate)) * up
    tl.store(
        out + row * N + n,
        product.to(out.dtype.element_ty),
        mask=n < N,
    )


def silu_mul(x: Tensor) -> Tensor:
    """(M, 2N), gate beside up → silu(gate) · up (M, N)."""
    rows = len(x)
    columns = x.shape[1] // 2
    out = torch.empty(rows, columns, device=x.device, dtype=x.dtype)
    _silu_mul[(rows, triton.cdiv(columns, 1024))](
        x,
        out,
        columns,
        BLOCK=1024,
        num_warps=4,
    )
    return out
