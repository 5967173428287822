"""Products with weights in few bits: Triton against PyTorch, in the interpreter or on a GPU (see test_kernels.py)."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from vla_tutorial.openvla.bits.arithmetic import quantise, rounded_to_fp8, to_fp8

pytestmark = pytest.mark.skipif(
    not find_spec("triton")
    or (os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available()),
    reason="Triton's kernels need a GPU, or TRITON_INTERPRET=1 with triton installed",
)


@pytest.fixture(autouse=True)
def right_rounding_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.9's interpreter loses the carry where a float is rounded to the next power of two."""
    if torch.cuda.is_available():
        return
    import triton.language as tl
    from triton.runtime import interpreter

    theirs = interpreter._convert_float

    def convert(given: Any, source: Any, target: Any, mode: Any) -> Any:
        if (source, target) != (tl.float32, tl.float8e4nv):
            return theirs(given, source, target, mode)
        wide = torch.from_numpy(given.view("float32").copy())
        return wide.to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", convert)


@pytest.mark.parametrize("kind", ["int8", "fp8", "int4"])
@pytest.mark.parametrize("rows", [1, 5, 150])
@pytest.mark.parametrize("around", ["plain", "residual", "norm", "gated"])
def test_a_product_equals_the_plain_one(kind: str, rows: int, around: str) -> None:
    from vla_tutorial.openvla.bits.fp8 import round_rows
    from vla_tutorial.openvla.bits.kernels import run_bits
    from vla_tutorial.openvla.product_kernels import Tile

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    depth, columns = 192, 40
    w = quantise(torch.randn(columns, depth, device=device) / depth**0.5, kind)
    x = torch.randn(rows, depth, device=device)
    norm = torch.rand(depth, device=device) + 0.5 if around in ("norm", "gated") else None
    residual = torch.randn(rows, columns, device=device) if around == "residual" else None
    wide = x if norm is None else F.rms_norm(x, norm.shape, norm, 1e-6)
    if kind == "fp8":
        wide = rounded_to_fp8(wide)
    expected = wide @ w.dequantise().t()
    if residual is not None:
        expected = expected + residual
    if around == "gated":
        gate, up = expected.chunk(2, 1)
        expected = F.silu(gate) * up
    if kind == "fp8":
        x, norm = round_rows(x, depth, norm, 1e-6), None
    tiles = [Tile(16, 64, 2, 4)] + ([Tile(8, 64, 2, 4, single=True)] if rows == 1 else [])
    for tile in tiles:
        found = run_bits(
            x, w, tile, norm=norm, eps=1e-6, residual=residual, gated=around == "gated"
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("before", ["nothing", "norm", "gate"])
def test_rows_are_rounded_as_plain_pytorch_rounds_them(dtype: torch.dtype, before: str) -> None:
    """To the last bit; a norm's or a gate's own rounding before it moves some numbers by a step."""
    from vla_tutorial.openvla.bits.fp8 import round_rows, rows_in_fp8

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(6, 200, device=device) * torch.logspace(-5, 5, 6, device=device)[:, None]
    x[2] = 0
    # Powers of two, at which the scale changes.
    x[3, 0] = 448 * 2.0**12
    x = x.to(dtype)
    norm = torch.rand(200, device=device).to(dtype) + 0.5 if before == "norm" else None
    wide = x if norm is None else F.rms_norm(x, norm.shape, norm, 1e-6)
    if before == "gate":
        x = torch.cat([x.clamp(-30, 30), x.flip(1)], 1)
        gate, up = x.float().chunk(2, 1)
        wide = (F.silu(gate) * up).to(dtype)
    q, scale = rows_in_fp8(x, 200, norm, 1e-6)
    expected, steps = to_fp8(wide)
    assert q.dtype is torch.float8_e4m3fn and scale.shape == (6, 1)
    assert torch.equal(scale, steps)
    exact = before == "nothing"
    apart = q.view(torch.int8) != expected.view(torch.int8)
    assert apart.float().mean() <= (0 if exact else 0.05)
    back = round_rows(x, 200, norm, 1e-6)
    assert torch.equal(back, (q.float() * scale).to(dtype))
    close = rounded_to_fp8(wide)
    step = 0.13 * close.abs() + scale * 2**-9
    assert torch.equal(back, close) if exact else ((back - close).abs() <= step).all()


@torch.inference_mode()
def test_the_product_in_8_bits_is_that_of_the_plain_layer() -> None:
    """On Hopper its sums keep fewer digits than float32; see `fp8.multiply`."""
    from vla_tutorial.openvla.bits.fp8 import can_multiply, multiply, rows_in_fp8

    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU multiplies no 8-bit floats")
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    w = quantise(torch.randn(48, 192, device=device) / 192**0.5, "fp8")
    x = torch.randn(40, 192, device=device).bfloat16()
    assert can_multiply(w, x.dtype) and not can_multiply(w, torch.float16)
    assert not can_multiply(w.rows(0, 40), x.dtype)
    expected = rounded_to_fp8(x.float()) @ w.dequantise().t()
    found = multiply(*rows_in_fp8(x, 192), w)
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0.01)


@torch.inference_mode()
def test_a_runner_in_8_bits_equals_the_plain_one() -> None:
    """bfloat16, so that a prefill of many rows multiplies in 8 bits; its rounding moves some numbers by a step of fp8."""
    from test_kernels import small_llama

    from vla_tutorial.openvla.bits.arithmetic import replace_stack, stacks_of_llama
    from vla_tutorial.openvla.cpu import PlainRunner
    from vla_tutorial.openvla.cuda import CudaRunner
    from vla_tutorial.openvla.llama import Cache

    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU multiplies no 8-bit floats")
    llama = small_llama(2).bfloat16()
    x = torch.randn(2, 40, 128, device=llama.lm_head.weight.device).bfloat16()
    last = torch.tensor([39, 21], device=x.device)
    full = PlainRunner(llama).prefill(x.clone(), last, Cache.empty(llama.config, 2, 44, x)).float()
    for stack in stacks_of_llama(llama):
        weights = [getattr(owner, name).weight for owner, name in stack]
        replace_stack(stack, quantise(torch.cat(weights), "fp8"))
    found = []
    fast = CudaRunner(llama)
    # The interpreter multiplies no tiles of bfloat16, so PyTorch does for few rows too.
    fast.plans = dict.fromkeys((name, 2) for name in ("o", "gate_up", "down"))
    for runner in (PlainRunner(llama), fast):
        cache = Cache.empty(llama.config, 2, 44, x)
        found.append(runner.prefill(x.clone(), last, cache).float())
    assert (found[1] - found[0]).std() < 0.8 * (found[0] - full).std() < 0.1 * full.std()


@pytest.mark.parametrize("kind", ["int8", "fp8", "int4"])
@torch.inference_mode()
def test_a_runner_with_few_bits_equals_the_plain_one(kind: str) -> None:
    """Prefill with a draft behind it, a step, and a pass over six slots."""
    from test_kernels import small_llama

    from vla_tutorial.openvla.bits.arithmetic import replace_stack, stacks_of_llama
    from vla_tutorial.openvla.cpu import PlainRunner
    from vla_tutorial.openvla.cuda import CudaRunner
    from vla_tutorial.openvla.llama import Cache

    llama = small_llama(2)
    for stack in stacks_of_llama(llama):
        weights = [getattr(owner, name).weight for owner, name in stack]
        replace_stack(stack, quantise(torch.cat(weights), kind))
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
