"""Llama with a cache on a GPU: for each product the faster of Triton kernel and cuBLAS, measured.

At batch 1 a decode step reads every weight once (13.2 GB in bfloat16 for Llama-2-7B) and computes
next to nothing, so it is bound by memory bandwidth. Prefill at batch 32 is bound by the matrix
units. Hence there are as few passes over memory as possible around each product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.openvla.attention_kernels import attend, attend_few, rotate, silu_mul
from vla_tutorial.openvla.bits.arithmetic import Quantised, QuantisedLinear
from vla_tutorial.openvla.bits.fp8 import can_multiply, multiply, round_rows, rows_in_fp8
from vla_tutorial.openvla.bits.kernels import FEW, candidates_bits, run_bits
from vla_tutorial.openvla.llama import Cache, Layer, Llama, rope_table, stacked
from vla_tutorial.openvla.product_kernels import SKINNY, Tile, candidates, run_product

# Above this `run_product` re-reads its input from L2 too often.
MAX_SKINNY_ROWS = 32


@dataclass(frozen=True)
class Product:
    """One matrix product of a decode step, with what is fused around it (see `run_product`)."""

    name: str
    weight: Tensor | Quantised
    norm: Tensor | None = None
    gated: bool = False


@dataclass(frozen=True)
class LayerProducts:
    """One layer's products; qkv and gate_up share the memory of the eager parameters."""

    qkv: Product
    o: Product
    gate_up: Product
    down: Product

    @classmethod
    def from_layer(cls, layer: Layer) -> LayerProducts:
        """Those of one eager layer."""
        attention = layer.self_attn
        mlp = layer.mlp
        qkv = _weight(attention.q_proj, attention.k_proj, attention.v_proj)
        gate_up = _weight(mlp.gate_proj, mlp.up_proj)
        mlp_norm = layer.post_attention_layernorm.weight
        return cls(
            qkv=Product("qkv", qkv, layer.input_layernorm.weight),
            o=Product("o", _weight(attention.o_proj)),
            gate_up=Product("gate_up", gate_up, mlp_norm, gated=True),
            down=Product("down", _weight(mlp.down_proj)),
        )


def _weight(*linears: nn.Linear | QuantisedLinear) -> Tensor | Quantised:
    """The weight of layers that run as one."""
    first = linears[0]
    if isinstance(first, QuantisedLinear):
        return first.whole
    if len(linears) == 1:
        return first.weight
    return stacked(cast(Sequence[nn.Linear], linears))


class CudaRunner:
    """What `PlainRunner` does, for bfloat16 or float16 on CUDA."""

    def __init__(self, llama: Llama) -> None:
        self.config = llama.config
        self.embedding = llama.model.embed_tokens.weight
        self.layers = [LayerProducts.from_layer(layer) for layer in llama.layers]
        self.head = Product("head", llama.lm_head.weight, llama.model.norm.weight)
        positions = self.config.max_position_embeddings
        self.rope = rope_table(self.config, positions, self.embedding.device)
        # By product and rows, the tile that `tune` chose (None stands for PyTorch's own product),
        # and the milliseconds that it measured.
        self.plans: dict[tuple[str, int], Tile | None] = {}
        self.timings: dict[tuple[str, int], Mapping[Tile | None, float]] = {}

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """As in `PlainRunner`. After the last attention, only the asked indices are run."""
        rows, length, width = x.shape
        x = x.reshape(-1, width)
        begins = torch.arange(rows, device=x.device) * length
        ends = (begins[:, None] + last.reshape(rows, -1)).flatten()
        for i, layer in enumerate(self.layers):
            qkv = self._many(x, layer.qkv)
            out = self._attend_prompt(
                qkv,
                rows,
                cache.k[i],
                cache.v[i],
            )
            if i == len(self.layers) - 1:
                out = out[ends]
                x = x[ends]
            x = self._many(out, layer.o, x)
            x = self._many(self._many(x, layer.gate_up), layer.down, x)
        logits = self._many(x, self.head)
        return logits.view(*last.shape, -1)

    def _many(self, x: Tensor, p: Product, residual: Tensor | None = None) -> Tensor:
        """One product of a prefill: cuBLAS; for weights in few bits what is faster, measured once.

        `residual` may be overwritten.
        """
        if isinstance(p.weight, Quantised):
            capturing = x.is_cuda and torch.cuda.is_current_stream_capturing()
            choice = len(self._tiles(p.weight, len(x))) > 1
            if x.is_cuda and not capturing and choice:
                self._tune(p.name, len(x))
            return self.product(x, p, residual)
        x = self._normed(x, p)
        if residual is not None:
            return residual.addmm_(x, p.weight.t())
        out = F.linear(x, p.weight)
        return silu_mul(out) if p.gated else out

    def _attend_prompt(self, qkv: Tensor, rows: int, keys: Tensor, values: Tensor) -> Tensor:
        """(N · T, (H + 2 Hkv) · hd), not rotated → (N · T, H · hd); fills a cache's layer."""
        heads = self.config.num_attention_heads
        dim = self.config.head_dim
        length = len(qkv) // rows
        rotate(qkv, rows, self.rope, keys, values)
        q = qkv[:, : heads * dim].view(rows, length, heads, dim).transpose(1, 2)
        k = keys[:, :, :length]
        v = values[:, :, :length]
        grouped = heads != k.shape[1]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return out.transpose(1, 2).reshape(-1, heads * dim)

    def decode(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """As in `PlainRunner`. Five kernels a layer."""
        x = F.embedding(tokens, self.embedding)
        for i, layer in enumerate(self.layers):
            qkv = self.product(x, layer.qkv)
            out = attend(
                qkv,
                positions,
                self.rope,
                cache.k[i],
                cache.v[i],
            )
            x = self.product(out, layer.o, x)
            x = self.product(self.product(x, layer.gate_up), layer.down, x)
        return self.product(x, self.head)

    def verify(self, tokens: Tensor, starts: Tensor, cache: Cache) -> Tensor:
        """As in `PlainRunner`. Six kernels a layer, whose products read each weight once."""
        rows, slots = tokens.shape
        x = F.embedding(tokens.flatten(), self.embedding)
        for i, layer in enumerate(self.layers):
            qkv = self.product(x, layer.qkv)
            out = attend_few(
                qkv,
                starts,
                self.rope,
                cache.k[i],
                cache.v[i],
            )
            x = self.product(out, layer.o, x)
            x = self.product(self.product(x, layer.gate_up), layer.down, x)
        return self.product(x, self.head).view(rows, slots, -1)

    def product(self, x: Tensor, p: Product, residual: Tensor | None = None) -> Tensor:
        """Run one product as `tune` chose; untuned, the first tile, or for more rows cuBLAS."""
        default = SKINNY[0] if len(x) <= MAX_SKINNY_ROWS // 2 else None
        if isinstance(p.weight, Quantised):
            default = self._tiles(p.weight, len(x))[0]
        return self.run(
            x,
            p,
            residual,
            self.plans.get((p.name, len(x)), default),
        )

    def run(self, x: Tensor, p: Product, residual: Tensor | None, tile: Tile | None) -> Tensor:
        """One product with a tile of our kernels, or with PyTorch's where `tile` is None."""
        weight = p.weight
        if isinstance(weight, Quantised) and weight.kind == "fp8":
            return self._run_fp8(x, p, weight, residual, tile)
        if tile is not None:
            options: dict[str, Any] = {
                "norm": p.norm,
                "eps": self.config.rms_norm_eps,
                "residual": residual,
                "gated": p.gated,
            }
            if isinstance(weight, Quantised):
                return run_bits(x, weight, tile, **options)
            return run_product(x, weight, tile, **options)
        if isinstance(weight, Quantised):
            weight = weight.dequantise()
        x = self._normed(x, p)
        if residual is not None:
            return torch.addmm(residual, x, weight.t())
        out = F.linear(x, weight)
        return silu_mul(out) if p.gated else out

    def _run_fp8(
        self, x: Tensor, p: Product, weight: Quantised, residual: Tensor | None, tile: Tile | None
    ) -> Tensor:
        """`run` for activations that are rounded first.

        PyTorch's product leaves gate beside up, which the next product's rounding joins: that saves
        a pass over both.
        """
        given = (x, weight.shape[1], p.norm, self.config.rms_norm_eps)
        if tile is not None:
            return run_bits(round_rows(*given), weight, tile, residual=residual, gated=p.gated)
        out = multiply(*rows_in_fp8(*given), weight)
        return out if residual is None else out.add_(residual)

    def _normed(self, x: Tensor, p: Product) -> Tensor:
        if p.norm is None:
            return x
        return F.rms_norm(x, p.norm.shape, p.norm, self.config.rms_norm_eps)

    def tune(self, rows: int) -> None:
        """Keep the fastest tile, or cuBLAS, for each product: a few seconds, mostly compiling."""
        if rows > MAX_SKINNY_ROWS:
            return
        for name in ("qkv", "o", "gate_up", "down", "head"):
            self._tune(name, rows)

    def _tiles(self, weight: Tensor | Quantised, rows: int) -> tuple[Tile | None, ...]:
        """What is worth measuring for this many rows; None stands for PyTorch's product."""
        if not isinstance(weight, Quantised):
            return (*candidates(rows), None)
        tiles = candidates_bits(rows)
        if weight.kind == "fp8":
            if not can_multiply(weight, self.embedding.dtype):
                return tiles
            # Tiles multiply in 16 bits, so where arithmetic is the bound they are slower.
            tiles = tiles if rows <= FEW else ()
        return (*tiles, None)

    def _tune(self, name: str, rows: int) -> None:
        if (name, rows) not in self.plans:
            times = self.measure(name, rows)
            self.timings[name, rows] = times
            self.plans[name, rows] = min(times, key=times.__getitem__)

    def measure(self, name: str, rows: int) -> Mapping[Tile | None, float]:
        """Milliseconds of one product by tile (None: PyTorch's), the mean over all layers.

        Over all of them, so that the weights come from memory and not from the L2 cache.
        """
        products = [self.head] * 4
        if name != "head":
            products = [getattr(layer, name) for layer in self.layers]
        outputs, inputs = products[0].weight.shape
        x = torch.randn(
            rows,
            inputs,
            device=self.embedding.device,
            dtype=self.embedding.dtype,
        )
        residual = x.new_zeros(rows, outputs) if name in ("o", "down") else None

        def run_all(tile: Tile | None) -> list[Tensor]:
            return [self.run(x, p, residual, tile) for p in products]

        times: dict[Tile | None, float] = {}
        for tile in self._tiles(products[0].weight, rows):
            ms = _graph_ms(partial(run_all, tile))
            if ms is not None:
                times[tile] = ms / len(products)
        return times


def _graph_ms(work: Callable[[], object]) -> float | None:
    """Milliseconds of `work` as a CUDA graph, best of five; None where shared memory lacks."""
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
    return min(float(begin.elapsed_time(end)) for begin, end in pairwise(events))
