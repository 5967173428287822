"""A small checkpoint in the published layout, with a tokenizer and a vocabulary of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vla_tutorial.openvla.config import (
    VISION_KEY,
    LlamaConfig,
    OpenVLAConfig,
    VisionConfig,
    ViTConfig,
)
from vla_tutorial.openvla.model import OpenVLA

VIT = ViTConfig(16, 2, 2, 32, registers=1)
CONFIG = OpenVLAConfig(
    VisionConfig(112, 28, VIT, VIT),
    LlamaConfig(32, 48, 2, 4, 2, vocab_size=400),
    padding=64,
    empty_token_id=3,
)
"""Everything differs from openvla-7b: picture and patch size, widths, depths, vocabulary, grouped key and value heads."""

WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    "<empty>",
    "In",
    ":",
    "What",
    "action",
    "should",
    "the",
    "robot",
    "take",
    "to",
    "?",
    "Out",
    "pick",
    "up",
    "soup",
    "a",
]


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"

FIRST, GONE = "language_model.lm_head.weight", "projector.fc1.bias"
"""Two tensors of the first shard."""


def statistics(key: str) -> dict[str, Any]:
    return {key: {"action": {"q01": [-1.0] * 5, "q99": [1.0] * 5}}}


def write_checkpoint(folder: Path) -> None:
    """A whole checkpoint with two shards and random weights."""
    torch.manual_seed(0)
    state = OpenVLA(CONFIG).state_dict()
    first = [name for name in state if not name.startswith("vision")]
    shards = dict(zip(SHARDS, (first, sorted(set(state) - set(first))), strict=True))
    for file, part in shards.items():
        save_file({name: state[name].contiguous() for name in part}, folder / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    write_json(folder / INDEX, {"metadata": {}, "weight_map": weight_map})
    config = {
        "model_type": "openvla",
        "pad_to_multiple_of": 64,
        "empty_token_id": 3,
        VISION_KEY: asdict(CONFIG.vision),
        "text_config": asdict(CONFIG.llama),
        "norm_stats": statistics("unused"),
    }
    write_json(folder / "config.json", config)
    write_json(folder / "dataset_statistics.json", statistics("libero_object_no_noops"))
    write_tokenizer(folder)


def write_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    """One id a word, BOS in front."""
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Replace the value in a file by what `change` returns, or by itself, changed in place."""
    value = json.loads(path.read_text())
    changed = change(value)
    write_json(path, value if changed is None else changed)


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of the first shard."""
    path = folder / SHARDS[0]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def join_shards(folder: Path, rename: Callable[[str], str]) -> None:
    """Put all tensors into model.safetensors under other names, and delete shards and index."""
    tensors: dict[str, torch.Tensor] = {}
    for name in SHARDS:
        tensors |= load_file(folder / name)
        (folder / name).unlink()
    (folder / INDEX).unlink()
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors")
