"""Products with weights in few bits: Triton against PyTorch, in the interpreter or on a GPU (see test_kernels.py)."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from vla_tutorial.openvla.bits.arithmetic import quantise

pytestmark = pytest.mark.skipif(
    not find_spec("triton")
    or (os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available()),
    reason="Triton's kernels need a GPU, or TRITON_INTERPRET=1 with triton installed",
)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", [1, 5, 150])
@pytest.mark.parametrize("kind", ["plain", "residual", "norm", "gated"])
def test_a_product_equals_the_plain_one(bits: int, rows: int, kind: str) -> None:
    from vla_tutorial.openvla.bits.kernels import run_bits
    from vla_tutorial.openvla.product_kernels import Tile

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    depth, columns = 192, 40
    w = quantise(torch.randn(columns, depth, device=device) / depth**0.5, bits)
    x = torch.randn(rows, depth, device=device)
    norm = torch.rand(depth, device=device) + 0.5 if kind in ("norm", "gated") else None
    residual = torch.randn(rows, columns, device=device) if kind == "residual" else None
    wide = x if norm is None else F.rms_norm(x, norm.shape, norm, 1e-6)
    expected = wide @ w.dequantise().t()
    if residual is not None:
        expected = expected + residual
    if kind == "gated":
        gate, up = expected.chunk(2, 1)
        expected = F.silu(gate) * up
    tiles = [Tile(16, 64, 2, 4)] + ([Tile(8, 64, 2, 4, single=True)] if rows == 1 else [])
    for tile in tiles:
        found = run_bits(x, w, tile, norm=norm, eps=1e-6, residual=residual, gated=kind == "gated")
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("bits", [8, 4])
@torch.inference_mode()
def test_a_runner_with_few_bits_equals_the_plain_one(bits: int) -> None:
    """Prefill with a draft behind it, a step, and a pass over six slots."""
    from test_kernels import small_llama

    from vla_tutorial.openvla.bits.arithmetic import replace_stack, stacks_of_llama
    from vla_tutorial.openvla.cpu import PlainRunner
    from vla_tutorial.openvla.cuda import CudaRunner
    from vla_tutorial.openvla.llama import Cache

    llama = small_llama(2)
    for stack in stacks_of_llama(llama):
        weights = [getattr(owner, name).weight for owner, name in stack]
        replace_stack(stack, quantise(torch.cat(weights), bits))
    plain, fast = PlainRunner(llama), CudaRunner(llama)
    device = llama.lm_head.weight.device
    x = torch.randn(2, 40, 128, device=device)
    starts = torch.tensor([34, 21], device=device)
    caches = [Cache.empty(llama.config, 2, 44, x) for _ in range(2)]
    runners = list(zip((plain, fast), caches, strict=True))
    last = starts[:, None] - 1 + torch.arange(7, device=device)
    results = [runner.prefill(x.clone(), last, cache) for runner, cache in runners]
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=2e-4)
    tokens = torch.randint(0, 100, (2, 6), device=device)
    results = [runner.verify(tokens, starts, cache) for runner, cache in runners]
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=2e-4)
    results = [runner.decode(tokens[:, 0], starts, cache) for runner, cache in runners]
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=2e-4)
