"""Llama with a cache on a GPU, through the kernels of `kernels.py` and cuBLAS, whichever measured faster for each product.

At batch 1 a decode step reads every weight once (13.2 GB in bfloat16 for Llama-2-7B) and computes next to nothing, so it is bound by memory
bandwidth; prefill at batch 32 is bound by the matrix units. Hence: as few passes over memory as possible around each product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_tutorial.openvla.kernels import attend, rotate, silu_mul
from vla_tutorial.openvla.llama import Cache, Layer, Llama, rope_table, stacked
from vla_tutorial.openvla.products import SKINNY, Tile, candidates, product

MAX_SKINNY_ROWS = 32
"""Above this `product` re-reads its input from L2 too often."""


@dataclass(frozen=True)
class Product:
    """One matrix product of a decode step, with what is fused around it: see `products.product`."""

    name: str
    weight: Tensor
    norm: Tensor | None = None
    gated: bool = False


@dataclass(frozen=True)
class Weights:
    """One layer's products; qkv and gate_up share the memory of the eager parameters."""

    qkv: Product
    o: Product
    gate_up: Product
    down: Product

    @classmethod
    def of(cls, layer: Layer) -> Weights:
        """Those of one eager layer."""
        a, m = layer.self_attn, layer.mlp
        return cls(
            Product("qkv", stacked([a.q_proj, a.k_proj, a.v_proj]), layer.input_layernorm.weight),
            Product("o", a.o_proj.weight),
            Product(
                "gate_up",
                stacked([m.gate_proj, m.up_proj]),
                layer.post_attention_layernorm.weight,
                gated=True,
            ),
            Product("down", m.down_proj.weight),
        )


class FastRunner:
    """A `Runner` for bfloat16 or float16 on CUDA.

    Attributes:
        plans: by product and rows, the tile that `tune` chose; None stands for cuBLAS.
        timings: what it measured, in milliseconds.
    """

    def __init__(self, llama: Llama) -> None:
        self.config = llama.config
        self.embedding = llama.model.embed_tokens.weight
        self.layers = [Weights.of(cast(Layer, layer)) for layer in llama.model.layers]
        self.head = Product("head", llama.lm_head.weight, llama.model.norm.weight)
        self.rope = rope_table(
            llama.config, llama.config.max_position_embeddings, self.embedding.device
        )
        self.plans: dict[tuple[str, int], Tile | None] = {}
        self.timings: dict[tuple[str, int], Mapping[Tile | None, float]] = {}

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """See `Runner`. The last layer's MLP and everything after it run for the last index of each row alone."""
        rows, length, width = x.shape
        heads, dim = self.config.num_attention_heads, self.config.head_dim
        x, ends = x.reshape(-1, width), torch.arange(rows, device=x.device) * length + last
        for i, layer in enumerate(self.layers):
            qkv = F.linear(self._normed(x, layer.qkv), layer.qkv.weight)
            rotate(qkv, rows, self.rope, cache.k[i], cache.v[i])
            q = qkv[:, : heads * dim].view(rows, length, heads, dim).transpose(1, 2)
            k, v = cache.k[i][:, :, :length], cache.v[i][:, :, :length]
            out = F.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=heads != k.shape[1]
            )
            out = out.transpose(1, 2).reshape(-1, width)
            if i == len(self.layers) - 1:
                out, x = out[ends], x[ends]
            x.addmm_(out, layer.o.weight.t())
            gated = silu_mul(F.linear(self._normed(x, layer.gate_up), layer.gate_up.weight))
            x.addmm_(gated, layer.down.weight.t())
        return F.linear(self._normed(x, self.head), self.head.weight)

    def decode(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """See `Runner`. Five kernels a layer."""
        x = F.embedding(tokens, self.embedding)
        for i, layer in enumerate(self.layers):
            out = attend(self.product(x, layer.qkv), positions, self.rope, cache.k[i], cache.v[i])
            x = self.product(out, layer.o, x)
            x = self.product(self.product(x, layer.gate_up), layer.down, x)
        return self.product(x, self.head)

    def product(self, x: Tensor, p: Product, residual: Tensor | None = None) -> Tensor:
        """Run one product the way that `tune` chose for this many rows; before that, the first tile for few rows and cuBLAS for many."""
        default = SKINNY[0] if len(x) <= MAX_SKINNY_ROWS // 2 else None
        return self.run(x, p, residual, self.plans.get((p.name, len(x)), default))

    def run(self, x: Tensor, p: Product, residual: Tensor | None, tile: Tile | None) -> Tensor:
        """One product with a tile of `product`, or with cuBLAS where `tile` is None."""
        if tile is not None:
            return product(
                x,
                p.weight,
                tile,
                norm=p.norm,
                eps=self.config.rms_norm_eps,
                residual=residual,
                gated=p.gated,
            )
        x = self._normed(x, p)
        if residual is not None:
            return torch.addmm(residual, x, p.weight.t())
        return silu_mul(F.linear(x, p.weight)) if p.gated else F.linear(x, p.weight)

    def _normed(self, x: Tensor, p: Product) -> Tensor:
        return (
            x if p.norm is None else F.rms_norm(x, p.norm.shape, p.norm, self.config.rms_norm_eps)
        )

    def tune(self, rows: int) -> None:
        """Measure every tile and cuBLAS for each product at this many rows and keep the fastest: a few seconds, most of it Triton compiling."""
        for name in ("qkv", "o", "gate_up", "down", "head"):
            if rows <= MAX_SKINNY_ROWS and (name, rows) not in self.plans:
                times = self.timings[name, rows] = self.measure(name, rows)
                self.plans[name, rows] = min(times, key=times.__getitem__)

    def measure(self, name: str, rows: int) -> Mapping[Tile | None, float]:
        """Milliseconds for one product by tile (None: cuBLAS), averaged over all layers so that the weights come from memory, not from L2."""
        products = (
            [self.head] * 4
            if name == "head"
            else [cast(Product, getattr(layer, name)) for layer in self.layers]
        )
        x = torch.randn(
            rows,
            products[0].weight.shape[1],
            device=self.embedding.device,
            dtype=self.embedding.dtype,
        )
        residual = x.new_zeros(rows, len(products[0].weight)) if name in ("o", "down") else None
        times: dict[Tile | None, float] = {}
        for tile in (None, *candidates(rows)):
            ms = _graph_ms(lambda tile=tile: [self.run(x, p, residual, tile) for p in products])  # type: ignore[misc]
            if ms is not None:
                times[tile] = ms / len(products)
        return times


def _graph_ms(work: Callable[[], object]) -> float | None:
    """Milliseconds of `work` replayed as a CUDA graph (the best of five), or None where a tile needs more shared memory than there is."""
    from triton.runtime.errors import OutOfResources  # type: ignore[import-not-found, import-untyped, unused-ignore]

    try:
        work()
    except OutOfResources:
        return None
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(6)]  # type: ignore[no-untyped-call]
    for event in events:
        event.record()
        graph.replay()
    torch.cuda.synchronize()
    return min(float(a.elapsed_time(b)) for a, b in pairwise(events))
