"""Llama with a cache in plain PyTorch: as written in `llama.py`, and faster on a CPU.

PyTorch's own choice for float32 products is MKL. On AMD processors it reaches less than half of
oneDNN's speed (112 against 250 GFLOP/s on two threads of an EPYC, 200 × 192 × 768); on Intel's the
two are about equal. So the weights of a small model are laid out once for oneDNN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.openvla.llama import Attend, Cache, Llama, Rope, rope_table, rotate, stacked
from vla_tutorial.openvla.model import OpenVLA

# Up to this many rows a product is bound by calling it, and the plain one costs less.
FEW_ROWS = 4
# (…, in) → (…, out).
Product = Callable[[Tensor], Tensor]


class PlainRunner:
    """The eager layers of `llama.py`, unchanged; only `attend` differs from training.

    It runs anywhere. Every runner has its methods: one prefill, then one token a row at a time.
    """

    def __init__(self, llama: Llama) -> None:
        self.llama = llama
        self.config = llama.config
        device = llama.lm_head.weight.device
        self.rope = rope_table(self.config, self.config.max_position_embeddings, device)

    def tune(self, rows: int) -> None:
        """Choose how to run this many rows; called once a batch size, before capturing."""

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """Embeddings (N, T, d) and indices (N,) or (N, K) → logits there (N, [K,] vocab_size).

        An index is a row's last one, or K of them are the last and those of a draft behind it.
        x is right-padded and may be overwritten. The cache is filled.
        """
        length = x.shape[1]
        cache.clear_from(length)
        cos, sin = self.rope
        x = self.llama(
            x,
            (cos[:length], sin[:length]),
            cache.prefill,
        )
        return self.llama.logits(_picked(x, last))

    def decode(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Newest tokens and their positions, (N,) int64 → next logits (N, vocab_size)."""
        return self.verify(tokens[:, None], positions, cache)[:, 0]

    def verify(self, tokens: Tensor, starts: Tensor, cache: Cache) -> Tensor:
        """Tokens (N, K) int64 at positions starts (N,) + 0 … K − 1 → logits after each (N, K, V).

        Each row's cache holds all positions before its start.
        """
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        x = F.embedding(tokens, self.llama.model.embed_tokens.weight)
        x = self._layers(x, self._rope_at(positions), cache.extend(positions))
        return self.llama.logits(x)

    def _layers(self, x: Tensor, rope: Rope, attend: Attend) -> Tensor:
        return self.llama(x, rope, attend)  # type: ignore[no-any-return]

    def _rope_at(self, positions: Tensor) -> Rope:
        cos, sin = self.rope
        return cos[positions][:, None], sin[positions][:, None]


class CompactRunner(PlainRunner):
    """The same arithmetic in fewer, larger products, and none whose result nobody reads.

    It is for small models on a CPU, where a call into PyTorch costs as much as a small product.
    With `pack`, weights are laid out for oneDNN (see `can_pack`).
    """

    def __init__(self, llama: Llama, pack: bool) -> None:
        super().__init__(llama)
        self.layers = llama.layers
        weights = [stacked(linears) for linears in llama.stacks()]
        products: list[Product] = [partial(F.linear, weight=weight) for weight in weights]
        if pack:
            products = [pack_weight(weight) for weight in weights]
        self.qkv = products[: len(self.layers)]
        self.gate_up = products[len(self.layers) :]

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """As in `PlainRunner`. After the last attention, only each row's last index is run."""
        length = x.shape[1]
        cache.clear_from(length)
        cos, sin = self.rope
        rope = (cos[:length], sin[:length])
        kept = last.reshape(len(x), -1)
        for i in range(len(self.layers)):
            out = self._attention(i, x, rope, cache.prefill)
            if i == len(self.layers) - 1:
                out = _picked(out, kept)
                x = _picked(x, kept)
            x = self._rest(i, x, out)
        logits = self.llama.logits(x)
        return logits.reshape(*last.shape, -1)

    def _layers(self, x: Tensor, rope: Rope, attend: Attend) -> Tensor:
        for i in range(len(self.layers)):
            x = self._rest(i, x, self._attention(i, x, rope, attend))
        return x

    def _attention(self, i: int, x: Tensor, rope: Rope, attend: Attend) -> Tensor:
        heads = self.config.num_attention_heads
        kv_heads = self.config.num_key_value_heads
        qkv = self.qkv[i](self.layers[i].input_layernorm(x))
        qkv = qkv.view(*x.shape[:2], -1, self.config.head_dim).transpose(1, 2)
        q, k, v = qkv.split([heads, kv_heads, kv_heads], 1)  # type: ignore[no-untyped-call]
        out = attend(
            i,
            rotate(q, *rope),
            rotate(k, *rope),
            v,
        )
        return out.transpose(1, 2).flatten(2)

    def _rest(self, i: int, x: Tensor, out: Tensor) -> Tensor:
        """Output projection and MLP, each with its residual."""
        layer = self.layers[i]
        x = x + layer.self_attn.o_proj(out)
        gate, up = self.gate_up[i](layer.post_attention_layernorm(x)).chunk(2, -1)
        return x + layer.mlp.down_proj(F.silu(gate) * up)  # type: ignore[no-any-return]


def _picked(x: Tensor, index: Tensor) -> Tensor:
    """(N, T, d), indices (N,) or (N, K) → (N, d) or (N, K, d)."""
    rows = torch.arange(len(x), device=x.device)
    if index.ndim == 2:
        rows = rows[:, None]
    return x[rows, index]


def can_pack(model: OpenVLA) -> bool:
    """Whether oneDNN's layout, a second copy of the weights, is possible and worth its memory."""
    if model.device.type != "cpu" or model.dtype != torch.float32 or not model.is_small:
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    operators = ("_linear_pointwise", "_reorder_linear_weight")
    return all(hasattr(torch.ops.mkldnn, name) for name in operators)


def pack_weight(weight: Tensor, bias: Tensor | None = None) -> Product:
    """x → x · weightᵀ + bias through oneDNN, for weight (out, in) float32."""
    layout = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)

    def product(x: Tensor) -> Tensor:
        if x.numel() <= FEW_ROWS * x.shape[-1]:
            return F.linear(x, weight, bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, layout, bias, "none", [], "")
        return out

    return product


def pack_linears(model: nn.Module) -> None:
    """Let every linear layer of `model` run packed. Weights changed afterwards have no effect."""
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.forward = pack_weight(module.weight, module.bias)  # type: ignore[assignment, method-assign]
