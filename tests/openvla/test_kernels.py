"""The Triton runner against the plain one. Needs Triton: on a CPU run it in Triton's interpreter, `TRITON_INTERPRET=1 pytest tests/openvla/test_kernels.py`."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch

from vla_tutorial.openvla.config import LlamaConfig
from vla_tutorial.openvla.cpu import PlainRunner
from vla_tutorial.openvla.llama import Cache, Llama

pytestmark = pytest.mark.skipif(
    not find_spec("triton")
    or (os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available()),
    reason="Triton's kernels need a GPU, or TRITON_INTERPRET=1 with triton installed",
)


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize(
    ("rows", "tile"),
    [(1, (16, 64, 2, 4, True)), (1, (16, 64, 2, 4)), (3, (16, 64, 2, 4)), (3, None)],
)
@torch.inference_mode()
def test_prefill_and_decode_equal_the_plain_runner(
    kv_heads: int, rows: int, tile: tuple[int, int, int, int] | None
) -> None:
    from vla_tutorial.openvla.cuda import CudaRunner
    from vla_tutorial.openvla.product_kernels import Tile

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 128,
        "intermediate_size": 176,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
    }
    config = LlamaConfig(**sizes, num_key_value_heads=kv_heads, max_position_embeddings=128)  # type: ignore[arg-type]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    llama = Llama(config).to(device).eval()
    for name, p in llama.named_parameters():
        if "norm" in name:
            p.copy_(torch.rand_like(p) + 0.5)
    plain, fast = PlainRunner(llama), CudaRunner(llama)
    for product in ("qkv", "o", "gate_up", "down", "head"):
        fast.plans[product, rows] = Tile(*tile) if tile else None
    x, last = (
        torch.randn(rows, 70, 128, device=device),
        torch.tensor([69, 40, 65], device=device)[:rows],
    )
    caches = [Cache.empty(config, rows, 74, x) for _ in range(2)]
    results = [r.prefill(x.clone(), last, c) for r, c in zip((plain, fast), caches, strict=True)]
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-4)
    for step in range(1, 4):
        tokens = results[0].argmax(-1)
        results = [
            r.decode(tokens, last + step, c) for r, c in zip((plain, fast), caches, strict=True)
        ]
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_verifying_a_draft_equals_the_plain_runner(kv_heads: int, rows: int) -> None:
    """Several logits of a prefill, then passes over six slots of rows of other lengths."""
    from vla_tutorial.openvla.cuda import CudaRunner
    from vla_tutorial.openvla.product_kernels import Tile

    llama = small_llama(kv_heads)
    plain, fast = PlainRunner(llama), CudaRunner(llama)
    for product in ("qkv", "o", "gate_up", "down", "head"):
        fast.plans[product, rows * 6] = Tile(16, 64, 2, 4)
    device = llama.lm_head.weight.device
    x = torch.randn(rows, 76, 128, device=device)
    starts = torch.tensor([70, 41, 66], device=device)[:rows]
    caches = [Cache.empty(llama.config, rows, 80, x) for _ in range(2)]
    last = starts[:, None] - 1 + torch.arange(7, device=device)
    runners = list(zip((plain, fast), caches, strict=True))
    results = [runner.prefill(x.clone(), last, cache) for runner, cache in runners]
    assert results[1].shape == (rows, 7, 100)
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-4)
    for _ in range(2):
        tokens = torch.randint(0, 100, (rows, 6), device=device)
        results = [runner.verify(tokens, starts, cache) for runner, cache in runners]
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-4)


@torch.inference_mode()
def small_llama(kv_heads: int) -> Llama:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        vocab_size=100,
        max_position_embeddings=128,
    )
    llama = Llama(config).to("cuda" if torch.cuda.is_available() else "cpu").eval()
    for name, p in llama.named_parameters():
        if "norm" in name:
            p.copy_(torch.rand_like(p) + 0.5)
    return llama
