"""What each part of an action must at least compute and move, counted from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from vla_tutorial.openvla.bits.arithmetic import BITS, GROUP, Kind
from vla_tutorial.openvla.config import OpenVLAConfig, ViTConfig


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, bytes of memory traffic, and operations that 8-bit floats do; as a ceiling, all per second."""

    flops: float
    bytes: float
    fp8: float = 0.0

    def bound_ms(self, ceiling: Cost) -> float:
        """No version runs faster than this on a machine with that ceiling, in milliseconds."""
        arithmetic = self.flops / ceiling.flops + self.fp8 / (ceiling.fp8 or ceiling.flops)
        return 1e3 * max(arithmetic, self.bytes / ceiling.bytes)

    def json(self) -> dict[str, float]:
        """For the report, in TFLOP and GB."""
        found = {"tflop": round(self.flops / 1e12, 4), "gb": round(self.bytes / 1e9, 4)}
        return found | ({"tflop_fp8": round(self.fp8 / 1e12, 4)} if self.fp8 else {})


def layer_itemsize(itemsize: int, kind: Kind | None) -> float:
    """Bytes of a weight of Llama's layers: in 4 bits with its share of scale and offset (`bits.GROUP`). A scale an output channel is nothing."""
    if kind is None:
        return itemsize
    return BITS[kind] / 8 + (2 * itemsize / GROUP if kind == "int4" else 0.0)


def costs(
    config: OpenVLAConfig,
    rows: int,
    text: int,
    actions: int,
    itemsize: int,
    kind: Kind | None = None,
) -> dict[str, Cost]:
    """Vision with projector, prefill, and one decode step in the middle of an action, for a batch.

    `itemsize` is that of activations and of weights outside Llama's layers, which are held as `kind` (None: as the others).
    Weights count as read once. Of the activations only what must outlive a part counts: pictures in, and the cache of keys and values.
    """
    llama, vision = config.llama, config.vision
    length = vision.patches + text
    kv = 2 * llama.num_key_value_heads * llama.head_dim
    attention = llama.hidden_size * (2 * llama.hidden_size + kv)
    mlp = 3 * llama.hidden_size * llama.intermediate_size
    layers, head = llama.num_hidden_layers * (attention + mlp), llama.vocab_size * llama.hidden_size
    held = layers * layer_itemsize(itemsize, kind)
    cache = llama.num_hidden_layers * kv
    # the last layer's output projection and MLP are needed for the last position alone
    saved = (length - 1) * (mlp + llama.hidden_size**2)
    scores = (
        2 * llama.num_hidden_layers * length**2 * llama.hidden_size
    )  # q·k and p·v, half of them behind the causal mask
    middle = length + actions / 2
    return {
        "vision": _vision(config, rows, itemsize),
        "prefill": _cost(
            rows * 2 * (length * layers - saved),
            rows * (2 * head + scores),
            held + itemsize * (head + rows * length * cache),
            kind,
        ),
        "decode": _cost(
            rows * 2 * layers,
            rows * (2 * head + 4 * llama.num_hidden_layers * middle * llama.hidden_size),
            held + itemsize * (head + rows * middle * cache),
            kind,
        ),
    }


def _cost(products: float, rest: float, moved: float, kind: Kind | None) -> Cost:
    """Of the products of Llama's layers and of all else, both in FLOP; bytes."""
    if kind == "fp8":
        return Cost(rest, moved, products)
    return Cost(products + rest, moved)


def _vision(config: OpenVLAConfig, rows: int, itemsize: int) -> Cost:
    vision, width, out = config.vision, config.vision.width, config.llama.hidden_size
    projector = width * 4 * width + 4 * width * out + out * out
    flops, weights = 2.0 * vision.patches * projector, projector
    for vit in (vision.dino, vision.siglip):
        tokens, block, patch = (
            vision.patches + vit.prefix,
            _block(vit),
            3 * vision.patch_size**2 * vit.dim,
        )
        flops += (
            2 * tokens * (vit.used_blocks * block + patch)
            + 4 * vit.used_blocks * tokens**2 * vit.dim
        )
        weights += vit.used_blocks * block + patch
    return Cost(rows * flops, itemsize * (weights + rows * 6 * vision.image_size**2))


def _block(vit: ViTConfig) -> int:
    return 4 * vit.dim**2 + 2 * vit.dim * vit.mlp_hidden
