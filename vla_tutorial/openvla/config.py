"""config.json: the sizes of an OpenVLA model, every number of it checked.

What the sizes mean, and what openvla-7b's are, stands in `sizes.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vla_tutorial.actions import N_BINS, VOCABULARY
from vla_tutorial.decoding import decode, decode_object, read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.foreign import recognise_bytes, recognise_config
from vla_tutorial.openvla.sizes import (
    SIGLIP,
    Id,
    LlamaConfig,
    OpenVLAConfig,
    Padding,
    VisionConfig,
    ViTConfig,
)
from vla_tutorial.pixels import SIZE
from vla_tutorial.prompt import EMPTY_TOKEN

__all__ = [
    "SIGLIP",
    "VISION_KEY",
    "LlamaConfig",
    "OpenVLAConfig",
    "ViTConfig",
    "VisionConfig",
    "read_config",
    "read_json",
]

T = TypeVar("T")

MOST_BYTES = 2**20
"""Of a JSON file. The statistics of a data set take 2 kB, a tensor's name in an index 0.1 kB."""

VISION_KEY = "vision_config"
"""Our own key in config.json. Published checkpoints lack it: they name two timm models instead."""

_REMEDY = "Use the config.json that came with the weights."


class _Vocabulary(msgspec.Struct):
    """Keys of config.json beside the sizes of the two towers and of Llama."""

    pad_to_multiple_of: Padding = 64
    empty_token_id: Id = EMPTY_TOKEN


def read_config(path: Path) -> OpenVLAConfig:
    """Read a config.json in the published layout (or with our `vision_config` in it).

    Raises:
        TutorialError: the file is not what it should be; a number has another type or lies out of
            bounds; numbers do not fit each other; the model is no OpenVLA, or needs arithmetic
            which ours lacks. The text names the file, the key and its value.
    """
    raw = read_json(path)
    stranger = recognise_config(raw)
    if stranger:
        raise TutorialError(f"{path}: {stranger}")
    text = _object(raw, "text_config", str(path))
    vision = _object(raw, VISION_KEY, str(path))
    _check_supported(raw, text, path)
    llama = {key: value for key, value in text.items() if value is not None}
    llama |= _read_rope(text, f"{path}: text_config")
    own = {key: raw[key] for key in _Vocabulary.__struct_fields__ if key in raw}
    vocabulary = _typed(own, _Vocabulary, str(path))
    config = OpenVLAConfig(
        _typed(_vision_sizes(vision, path), VisionConfig, f"{path}: {VISION_KEY}"),
        # Keys of a transformers configuration that say nothing about sizes are left out.
        _typed(llama, LlamaConfig, f"{path}: text_config"),
        vocabulary.pad_to_multiple_of,
        vocabulary.empty_token_id,
    )
    _check_relations(config, text, path)
    _check_vocabulary(config, path)
    return config


def read_json(path: Path, remedy: str = "Download it again.") -> dict[str, Any]:
    """The object in a JSON file of a checkpoint.

    Raises:
        TutorialError: as `decoding.read_object`; and for a pointer to the file, or a web page, that
            was saved in its place. The text ends with `remedy`.
    """
    # An editor of Windows may have put a mark of UTF-8 in front.
    content = read_bytes(path, remedy, MOST_BYTES).removeprefix(b"\xef\xbb\xbf")
    stranger = recognise_bytes(content[:512])
    if stranger:
        raise TutorialError(f"{path} holds no JSON. {stranger}")
    return decode_object(content, dict[str, Any], str(path), remedy)


def _typed(value: Any, kind: type[T], where: str) -> T:
    return decode(json.dumps(value).encode(), kind, where, _REMEDY)


def _object(raw: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """The object under `key`; an empty one where it is missing or null."""
    found = raw.get(key)
    return {} if found is None else _typed(found, dict[str, Any], f"{where}: {key}")


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


def _check_supported(raw: Mapping[str, Any], text: Mapping[str, Any], path: Path) -> None:
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


def _read_rope(text: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`rope_theta`, which transformers 5 saves in `rope_parameters`. Scaled angles are an error."""
    found: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        given = _object(text, key, where)
        settings = {name: value for name, value in given.items() if value is not None}
        theta = settings.pop("rope_theta", None)
        # `type` is the older name.
        unscaled = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1}
        for name, value in settings.items():
            if value != unscaled.get(name):
                raise TutorialError(
                    f"{where}.{key}.{name} is {value!r:.80}, expected rope_type 'default' and "
                    "rope_theta alone. Only Llama-2's rotary angles, unscaled, are supported."
                )
        if theta is None:
            continue
        known = found.get("rope_theta", text.get("rope_theta"))
        if known is not None and known != theta:
            both = f"rope_theta is {known!r:.80} and {key}.rope_theta {theta!r:.80}"
            raise TutorialError(f"{where}: {both}; expected the same number. {_REMEDY}")
        found["rope_theta"] = theta
    return found


def _vision_sizes(raw: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    where = f"{path}: {VISION_KEY}"
    defaults = asdict(VisionConfig())
    sizes = _override(defaults, raw, where)
    for tower in ("dino", "siglip"):
        given = _typed(sizes[tower], dict[str, Any], f"{where}.{tower}")
        sizes[tower] = _override(defaults[tower], given, f"{where}.{tower}")
    return sizes


def _override(sizes: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    unknown = sorted(set(given) - set(sizes))
    if unknown:
        raise TutorialError(
            f"{where} has unknown keys {unknown!r:.200}; known: {', '.join(sizes)}. "
            "Correct the spelling."
        )
    return {**sizes, **given}


def _check_relations(config: OpenVLAConfig, text: Mapping[str, Any], path: Path) -> None:
    llama = config.llama
    vision = config.vision
    heads = llama.num_attention_heads
    kv_heads = llama.num_key_value_heads
    divisions = {
        "text_config.hidden_size by num_attention_heads": (llama.hidden_size, heads),
        "text_config.num_attention_heads by num_key_value_heads": (heads, kv_heads),
        f"{VISION_KEY}.image_size by patch_size": (vision.image_size, vision.patch_size),
        f"the picture's width by {VISION_KEY}.image_size": (SIZE, vision.image_size),
        f"{VISION_KEY}.dino.dim by heads": (vision.dino.dim, vision.dino.heads),
        f"{VISION_KEY}.siglip.dim by heads": (vision.siglip.dim, vision.siglip.heads),
    }
    for what, (a, b) in divisions.items():
        if a % b:
            raise TutorialError(f"{path}: {what} must be a whole number; got {a} / {b}. {_REMEDY}")
    if llama.head_dim % 2 or text.get("head_dim") not in (None, llama.head_dim):
        given = text.get("head_dim", llama.head_dim)
        expected = f"hidden_size / num_attention_heads = {llama.head_dim}, an even number"
        raise TutorialError(f"{path}: text_config.head_dim is {given!r:.80}, expected {expected}.")
    for name, tower in (("dino", vision.dino), ("siglip", vision.siglip)):
        if not -tower.depth <= tower.output_block < tower.depth:
            raise TutorialError(
                f"{path}: {VISION_KEY}.{name}.output_block is {tower.output_block}, expected "
                f"{-tower.depth} … {tower.depth - 1} for a depth of {tower.depth}. {_REMEDY}"
            )
    if llama.max_position_embeddings <= vision.patches:
        raise TutorialError(
            f"{path}: text_config.max_position_embeddings is {llama.max_position_embeddings}, "
            f"expected more than the image's {vision.patches} patches. {_REMEDY}"
        )


def _check_vocabulary(config: OpenVLAConfig, path: Path) -> None:
    """The bins are the last ids before the padding, so a wrong padding moves every action."""
    size = config.llama.vocab_size
    where = f"{path}: pad_to_multiple_of is {config.padding}"
    if config.empty_token_id == EMPTY_TOKEN:
        # Llama-2's own ids: there is only one right number.
        if config.vocabulary != VOCABULARY:
            right = f"{size - VOCABULARY}" if size >= VOCABULARY else "a larger vocabulary"
            raise TutorialError(
                f"{where}, expected {right}: of text_config.vocab_size {size} ids the first "
                f"{VOCABULARY} are Llama-2's, the last {N_BINS} of these are the bins, and all "
                f"others are padding. {_REMEDY}"
            )
    elif not 0 < config.padding < size - N_BINS:
        raise TutorialError(
            f"{where}, expected 1 … {size - N_BINS - 1}: of text_config.vocab_size {size} ids, "
            f"{N_BINS} are bins and the last ones padding. {_REMEDY}"
        )
    ids = {
        "empty_token_id": config.empty_token_id,
        "text_config.bos_token_id": config.llama.bos_token_id,
        "text_config.eos_token_id": config.llama.eos_token_id,
    }
    for key, found in ids.items():
        if found >= config.vocabulary:
            raise TutorialError(
                f"{path}: {key} is {found}, expected less than the vocabulary's "
                f"{config.vocabulary}. {_REMEDY}"
            )
