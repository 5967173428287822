"""Llama with a cache on a CPU: the same arithmetic in fewer, larger products, and none whose result nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_tutorial.openvla.llama import Attend, Cache, Layer, Llama, rope_table, rotate, stacked
from vla_tutorial.openvla.packed import Product, packed


class CompactRunner:
    """A `Runner` in plain PyTorch, for small models on a CPU, where each call into PyTorch costs as much as a small product."""

    def __init__(self, llama: Llama, pack: bool) -> None:
        """Take over the weights; with `pack`, lay them out for oneDNN (`packed.available` says whether that can be)."""
        self._product: Callable[[Tensor], Product] = (
            packed if pack else lambda weight: lambda x: F.linear(x, weight)
        )
        self.llama, self.config = llama, llama.config
        self.layers = [cast(Layer, layer) for layer in llama.model.layers]
        weights = [self._product(stacked(linears)) for linears in llama.stacks()]
        self.qkv, self.gate_up = weights[: len(self.layers)], weights[len(self.layers) :]
        self.rope = rope_table(
            llama.config, llama.config.max_position_embeddings, llama.lm_head.weight.device
        )

    def tune(self, rows: int) -> None:
        """There is nothing to choose."""

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """See `Runner`. The last layer's MLP and everything after it run for the last index of each row alone."""
        rows, length, _ = x.shape
        cos, sin = self.rope
        for kept in (cache.k, cache.v):
            kept[:, :, :, length:] = 0  # masked out until written, but 0 · NaN would be NaN
        for i in range(len(self.layers)):
            out = self._attention(i, x, (cos[:length], sin[:length]), cache.prefill)
            if i == len(self.layers) - 1:
                ends = torch.arange(rows, device=x.device)
                out, x = out[ends, last][:, None], x[ends, last][:, None]
            x = self._rest(i, x, out)
        return self.llama.logits(x[:, 0])

    def decode(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """See `Runner`."""
        cos, sin = (table[positions][:, None, None] for table in self.rope)
        x = F.embedding(tokens[:, None], self.llama.model.embed_tokens.weight)
        attend = cache.decode(positions)
        for i in range(len(self.layers)):
            x = self._rest(i, x, self._attention(i, x, (cos, sin), attend))
        return self.llama.logits(x[:, 0])

    def _attention(self, i: int, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """(N, T, d) → (N, T, d), before the output projection."""
        c = self.config
        qkv = self.qkv[i](self.layers[i].input_layernorm(x))
        qkv = qkv.view(*x.shape[:2], -1, c.head_dim).transpose(1, 2)
        q, k, v = qkv.split(
            [c.num_attention_heads, c.num_key_value_heads, c.num_key_value_heads], 1
        )  # type: ignore[no-untyped-call]
        return attend(i, rotate(q, *rope), rotate(k, *rope), v).transpose(1, 2).flatten(2)

    def _rest(self, i: int, x: Tensor, out: Tensor) -> Tensor:
        """Output projection and MLP, each with its residual."""
        layer = self.layers[i]
        x = x + layer.self_attn.o_proj(out)
        gate, up = self.gate_up[i](layer.post_attention_layernorm(x)).chunk(2, -1)
        return x + layer.mlp.down_proj(F.silu(gate) * up)  # type: ignore[no-any-return]
