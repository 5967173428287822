"""Demonstrations and their pictures → tensors on one device, ready for `fit`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vla_tutorial.actions import VOCABULARY
from vla_tutorial.training.chunks import Episode
from vla_tutorial.training.fit import Samples
from vla_tutorial.training.mini import EMPTY
from vla_tutorial.wiring import OPENVLA_TEMPLATE

POSITION_MEAN = np.array([0.0, 0.0, 0.15, 0.0, 0.0, 0.05, 0.0, 0.25, 0.05, 0.04, 0.0], np.float32)
POSITION_SCALE = np.array([0.15, 0.2, 0.1, 0.15, 0.2, 0.1, 0.05, 0.05, 0.05, 0.03, 1.0], np.float32)
"""What the auxiliary head learns is (value − mean) / scale: hand, target and basket (metres), finger opening (metres), holding (0 or 1)."""


def prompt_ids(instructions: Sequence[str], tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Instructions in the trained template → ids (P, T) int64, padded on the right, and lengths (P,)."""
    empty = tokenizer.token_to_id(EMPTY)
    rows = [[*tokenizer.encode(OPENVLA_TEMPLATE.format(instruction=text)).ids, empty] for text in instructions]
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows]), torch.tensor([len(row) for row in rows])


def positions(episode: Episode) -> NDArray[np.float32]:
    """(T, 11) float32: what the auxiliary head learns, scaled."""
    columns = [episode.eef_pos, episode.target_pos, episode.basket_pos, episode.opening, episode.holding[:, None]]
    return (np.concatenate(columns, 1, dtype=np.float32) - POSITION_MEAN) / POSITION_SCALE


def make_samples(
    episodes: Sequence[Episode], images: NDArray[np.uint8], tokenizer: Tokenizer, device: torch.device | str, instructions: Sequence[str]
) -> Samples:
    """Put everything on the device: 150 KB a sample, so 80 GB hold some 400,000.

    Args:
        episodes: in the order of `images`.
        images: (N, 224, 224, 3) uint8, memory-mapped or not.
        instructions: every instruction that occurs, once each.
    """
    held = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), 4096):
        held[start : start + 4096] = torch.from_numpy(np.ascontiguousarray(images[start : start + 4096])).to(device)
    number = {text: i for i, text in enumerate(instructions)}
    prompts, lengths = prompt_ids(instructions, tokenizer)
    prompt = np.concatenate([np.full(len(e), number[e.instruction]) for e in episodes])
    tokens = np.concatenate([VOCABULARY - 1 - e.bins.astype(np.int64) for e in episodes])
    return Samples(
        held,
        prompts.to(device),
        lengths.to(device),
        torch.from_numpy(prompt).to(device),
        torch.from_numpy(tokens).to(device),
        torch.from_numpy(np.concatenate([positions(e) for e in episodes])).to(device),
    )
