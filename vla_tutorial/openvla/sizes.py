"""The sizes of an OpenVLA model: openvla-7b, the shrunk reference checkpoints or `mini`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

VISION_KEY = "vision_config"
"""Our own key in config.json. Published checkpoints lack it: they name two timm models instead."""

# Far above any model of this kind, and small enough that no number here makes a machine hang.
Width = Annotated[int, Meta(ge=1, le=2**16)]
Depth = Annotated[int, Meta(ge=1, le=128)]
Heads = Annotated[int, Meta(ge=1, le=1024)]
Ids = Annotated[int, Meta(ge=1, le=2**20)]
Id = Annotated[int, Meta(ge=0, lt=2**20)]
Padding = Annotated[int, Meta(ge=0, lt=2**20)]
Registers = Annotated[int, Meta(ge=0, le=64)]
Block = Annotated[int, Meta(ge=-128, lt=128)]
ImageSize = Annotated[int, Meta(ge=1, le=1024)]


@dataclass(frozen=True)
class ViTConfig:
    """One vision transformer; by default DINOv2 ViT-L/14 (timm `vit_large_patch14_reg4_dinov2`)."""

    # Width, blocks, attention heads, hidden width of the MLP.
    dim: Width = 1024
    depth: Depth = 24
    heads: Heads = 16
    mlp_hidden: Width = 4096
    # Whether each residual branch has a learned factor a channel.
    layer_scale: bool = True
    # Whether one learned token goes in front, and how many more stand between it and the patches.
    class_token: bool = True
    registers: Registers = 4
    # Whether the file carries a pooling head (never used by OpenVLA).
    attention_pool: bool = False
    # Whose output is the feature: the last but one, so the last block and final norm are unused.
    output_block: Block = -2

    @property
    def used_blocks(self) -> int:
        """How many blocks run, counted from the first."""
        return self.output_block % self.depth + 1

    @property
    def prefix(self) -> int:
        """Tokens in front of the patches."""
        return int(self.class_token) + self.registers


SIGLIP = ViTConfig(
    1152,
    27,
    16,
    4304,
    layer_scale=False,
    class_token=False,
    registers=0,
    attention_pool=True,
)
"""SigLIP SO400M/14 (timm `vit_so400m_patch14_siglip_224`)."""


@dataclass(frozen=True)
class VisionConfig:
    """The fused tower: two transformers over the same patches. Pixels; images are square."""

    image_size: ImageSize = 224
    patch_size: ImageSize = 14
    dino: ViTConfig = field(default_factory=ViTConfig)
    siglip: ViTConfig = SIGLIP

    @property
    def patches(self) -> int:
        """Patches an image, 256 for 224 / 14."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def width(self) -> int:
        """Width of the concatenated features, DINO first."""
        return self.dino.dim + self.siglip.dim


@dataclass(frozen=True)
class LlamaConfig:
    """Llama-2-7B (transformers 4.40). config.json's `text_config` is a diff against this."""

    hidden_size: Width = 4096
    intermediate_size: Width = 11008
    num_hidden_layers: Depth = 32
    num_attention_heads: Heads = 32
    num_key_value_heads: Heads = 0
    vocab_size: Ids = 32000
    max_position_embeddings: Ids = 2048
    rope_theta: Annotated[float, Meta(ge=1, le=1e12)] = 10000.0
    rms_norm_eps: Annotated[float, Meta(gt=0, le=1)] = 1e-6
    bos_token_id: Id = 1
    eos_token_id: Id = 2

    def __post_init__(self) -> None:
        # Absent means one key and value head a query head.
        if not self.num_key_value_heads:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)

    @property
    def head_dim(self) -> int:
        """Channels an attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class OpenVLAConfig:
    """Everything that the shapes and the arithmetic of an OpenVLA model depend on."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    llama: LlamaConfig = field(default_factory=lambda: LlamaConfig(vocab_size=32064))
    # Rows at the end of the vocabulary that no token uses (`pad_to_multiple_of` in config.json).
    # The 256 ids before them are the bins.
    padding: Padding = 64
    # What stands for the empty token 29871 in a smaller vocabulary of our own.
    empty_token_id: Id = 29871

    @property
    def vocabulary(self) -> int:
        """Ids without the padding rows, 32000 for openvla-7b; bin b is vocabulary − 1 − b."""
        return self.llama.vocab_size - self.padding
