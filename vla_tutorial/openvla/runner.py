"""Llama with a cache of keys and values: the interface that the engine drives, and its plain PyTorch form."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from vla_tutorial.openvla.llama import Cache, Llama, rope_table


class Runner(Protocol):
    """One prefill, then one token a row at a time."""

    def tune(self, rows: int) -> None:
        """Choose how to run for this many rows, by measuring where there is a choice. Called once a batch size, before capturing."""
        ...

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """Embeddings (N, T, d), right-padded, and each row's last index (N,) → logits at that index (N, vocab_size); fills the cache."""
        ...

    def decode(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """The newest token of each row (N,) and its position (N,), both int64 → logits of the next one (N, vocab_size); extends the cache."""
        ...


class PlainRunner:
    """The eager layers of `llama.py`, unchanged; only `attend` differs from training. Runs anywhere."""

    def __init__(self, llama: Llama) -> None:
        self.llama = llama
        self.rope = rope_table(
            llama.config, llama.config.max_position_embeddings, llama.lm_head.weight.device
        )

    def tune(self, rows: int) -> None:
        """There is nothing to choose."""

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """See `Runner`."""
        cos, sin = self.rope
        for kept in (cache.k, cache.v):
            kept[:, :, :, x.shape[1] :] = 0  # masked out until written, but 0 · NaN would be NaN
        x = self.llama(x, (cos[: x.shape[1]], sin[: x.shape[1]]), cache.prefill)
        return self.llama.logits(x[torch.arange(len(x), device=x.device), last])

    def decode(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """See `Runner`."""
        cos, sin = (table[positions][:, None, None] for table in self.rope)
        x = self.llama.model.embed_tokens(tokens[:, None])
        return self.llama.logits(self.llama(x, (cos, sin), cache.decode(positions))[:, 0])
