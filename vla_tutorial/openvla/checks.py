"""That a checkpoint's settings are those of a model which this package runs, and fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_tutorial.actions import N_BINS, VOCABULARY
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.sizes import VISION_KEY, OpenVLAConfig
from vla_tutorial.pixels import DINO_MEAN, DINO_STD, SIGLIP_MEAN, SIGLIP_STD, SIZE
from vla_tutorial.prompt import EMPTY_TOKEN

REMEDY = "Use the config.json that came with the weights."

_REQUIRED = {"model_type": "openvla", "vision_backbone_id": "dinosiglip-vit-so-224px"}
_EXPECTED_IF_GIVEN = {
    "use_fused_vision_backbone": True,
    "arch_specifier": "no-align+fused-gelu-mlp",
    "image_resize_strategy": "resize-naive",
    "n_action_bins": N_BINS,
    "tie_word_embeddings": False,
    "text_config.model_type": "llama",
    "text_config.hidden_act": "silu",
    "text_config.attention_bias": False,
    "text_config.mlp_bias": False,
    "text_config.partial_rotary_factor": 1,
    "text_config.tie_word_embeddings": False,
}
# What our own sizes take the place of. Another timm model may have the same shapes.
_NAMED_TOWERS = {
    "image_sizes": [SIZE, SIZE],
    "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
    "timm_override_act_layers": [None, None],
}


def check_supported(raw: Mapping[str, Any], text: Mapping[str, Any], path: Path) -> None:
    """Raise a TutorialError for another model, or arithmetic which ours lacks.

    `raw` is what config.json holds, `text` its `text_config`.
    """
    given = {**raw, **{f"text_config.{key}": value for key, value in text.items()}}
    required = dict(_REQUIRED)
    if_given: dict[str, Any] = _EXPECTED_IF_GIVEN | _NAMED_TOWERS
    if raw.get(VISION_KEY):
        del required["vision_backbone_id"]
        if_given = _EXPECTED_IF_GIVEN
    expected = required | {key: if_given[key] for key in if_given if given.get(key) is not None}
    for key, value in expected.items():
        if given.get(key) != value:
            raise TutorialError(
                f"{path}: {key} is {given.get(key)!r:.80}, expected {value!r}. "
                "Only OpenVLA with DINOv2 + SigLIP and Llama-2 is supported."
            )


def check_relations(config: OpenVLAConfig, text: Mapping[str, Any], path: Path) -> None:
    """Raise a TutorialError for sizes of which each is possible, but not all together."""
    llama = config.llama
    vision = config.vision
    heads = llama.num_attention_heads
    divisions = {
        "text_config.hidden_size by num_attention_heads": (llama.hidden_size, heads),
        "text_config.num_attention_heads by num_key_value_heads": (
            heads,
            llama.num_key_value_heads,
        ),
        f"{VISION_KEY}.image_size by patch_size": (vision.image_size, vision.patch_size),
        f"the picture's width by {VISION_KEY}.image_size": (SIZE, vision.image_size),
        f"{VISION_KEY}.dino.dim by heads": (vision.dino.dim, vision.dino.heads),
        f"{VISION_KEY}.siglip.dim by heads": (vision.siglip.dim, vision.siglip.heads),
    }
    for what, (a, b) in divisions.items():
        if a % b:
            raise TutorialError(f"{path}: {what} must be a whole number; got {a} / {b}. {REMEDY}")
    if llama.head_dim % 2 or text.get("head_dim") not in (None, llama.head_dim):
        given = text.get("head_dim", llama.head_dim)
        expected = f"hidden_size / num_attention_heads = {llama.head_dim}, an even number"
        raise TutorialError(f"{path}: text_config.head_dim is {given!r:.80}, expected {expected}.")
    _check_blocks(config, path)


def _check_blocks(config: OpenVLAConfig, path: Path) -> None:
    """That the towers' features come from a block which exists, and have room in Llama."""
    vision = config.vision
    for name, tower in (("dino", vision.dino), ("siglip", vision.siglip)):
        if not -tower.depth <= tower.output_block < tower.depth:
            raise TutorialError(
                f"{path}: {VISION_KEY}.{name}.output_block is {tower.output_block}, expected "
                f"{-tower.depth} … {tower.depth - 1} for a depth of {tower.depth}. {REMEDY}"
            )
    positions = config.llama.max_position_embeddings
    if positions <= vision.patches:
        raise TutorialError(
            f"{path}: text_config.max_position_embeddings is {positions}, expected more than the "
            f"image's {vision.patches} patches. {REMEDY}"
        )


def check_vocabulary(config: OpenVLAConfig, path: Path) -> None:
    """Raise a TutorialError if bins, padding and special ids cannot be where config.json says.

    The bins are the last ids before the padding, so a wrong padding moves every action.
    """
    if config.empty_token_id == EMPTY_TOKEN:
        _check_llama_vocabulary(config, path)
    elif not 0 < config.padding < config.llama.vocab_size - N_BINS:
        size = config.llama.vocab_size
        raise TutorialError(
            f"{path}: pad_to_multiple_of is {config.padding}, expected 1 … {size - N_BINS - 1}: of "
            f"text_config.vocab_size {size} ids, {N_BINS} are bins and the last ones padding. "
            f"{REMEDY}"
        )
    ids = {
        "empty_token_id": config.empty_token_id,
        "text_config.bos_token_id": config.llama.bos_token_id,
        "text_config.eos_token_id": config.llama.eos_token_id,
    }
    for key, found in ids.items():
        if found >= config.vocabulary:
            limit = f"less than the vocabulary's {config.vocabulary}"
            raise TutorialError(f"{path}: {key} is {found}, expected {limit}. {REMEDY}")


def _check_llama_vocabulary(config: OpenVLAConfig, path: Path) -> None:
    """Where ids are Llama-2's own, there is only one right number of rows of padding."""
    size = config.llama.vocab_size
    if config.vocabulary == VOCABULARY:
        return
    right = f"{size - VOCABULARY}" if size >= VOCABULARY else "a larger vocabulary"
    raise TutorialError(
        f"{path}: pad_to_multiple_of is {config.padding}, expected {right}: of "
        f"text_config.vocab_size {size} ids the first {VOCABULARY} are Llama-2's, the last "
        f"{N_BINS} of these are the bins, and all others are padding. {REMEDY}"
    )


# Keys as openvla's PrismaticImageProcessor saves them; for DINOv2, then for SigLIP.
_PICTURES = {
    "image_resize_strategy": "resize-naive",
    "input_sizes": [[3, SIZE, SIZE], [3, SIZE, SIZE]],
    "interpolations": ["bicubic", "bicubic"],
    "means": [list(DINO_MEAN), list(SIGLIP_MEAN)],
    "stds": [list(DINO_STD), list(SIGLIP_STD)],
    "use_fused_vision_backbone": True,
}


def check_preprocessor(found: Mapping[str, Any], path: Path) -> None:
    """Compare preprocessor_config.json with what `pixels.pixel_values` does.

    Raises:
        TutorialError: pictures are to be prepared in another way. The policy would see pictures
            unlike those of its training.
    """
    for key, expected in _PICTURES.items():
        given = found.get(key)
        if given is not None and _rounded(given) != expected:
            raise TutorialError(
                f"{path}: {key} is {given!r:.120}, expected {expected!r}. Only OpenVLA's own "
                "preparation of pictures is supported."
            )


def _rounded(value: Any) -> Any:
    """Numbers to four digits: some tools save them as float32."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
