"""The layers of `openvla/vision.py` and `openvla/llama.py` as ONNX, for one picture and prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from vla_tutorial.live.graph.policy_graph import END, Graph
from vla_tutorial.openvla.llama import Layer, Llama, rope_table
from vla_tutorial.openvla.vision import Block, Projector, VisionBackbone, ViT
from vla_tutorial.pixels import DINO_MEAN, DINO_STD, SIGLIP_MEAN, SIGLIP_STD, SIZE


def vision(graph: Graph, picture: str, backbone: VisionBackbone) -> str:
    """A picture (224, 224, 3) uint8 → features (1, patches, both widths)."""
    levels = graph.op("Cast", picture, to=TensorProto.FLOAT)
    x = graph.op("Unsqueeze", graph.op("Transpose", levels, perm=[2, 0, 1]), graph.whole(0))
    x = graph.op("Div", x, graph.constant(np.array(255, np.float32)))
    towers = [
        (backbone.featurizer, DINO_MEAN, DINO_STD),
        (backbone.fused_featurizer, SIGLIP_MEAN, SIGLIP_STD),
    ]
    features = []
    for tower, mean, deviation in towers:
        seen = graph.op(
            "Div", graph.op("Sub", x, _channels(graph, mean)), _channels(graph, deviation)
        )
        if backbone.image_size != SIZE:
            factor = [SIZE // backbone.image_size] * 2
            seen = graph.op("AveragePool", seen, kernel_shape=factor, strides=factor)
        features.append(_tower(graph, seen, tower))
    return graph.op("Concat", *features, axis=-1)


def _channels(graph: Graph, values: tuple[float, ...]) -> str:
    return graph.constant(np.array(values, np.float32).reshape(1, 3, 1, 1))


def _tower(graph: Graph, image: str, tower: ViT) -> str:
    """An image (1, 3, S, S) float32 → (1, patches, d)."""
    config = tower.config
    sequence = [_patches(graph, image, tower)]
    if config.registers:
        sequence.insert(0, graph.floats(tower.reg_token))
    if config.class_token:
        sequence.insert(0, graph.floats(tower.cls_token))
    x = graph.op("Concat", *sequence, axis=1)
    for block in list(tower.blocks)[: config.used_blocks]:
        x = _block(graph, x, cast(Block, block), config.heads)
    return graph.slice(x, config.prefix, END, 1)


def _patches(graph: Graph, image: str, tower: ViT) -> str:
    """Embedded patches with their positions, (1, patches, d)."""
    layer = tower.patch_embed.proj
    weights = (graph.weight(layer.weight), graph.floats(cast(Tensor, layer.bias)))
    x = graph.op("Conv", image, *weights, strides=list(layer.stride))
    x = graph.op("Reshape", x, graph.whole(1, tower.config.dim, -1))
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    return graph.op("Add", x, graph.weight(tower.pos_embed))


def _block(graph: Graph, x: str, block: Block, heads: int) -> str:
    attention = block.attn
    y = graph.op(
        "Attention",
        _layer_norm(graph, x, block.norm1),
        graph.weight(attention.qkv.weight, turned=True),
        graph.floats(attention.qkv.bias),
        num_heads=heads,
    )
    y = graph.linear(y, attention.proj, _scale(block.ls1))
    x = graph.op("Add", x, y)
    y = graph.gelu(_layer_norm(graph, x, block.norm2), block.mlp.fc1)
    return graph.op("Add", x, graph.linear(y, block.mlp.fc2, _scale(block.ls2)))


def _scale(layer: nn.Module) -> Tensor | None:
    return getattr(layer, "scale_factor", None)


def _layer_norm(graph: Graph, x: str, norm: nn.LayerNorm) -> str:
    weights = (graph.floats(norm.weight), graph.floats(norm.bias))
    return graph.op("LayerNormalization", x, *weights, epsilon=norm.eps)


def project(graph: Graph, features: str, projector: Projector) -> str:
    """Features (1, patches, both widths) → (1, patches, hidden_size)."""
    x = graph.gelu(features, projector.fc1)
    return graph.linear(graph.gelu(x, projector.fc2), projector.fc3)


@dataclass(frozen=True)
class Past:
    """Keys and values of one layer so far, each (1, heads, positions, channels)."""

    keys: str
    values: str


class LlamaGraph:
    """Llama over one sequence: all of the prompt first, then one token at a time."""

    def __init__(self, graph: Graph, llama: Llama) -> None:
        self.graph = graph
        self.llama = llama
        self.heads = llama.config.num_attention_heads
        self.past: list[Past] = []
        cos, sin = rope_table(llama.config, llama.config.max_position_embeddings, "cpu")
        self._rope = (graph.floats(cos), graph.floats(sin))
        self._products: dict[str, Tensor] = {}

    def embed(self, ids: str) -> str:
        """Ids (…) int64 → (…, hidden_size)."""
        return self.graph.op("Gather", self.graph.weight(self.llama.model.embed_tokens.weight), ids)

    def prefill(self, x: str, positions: str) -> str:
        """Embeddings (1, T, d) and positions (1, T) → the last hidden state (1, 1, d)."""
        last = len(self.llama.layers) - 1
        for i in range(len(self.llama.layers)):
            x = self._layer(i, x, positions, last_only=i == last)
        return x

    def decode(self, x: str, position: str) -> str:
        """One token's embedding (1, 1, d) and its position (1, 1) → its hidden state (1, 1, d)."""
        for i in range(len(self.llama.layers)):
            x = self._layer(i, x, position)
        return x

    def token(self, x: str) -> str:
        """A hidden state (1, 1, d) → the likeliest id (1, 1) int64."""
        logits = self.graph.product(
            self._rms_norm(x, self.llama.model.norm), self.llama.lm_head.weight
        )
        return self.graph.op("ArgMax", logits, axis=-1, keepdims=0)

    def _layer(self, i: int, x: str, positions: str, last_only: bool = False) -> str:
        """One layer. With `last_only` its output is for the last position alone."""
        layer = self.llama.layers[i]
        graph = self.graph
        qkv = graph.product(self._rms_norm(x, layer.input_layernorm), self._stacked(i, layer))
        q, k, v = graph.ops("Split", qkv, outputs=3, axis=-1, num_outputs=3)
        q = self._rotate(q, positions)
        k = self._rotate(k, positions)
        if last_only:
            q = graph.slice(q, -1, END, 1)
            x = graph.slice(x, -1, END, 1)
        y = self._attend(i, [q, k, v], causal=not last_only)
        x = graph.op("Add", x, graph.product(y, layer.self_attn.o_proj.weight))
        y = self._rms_norm(x, layer.post_attention_layernorm)
        gate = graph.product(y, layer.mlp.gate_proj.weight)
        gate = graph.op("Mul", gate, graph.op("Sigmoid", gate))
        y = graph.op("Mul", gate, graph.product(y, layer.mlp.up_proj.weight))
        return graph.op("Add", x, graph.product(y, layer.mlp.down_proj.weight))

    def _attend(self, i: int, qkv: list[str], causal: bool) -> str:
        """Attention to the past and to what is new, which joins the past."""
        is_first = i == len(self.past)
        inputs = list(qkv)
        if not is_first:
            # Bias, mask and attention bias are left out.
            inputs += ["", "", "", self.past[i].keys, self.past[i].values]
        y, keys, values = self.graph.ops(
            "MultiHeadAttention",
            *inputs,
            outputs=3,
            num_heads=self.heads,
            unidirectional=int(causal and is_first),
        )
        self.past[i : i + 1] = [Past(keys, values)]
        return y

    def _stacked(self, i: int, layer: Layer) -> Tensor:
        """Weights of q, k and v in one. Heads that share keys and values get copies of them."""
        name = f"qkv {i}"
        if name not in self._products:
            config = self.llama.config
            copies = config.num_attention_heads // config.num_key_value_heads
            shared = []
            for linear in (layer.self_attn.k_proj, layer.self_attn.v_proj):
                heads = linear.weight.detach().unflatten(0, (-1, config.head_dim))  # type: ignore[no-untyped-call]
                shared.append(heads.repeat_interleave(copies, 0).flatten(0, 1))
            self._products[name] = torch.cat([layer.self_attn.q_proj.weight.detach(), *shared])
        return self._products[name]

    def _rotate(self, x: str, positions: str) -> str:
        return self.graph.op("RotaryEmbedding", x, positions, *self._rope, num_heads=self.heads)

    def _rms_norm(self, x: str, norm: nn.RMSNorm) -> str:
        weight = self.graph.floats(norm.weight)
        return self.graph.op("SimplifiedLayerNormalization", x, weight, epsilon=norm.eps, axis=-1)
