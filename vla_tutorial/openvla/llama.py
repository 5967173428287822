"""Llama-2 in one file: the readable arithmetic that every faster path is held against.

Module names are the keys of the published checkpoints, for example
`language_model.model.layers.0.self_attn.q_proj.weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.openvla.config import LlamaConfig

# (layer, q (N, H, T, hd), k and v (N, Hkv, T, hd)) → (N, H, T, hd): all that differs between
# training, prefill and decoding.
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
# Cosines and sines of the rotary angles, (positions, hd / 2) float32 each.
Rope = tuple[Tensor, Tensor]


def causal(_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over the whole sequence, each position to itself and those before it."""
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)


def rope_table(config: LlamaConfig, length: int, device: torch.device | str) -> Rope:
    """Cosines and sines of the rotary position embedding, each (length, head_dim / 2) float32."""
    channels = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32)
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = positions[:, None] / config.rope_theta ** (channels / config.head_dim)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + hd/2) of (N, H, T, hd) by their angles, in float32; x's dtype again.

    cos and sin are (T, hd/2) for all rows, or (N, 1, T, hd/2).
    """
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


@dataclass(frozen=True)
class Cache:
    """Keys and values of every layer, each (L, N, Hkv, S, hd), with room for S positions a row."""

    k: Tensor
    v: Tensor

    @classmethod
    def empty(cls, config: LlamaConfig, rows: int, length: int, like: Tensor) -> Cache:
        """Room for `rows` × `length` positions, of `like`'s dtype and device, not cleared."""
        heads = config.num_key_value_heads
        shape = (config.num_hidden_layers, rows, heads, length, config.head_dim)
        return cls(like.new_empty(shape), like.new_empty(shape))

    def prefill(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """An `Attend` that keeps the keys and values of positions 0 … T−1."""
        self.k[layer, :, :, : k.shape[2]] = k
        self.v[layer, :, :, : v.shape[2]] = v
        return causal(layer, q, k, v)

    def clear_from(self, length: int) -> None:
        """Zero what is masked out until it is written: 0 · NaN would be NaN."""
        self.k[:, :, :, length:] = 0
        self.v[:, :, :, length:] = 0

    def extend(self, positions: Tensor) -> Attend:
        """An `Attend` for a few new tokens a row, at `positions` (N, K) int64, ascending.

        A token sees its own row's past and itself alone, so rows may differ in length.
        """
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        places = torch.arange(self.k.shape[3], device=positions.device)
        mask = (places <= positions[..., None])[:, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys = self.k[layer]
            values = self.v[layer]
            keys[rows, :, positions] = k.transpose(1, 2)
            values[rows, :, positions] = v.transpose(1, 2)
            gqa = q.shape[1] != k.shape[1]
            return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=gqa)

        return attend


_linear = partial(nn.Linear, bias=False)


class SelfAttention(nn.Module):
    """Causal attention with rotary positions. Query heads may share keys and values (GQA)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        width = config.hidden_size
        kv_width = config.num_key_value_heads * config.head_dim
        self.q_proj = _linear(width, width)
        self.k_proj = _linear(width, kv_width)
        self.v_proj = _linear(width, kv_width)
        self.o_proj = _linear(width, width)

    def forward(self, x: Tensor, rope: Rope, attend: Attend, layer: int) -> Tensor:
        """(N, T, d) → (N, T, d)."""
        q = self._split_heads(self.q_proj(x))
        k = self._split_heads(self.k_proj(x))
        v = self._split_heads(self.v_proj(x))
        out = attend(
            layer,
            rotate(q, *rope),
            rotate(k, *rope),
            v,
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # type: ignore[no-untyped-call, no-any-return]


class MLP(nn.Module):
    """down(silu(gate(x)) · up(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = _linear(config.hidden_size, config.intermediate_size)
        self.up_proj = _linear(config.hidden_size, config.intermediate_size)
        self.down_proj = _linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A pre-norm transformer layer. RMSNorm: x / sqrt(mean(x²) + eps) · weight, over channels."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.mlp = MLP(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rope: Rope, attend: Attend, layer: int) -> Tensor:
        """(N, T, d) → (N, T, d)."""
        x = x + self.self_attn(self.input_layernorm(x), rope, attend, layer)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Embeddings, layers and the final norm (the checkpoint's `language_model.model`)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """The language model with its head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = _linear(config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor, rope: Rope, attend: Attend = causal) -> Tensor:
        """Embeddings (N, T, d), rotary angles → hidden states (N, T, d) before the final norm."""
        for i, layer in enumerate(self.model.layers):
            x = layer(x, rope, attend, i)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states (…, d) → logits (…, vocab_size)."""
        return self.lm_head(self.model.norm(x))  # type: ignore[no-any-return]

    @property
    def layers(self) -> list[Layer]:
        """The decoder's layers, first to last."""
        return [cast(Layer, layer) for layer in self.model.layers]

    def stacks(self) -> list[list[nn.Linear]]:
        """Linear layers with one input, which a fast path runs as one.

        (q, k, v) of every layer, then (gate, up) of every one.
        """
        attention = [layer.self_attn for layer in self.layers]
        mlps = [layer.mlp for layer in self.layers]
        qkv = [[one.q_proj, one.k_proj, one.v_proj] for one in attention]
        return qkv + [[mlp.gate_proj, mlp.up_proj] for mlp in mlps]


def stacked(linears: Sequence[nn.Linear]) -> Tensor:
    """One weight (sum of rows, in) over linear layers, sharing their memory.

    They are moved next to one another first, if they are apart.
    """
    weights = [linear.weight.data for linear in linears]
    heights = [len(weight) for weight in weights]
    starts = [weight.data_ptr() for weight in weights]
    ends = [weight.data_ptr() + weight.nbytes for weight in weights]
    storages = {weight.untyped_storage().data_ptr() for weight in weights}
    if len(storages) == 1 and ends[:-1] == starts[1:]:
        columns = weights[0].shape[1]
        return weights[0].as_strided((sum(heights), columns), (columns, 1))
    whole = torch.cat(weights)
    parts = whole.split(heights)  # type: ignore[no-untyped-call]
    for linear, part in zip(linears, parts, strict=True):
        linear.weight.data = part
    return whole
