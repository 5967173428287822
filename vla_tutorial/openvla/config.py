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

from vla_tutorial.decoding import decode, decode_object, read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.checks import (
    REMEDY,
    check_relations,
    check_supported,
    check_vocabulary,
)
from vla_tutorial.openvla.foreign import recognise_bytes, recognise_config
from vla_tutorial.openvla.sizes import (
    SIGLIP,
    VISION_KEY,
    Id,
    LlamaConfig,
    OpenVLAConfig,
    Padding,
    VisionConfig,
    ViTConfig,
)
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
    check_supported(raw, text, path)
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
    check_relations(config, text, path)
    check_vocabulary(config, path)
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
    return decode(json.dumps(value).encode(), kind, where, REMEDY)


def _object(raw: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """The object under `key`; an empty one where it is missing or null."""
    found = raw.get(key)
    return {} if found is None else _typed(found, dict[str, Any], f"{where}: {key}")


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
            raise TutorialError(f"{where}: {both}; expected the same number. {REMEDY}")
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
