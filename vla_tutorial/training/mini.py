"""`mini` before training: OpenVLA's shape at a thousandth of its size, and its own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from vla_tutorial.actions import N_BINS
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import read_data
from vla_tutorial.openvla.config import (
    VISION_KEY,
    LlamaConfig,
    OpenVLAConfig,
    VisionConfig,
    ViTConfig,
)
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.wiring import OPENVLA_TEMPLATE

UNK = "<unk>"
BOS = "<s>"
EOS = "</s>"
EMPTY = "<empty>"
"""These have the first four ids. BOS and EOS are Llama's 1 and 2; EMPTY stands for its 29871."""

TEXT_VOCABULARY = 704
PADDING = 64
SHARD = 14 * 10**6
"""Bytes a shard at most: files in the repository stay under 15 MB."""

_DINO = ViTConfig(
    dim=192,
    depth=6,
    heads=3,
    mlp_hidden=768,
    registers=4,
    output_block=-1,
)
_SIGLIP = replace(_DINO, layer_scale=False, class_token=False, registers=0)

CONFIG = OpenVLAConfig(
    vision=VisionConfig(image_size=224, patch_size=16, dino=_DINO, siglip=_SIGLIP),
    llama=LlamaConfig(
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        vocab_size=TEXT_VOCABULARY + N_BINS + PADDING,
        max_position_embeddings=384,
    ),
    padding=PADDING,
    empty_token_id=3,
)
"""No larger than two CPU cores allow within 60 ms an action."""

_NARROW_DINO = replace(_DINO, depth=3)

NARROW = replace(
    CONFIG,
    vision=replace(
        CONFIG.vision,
        dino=_NARROW_DINO,
        siglip=replace(_SIGLIP, depth=3),
    ),
    llama=replace(CONFIG.llama, num_hidden_layers=2, intermediate_size=512),
)
"""The same shape for `mini-narrow`, half as large: 12 MB of weights."""

_RESIDUAL_OUTPUTS = ("attn.proj.weight", "fc2.weight", "o_proj.weight", "down_proj.weight")
"""Ends of the names of the output layers of residual branches."""

_WORD_ROWS = ("embed_tokens.weight", "lm_head.weight")
"""Ends of the names of the matrices that have a row for each word."""

_MAY_DIFFER = "The model may have more Llama layers and other words; all else must be equal."


def train_tokenizer(instructions: Sequence[str]) -> Tokenizer:
    """A byte-level BPE: the instructions' words become one id or few, anything else bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_VOCABULARY,
        special_tokens=[UNK, BOS, EOS, EMPTY],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [OPENVLA_TEMPLATE.format(instruction=text) for text in instructions]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, 1)]
    )
    return tokenizer


def initialise(model: OpenVLA, seed: int = 0) -> OpenVLA:
    """Draw fresh weights in place: normal, σ 0.02 as GPT-2 and Llama, less at residual outputs.

    Args:
        model: on the CPU.
        seed: the same one gives the same weights.

    Returns:
        The model itself.
    """
    generator = torch.Generator().manual_seed(seed)
    depth = model.config.llama.num_hidden_layers + model.config.vision.dino.depth
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "norm" not in name:
            std = 0.02
            if name.endswith(_RESIDUAL_OUTPUTS) and "projector" not in name:
                std /= (2 * depth) ** 0.5
            parameter.data.normal_(0, std, generator=generator)
        elif name.endswith("bias"):
            parameter.data.zero_()
    return model


def grow(model: OpenVLA, tokenizer: Tokenizer, smaller: OpenVLA, words: Tokenizer) -> OpenVLA:
    """Take over the weights of a model with fewer Llama layers or other words, in place.

    Further layers begin with outputs of zero, so that they change nothing at first. A word that
    both tokenizers have keeps its row; the bins' rows stay the last but the padding.

    Raises:
        TutorialError: the models differ in more than that, or `smaller` has more layers.
    """
    mine = model.state_dict()
    theirs = smaller.state_dict()
    if surplus := theirs.keys() - mine.keys():
        raise TutorialError(f"Cannot grow: the model has no {min(surplus)}. {_MAY_DIFFER}")
    other_words = tokenizer.get_vocab() != words.get_vocab()
    for name, tensor in mine.items():
        before = theirs.get(name)
        if before is None:
            if name.endswith(_RESIDUAL_OUTPUTS):
                tensor.zero_()
        elif other_words and name.endswith(_WORD_ROWS) and before.shape[1:] == tensor.shape[1:]:
            _take_rows(tensor, tokenizer, before, words)
        elif before.shape == tensor.shape:
            tensor.copy_(before)
        else:
            raise TutorialError(
                f"Cannot grow: {name} is {tuple(before.shape)} in the checkpoint and "
                f"{tuple(tensor.shape)} in the model. {_MAY_DIFFER}"
            )
    return model


def _take_rows(rows: Tensor, tokenizer: Tokenizer, theirs: Tensor, words: Tokenizer) -> None:
    known = words.get_vocab()
    for text, number in tokenizer.get_vocab().items():
        if text in known:
            rows[number] = theirs[known[text]]
    rows[-N_BINS - PADDING :] = theirs[-N_BINS - PADDING :]


def write_checkpoint(
    model: OpenVLA,
    tokenizer: Tokenizer,
    folder: Path,
    training: dict[str, Any],
    suites: Sequence[str],
) -> None:
    """Write a checkpoint in the published layout; config.json says `training` of its origin.

    It carries the action statistics of `suites`, whose scenes it learned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weight_map: dict[str, str] = {}
    for i, tensors in enumerate(_shards(model), 1):
        name = f"model-{i:05d}.safetensors"
        save_file(tensors, folder / name)
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    tokenizer.save(str(folder / "tokenizer.json"))
    known = read_data("norm_stats.json")
    statistics = {suite: known[suite] for suite in suites}
    (folder / "dataset_statistics.json").write_text(json.dumps(statistics, indent=1))
    config = {
        "model_type": "openvla",
        "pad_to_multiple_of": model.config.padding,
        "empty_token_id": model.config.empty_token_id,
        VISION_KEY: asdict(model.config.vision),
        "text_config": asdict(model.config.llama),
        "training": training,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def _shards(model: OpenVLA) -> list[dict[str, Any]]:
    """The weights as bfloat16 in parts of at most `SHARD` bytes."""
    shards: list[dict[str, Any]] = [{}]
    size = 0
    for name, parameter in model.state_dict().items():
        tensor = parameter.detach().to("cpu", torch.bfloat16).clone()
        if size + tensor.nbytes > SHARD:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards
