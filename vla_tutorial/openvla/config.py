"""The sizes of an OpenVLA model: openvla-7b, the shrunk reference checkpoints or `mini`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.errors import TutorialError

VISION_KEY = "vision_config"
"""Our own key in config.json. Published checkpoints lack it: they name two timm models instead."""


@dataclass(frozen=True)
class ViTConfig:
    """One vision transformer; by default DINOv2 ViT-L/14 (timm `vit_large_patch14_reg4_dinov2`)."""

    # Width, blocks, attention heads, hidden width of the MLP.
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_hidden: int = 4096
    # Whether each residual branch has a learned factor a channel.
    layer_scale: bool = True
    # Whether one learned token goes in front, and how many more stand between it and the patches.
    class_token: bool = True
    registers: int = 4
    # Whether the file carries a pooling head (never used by OpenVLA).
    attention_pool: bool = False
    # Whose output is the feature: the last but one, so the last block and final norm are unused.
    output_block: int = -2

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

    image_size: int = 224
    patch_size: int = 14
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

    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 0
    vocab_size: int = 32000
    max_position_embeddings: int = 2048
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    bos_token_id: int = 1
    eos_token_id: int = 2

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
    padding: int = 64
    # What stands for the empty token 29871 in a smaller vocabulary of our own.
    empty_token_id: int = 29871

    @property
    def vocabulary(self) -> int:
        """Ids without the padding rows, 32000 for openvla-7b; bin b is vocabulary − 1 − b."""
        return self.llama.vocab_size - self.padding


def read_config(path: Path) -> OpenVLAConfig:
    """Read a config.json in the published layout (or with our `vision_config` in it).

    An error is raised for a model that is no OpenVLA or needs arithmetic which ours lacks.
    """
    raw = read_json(path, "the config.json of an OpenVLA checkpoint")
    text = raw.get("text_config") or {}
    _check_supported(raw, text, path)
    sizes = {
        "vision": _vision_sizes(raw.get(VISION_KEY) or {}, path),
        "llama": {key: value for key, value in text.items() if value is not None},
        "padding": raw.get("pad_to_multiple_of", 64),
        "empty_token_id": raw.get("empty_token_id", 29871),
    }
    try:
        # Keys of a transformers configuration that say nothing about sizes are left out.
        config = msgspec.convert(sizes, OpenVLAConfig)
    except ValueError as e:
        raise TutorialError(f"{path}: {e}. Use the config.json that came with the weights.") from e
    _check_divisions(config, path)
    return config


def read_json(path: Path, content: str) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint; an error says that `content` was expected."""
    try:
        return msgspec.convert(json.loads(path.read_text()), dict[str, Any])
    except (OSError, ValueError) as e:
        raise TutorialError(
            f"{path} does not hold {content} ({e}). Expected a JSON object; download it again."
        ) from e


_REQUIRED = {"model_type": "openvla", "vision_backbone_id": "dinosiglip-vit-so-224px"}
_EXPECTED_IF_GIVEN = {
    "use_fused_vision_backbone": True,
    "arch_specifier": "no-align+fused-gelu-mlp",
    "text_config.hidden_act": "silu",
    "text_config.rope_scaling": None,
    "text_config.attention_bias": False,
    "text_config.tie_word_embeddings": False,
}


def _check_supported(raw: Mapping[str, Any], text: Mapping[str, Any], path: Path) -> None:
    given = {**_EXPECTED_IF_GIVEN, **raw, **{f"text_config.{key}": text[key] for key in text}}
    expected = _REQUIRED | _EXPECTED_IF_GIVEN
    if raw.get(VISION_KEY):
        # Our own sizes take the place of the named models'.
        del expected["vision_backbone_id"]
    for key, value in expected.items():
        if given.get(key) != value:
            raise TutorialError(
                f"{path}: {key} is {given.get(key)!r}, expected {value!r}. "
                "Only OpenVLA with DINOv2 + SigLIP and Llama-2 is supported."
            )


def _vision_sizes(raw: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    where = f"{path}: {VISION_KEY}"
    defaults = asdict(VisionConfig())
    sizes = _override(defaults, raw, where)
    for tower in ("dino", "siglip"):
        sizes[tower] = _override(defaults[tower], sizes[tower], f"{where}.{tower}")
    return sizes


def _override(sizes: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    unknown = sorted(set(given) - set(sizes))
    if unknown:
        raise TutorialError(
            f"{where} has unknown keys {unknown}; known: {', '.join(sizes)}. Correct the spelling."
        )
    return {**sizes, **given}


def _check_divisions(config: OpenVLAConfig, path: Path) -> None:
    llama = config.llama
    vision = config.vision
    heads = llama.num_attention_heads
    divisions = {
        "hidden_size by num_attention_heads": (llama.hidden_size, heads),
        "num_attention_heads by num_key_value_heads": (heads, llama.num_key_value_heads),
        "image_size by patch_size": (vision.image_size, vision.patch_size),
        "dino.dim by heads": (vision.dino.dim, vision.dino.heads),
        "siglip.dim by heads": (vision.siglip.dim, vision.siglip.heads),
    }
    for what, (a, b) in divisions.items():
        if b <= 0 or a % b:
            raise TutorialError(f"{path}: {what} must be a whole number; got {a} / {b}.")
