"""The sizes of an OpenVLA model: one frozen configuration for every checkpoint.

It serves openvla-7b, the shrunk reference checkpoints and `mini`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from vla_tutorial.errors import TutorialError

VISION_KEY = "vision_config"
"""Our own key in config.json. Published checkpoints lack it.

Their vision sizes are those of the two timm models that they name.
"""

T = TypeVar("T")


@dataclass(frozen=True)
class ViTConfig:
    """One vision transformer.

    The defaults are DINOv2 ViT-L/14 with registers (timm `vit_large_patch14_reg4_dinov2`).

    Attributes:
        dim, depth, heads, mlp_hidden: width, blocks, attention heads, hidden width of the MLP.
        layer_scale: whether each residual branch has a learned factor a channel.
        class_token: whether one learned token goes in front.
        registers: how many further learned tokens stand between it and the patches.
        attention_pool: whether the file carries a pooling head (never used by OpenVLA).
        output_block: whose output is the feature. OpenVLA takes the last but one, so the last
            block and the final norm are unused.
    """

    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_hidden: int = 4096
    layer_scale: bool = True
    class_token: bool = True
    registers: int = 4
    attention_pool: bool = False
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
    1152, 27, 16, 4304, layer_scale=False, class_token=False, registers=0, attention_pool=True
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
    """Everything that the shapes and the arithmetic of an OpenVLA model depend on.

    Attributes:
        padding: rows at the end of the vocabulary that no token uses (`pad_to_multiple_of` in
            config.json). The 256 ids before them are the bins.
        empty_token_id: what stands for the empty token 29871 in a smaller vocabulary of our own.
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    llama: LlamaConfig = field(default_factory=lambda: LlamaConfig(vocab_size=32064))
    padding: int = 64
    empty_token_id: int = 29871

    @property
    def vocabulary(self) -> int:
        """Ids without the padding rows, 32000 for openvla-7b; bin b is vocabulary − 1 − b."""
        return self.llama.vocab_size - self.padding


def read_config(path: Path) -> OpenVLAConfig:
    """Read a config.json in the published layout (or with our `vision_config` in it).

    Raises:
        TutorialError: see `read_json` and `parse_config`.
    """
    return parse_config(read_json(path, "the config.json of an OpenVLA checkpoint"), str(path))


def read_json(path: Path, content: str) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint; `content` names it in errors.

    Raises:
        TutorialError: the file cannot be read, or holds something else.
    """
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise TutorialError(
            f"{path} cannot be read as JSON ({e}). Expected {content}; download it again."
        ) from e
    if not isinstance(raw, dict):
        raise TutorialError(
            f"{path} holds a {type(raw).__name__}. Expected {content}; download it again."
        )
    return raw


def parse_config(raw: Mapping[str, Any], source: str = "config.json") -> OpenVLAConfig:
    """`read_config` for JSON that is already parsed; `source` names it in errors.

    Raises:
        TutorialError: not an OpenVLA configuration, or one that needs arithmetic which this model
            does not have.
    """
    vision = raw.get(VISION_KEY)
    text = raw.get("text_config") or {}
    _check_supported(raw, source)
    config = OpenVLAConfig(
        vision=_parse_vision(vision, source) if vision else VisionConfig(),
        llama=_pick_known(LlamaConfig, text),
        padding=raw.get("pad_to_multiple_of", 64),
        empty_token_id=raw.get("empty_token_id", 29871),
    )
    _check_divisions(config, source)
    return config


_REQUIRED = {"model_type": "openvla"}
_REQUIRED_WITHOUT_OUR_VISION = {"vision_backbone_id": "dinosiglip-vit-so-224px"}
_EXPECTED_IF_GIVEN = {
    "use_fused_vision_backbone": True,
    "arch_specifier": "no-align+fused-gelu-mlp",
    "text_config.hidden_act": "silu",
    "text_config.rope_scaling": None,
    "text_config.attention_bias": False,
    "text_config.tie_word_embeddings": False,
}


def _check_supported(raw: Mapping[str, Any], source: str) -> None:
    text = raw.get("text_config") or {}
    given = {**raw, **{f"text_config.{key}": value for key, value in text.items()}}
    expected = _REQUIRED | {key: v for key, v in _EXPECTED_IF_GIVEN.items() if key in given}
    if not raw.get(VISION_KEY):
        expected |= _REQUIRED_WITHOUT_OUR_VISION
    for key, value in expected.items():
        if given.get(key) != value:
            raise TutorialError(
                f"{source}: {key} is {given.get(key)!r}, expected {value!r}. "
                "Only OpenVLA with DINOv2 + SigLIP and Llama-2 is supported."
            )


def _parse_vision(raw: Mapping[str, Any], source: str) -> VisionConfig:
    where = f"{source}: {VISION_KEY}"
    _refuse_unknown(VisionConfig, raw, where)
    changes = dict(raw)
    for name, default in (("dino", ViTConfig()), ("siglip", SIGLIP)):
        sizes = raw.get(name, {})
        _refuse_unknown(ViTConfig, sizes, f"{where}.{name}")
        changes[name] = replace(default, **sizes)
    return replace(VisionConfig(), **changes)


def _refuse_unknown(cls: type, raw: Mapping[str, Any], where: str) -> None:
    known = [f.name for f in fields(cls)]
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise TutorialError(
            f"{where} has unknown keys {unknown}; known: {', '.join(known)}. Correct the spelling."
        )


def _pick_known(cls: type[T], raw: Mapping[str, Any]) -> T:
    """An instance from the keys of `raw` that `cls` has.

    The rest of a transformers configuration says nothing about shapes or arithmetic.
    """
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: raw[name] for name in names if raw.get(name) is not None})


def _check_divisions(config: OpenVLAConfig, source: str) -> None:
    llama = config.llama
    vision = config.vision
    heads = llama.num_attention_heads
    kv_heads = llama.num_key_value_heads
    divisions = {
        "hidden_size by num_attention_heads": (llama.hidden_size, heads),
        "num_attention_heads by num_key_value_heads": (heads, kv_heads),
        "image_size by patch_size": (vision.image_size, vision.patch_size),
        "dino.dim by heads": (vision.dino.dim, vision.dino.heads),
        "siglip.dim by heads": (vision.siglip.dim, vision.siglip.heads),
    }
    for what, (a, b) in divisions.items():
        if b <= 0 or a % b:
            raise TutorialError(f"{source}: {what} must be a whole number; got {a} / {b}.")
