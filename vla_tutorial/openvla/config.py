"""The sizes of an OpenVLA model: one frozen configuration for openvla-7b, for shrunk reference checkpoints and for `mini`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from vla_tutorial.errors import TutorialError

VISION_KEY = "vision_config"
"""Our own key in config.json. Published checkpoints lack it: their vision sizes are those of the two timm models that they name."""

T = TypeVar("T")


@dataclass(frozen=True)
class ViTConfig:
    """One vision transformer; the defaults are DINOv2 ViT-L/14 with registers (timm `vit_large_patch14_reg4_dinov2`).

    Attributes:
        dim, depth, heads, mlp_hidden: width, number of blocks, attention heads, hidden width of the MLP.
        layer_scale: whether each residual branch has a learned factor a channel.
        class_token: whether one learned token goes in front.
        registers: how many further learned tokens stand between it and the patches.
        attention_pool: whether the file carries a pooling head (never used by OpenVLA).
        output_block: whose output is the feature; OpenVLA takes the last but one, so the last block and the final norm are unused.
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
    """The fused tower: two transformers over the same patches. Sizes in pixels; images are square."""

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
    """The language model. `text_config` in config.json is a diff against these defaults, which are Llama-2-7B's (transformers 4.40)."""

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
        if not self.num_key_value_heads:  # absent means one a query head
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)

    @property
    def head_dim(self) -> int:
        """Channels an attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class OpenVLAConfig:
    """Everything that the shapes and the arithmetic of an OpenVLA model depend on.

    Attributes:
        padding: rows at the end of the vocabulary that no token uses (config.json `pad_to_multiple_of`); the 256 ids before them are the bins.
        empty_token_id: what stands for the empty token 29871 in a smaller vocabulary of our own.
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    llama: LlamaConfig = field(default_factory=lambda: LlamaConfig(vocab_size=32064))
    padding: int = 64
    empty_token_id: int = 29871

    @property
    def vocabulary(self) -> int:
        """Ids without the padding rows: 32000 for openvla-7b; action bin b has the id vocabulary − 1 − b."""
        return self.llama.vocab_size - self.padding

    def with_vision_sizes(
        self, sizes: Sequence[Mapping[str, Any]], mlp_hidden: Sequence[int] | None = None
    ) -> OpenVLAConfig:
        """The same with shrunk transformers (DINO, SigLIP): the reference checkpoints in the tests carry these sizes beside config.json."""
        vits = []
        for i, (vit, size) in enumerate(
            zip((self.vision.dino, self.vision.siglip), sizes, strict=True)
        ):
            hidden = (
                mlp_hidden[i] if mlp_hidden else int(size["embed_dim"] * vit.mlp_hidden / vit.dim)
            )
            vits.append(
                replace(
                    vit,
                    dim=size["embed_dim"],
                    depth=size["depth"],
                    heads=size["num_heads"],
                    mlp_hidden=hidden,
                )
            )
        return replace(self, vision=replace(self.vision, dino=vits[0], siglip=vits[1]))


def read_config(path: Path) -> OpenVLAConfig:
    """Read a config.json in the published layout (or with our `vision_config` beside it).

    Raises:
        TutorialError: not JSON, not an OpenVLA configuration, or one that needs arithmetic which this model does not have.
    """
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise TutorialError(
            f"{path} cannot be read as JSON ({e}). Expected the config.json of an OpenVLA checkpoint; download it again."
        ) from e
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], source: str = "config.json") -> OpenVLAConfig:
    """`read_config` for JSON that is already parsed; `source` names it in errors."""
    text, ours = raw.get("text_config") or {}, raw.get(VISION_KEY)
    wanted = [
        ("model_type", raw.get("model_type"), "openvla"),
        ("use_fused_vision_backbone", raw.get("use_fused_vision_backbone", True), True),
        (
            "arch_specifier",
            raw.get("arch_specifier", "no-align+fused-gelu-mlp"),
            "no-align+fused-gelu-mlp",
        ),
        (
            "vision_backbone_id",
            None if ours else raw.get("vision_backbone_id"),
            None if ours else "dinosiglip-vit-so-224px",
        ),
        ("text_config.hidden_act", text.get("hidden_act", "silu"), "silu"),
        ("text_config.rope_scaling", text.get("rope_scaling"), None),
        ("text_config.attention_bias", text.get("attention_bias", False), False),
        ("text_config.tie_word_embeddings", text.get("tie_word_embeddings", False), False),
    ]
    for key, value, expected in wanted:
        if value != expected:
            raise TutorialError(
                f"{source}: {key} is {value!r}, expected {expected!r}. Only OpenVLA with DINOv2 + SigLIP and Llama-2 is supported."
            )
    config = OpenVLAConfig(
        vision=_vision(ours, source) if ours else VisionConfig(),
        llama=_known(LlamaConfig, text),
        padding=raw.get("pad_to_multiple_of", 64),
        empty_token_id=raw.get("empty_token_id", 29871),
    )
    _check(config, source)
    return config


def _vision(raw: Mapping[str, Any], source: str) -> VisionConfig:
    _refuse_unknown(VisionConfig, raw, f"{source}: {VISION_KEY}")
    vits = {}
    for name, default in (("dino", ViTConfig()), ("siglip", SIGLIP)):
        _refuse_unknown(ViTConfig, raw.get(name, {}), f"{source}: {VISION_KEY}.{name}")
        vits[name] = replace(default, **raw.get(name, {}))
    return replace(VisionConfig(), **{**raw, **vits})


def _refuse_unknown(cls: type, raw: Mapping[str, Any], where: str) -> None:
    known = [f.name for f in fields(cls)]
    if unknown := sorted(set(raw) - set(known)):
        raise TutorialError(
            f"{where} has unknown keys {unknown}; known: {', '.join(known)}. Correct the spelling."
        )


def _known(cls: type[T], raw: Mapping[str, Any]) -> T:
    """An instance from the keys of `raw` that `cls` has; the rest of a transformers configuration says nothing about shapes or arithmetic."""
    return cls(**{f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None})  # type: ignore[arg-type]


def _check(config: OpenVLAConfig, source: str) -> None:
    llama, vision = config.llama, config.vision
    divisions = [
        ("hidden_size by num_attention_heads", llama.hidden_size, llama.num_attention_heads)
    ]
    divisions += [
        (
            "num_attention_heads by num_key_value_heads",
            llama.num_attention_heads,
            llama.num_key_value_heads,
        )
    ]
    divisions += [("image_size by patch_size", vision.image_size, vision.patch_size)]
    divisions += [
        (f"{n}.dim by heads", v.dim, v.heads)
        for n, v in (("dino", vision.dino), ("siglip", vision.siglip))
    ]
    for what, a, b in divisions:
        if b <= 0 or a % b:
            raise TutorialError(f"{source}: {what} must be a whole number; got {a} / {b}.")
