"""A model that is trained in a second, and made-up samples for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vla_tutorial.arrays import Floats
from vla_tutorial.openvla.config import LlamaConfig, OpenVLAConfig, VisionConfig, ViTConfig
from vla_tutorial.sim.builder import NO_FIXTURES
from vla_tutorial.training.chunks import LabelledEpisode, TaskKey
from vla_tutorial.training.labels import KEYPOINTS, POSITION_MEAN, Labels
from vla_tutorial.training.mini import CONFIG
from vla_tutorial.training.noise import Noise
from vla_tutorial.training.sentences import families
from vla_tutorial.training.trainer import TrainConfig

VIT = ViTConfig(dim=32, depth=2, heads=2, mlp_hidden=64, registers=0, output_block=-1)
SMALL = OpenVLAConfig(
    VisionConfig(224, 56, VIT, VIT),
    LlamaConfig(32, 64, 2, 2, vocab_size=CONFIG.llama.vocab_size, max_position_embeddings=128),
    CONFIG.padding,
    CONFIG.empty_token_id,
)
TRAIN = TrainConfig(steps=6, batch=4, warmup=2)


def published() -> list[str]:
    """The first sentence of every family."""
    return [sentences[0] for sentences in families()]


def labels(n: int, seed: int = 0) -> Labels:
    """Made-up labels for n pictures; every second one shows fine work."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.2, 1.2, (n, len(KEYPOINTS), 2)).astype(np.float32)
    points[:, 4] = np.nan
    return Labels(
        family=np.arange(n) % len(families()),
        wording=np.zeros(n, np.float32),
        bins=rng.integers(0, 256, (n, 7), np.uint8),
        positions=rng.normal(size=(n, len(POSITION_MEAN))).astype(np.float32),
        keypoints=points,
        fine=np.arange(n) % 2 == 1,
    )


def pictures(n: int, first: int = 0) -> Tensor:
    """(n, 224, 224, 3) uint8, each of one grey: `first`, `first` + 1 …"""
    greys = torch.arange(first, first + n, dtype=torch.uint8)
    return greys[:, None, None, None].expand(-1, 224, 224, 3)


def random_pictures(n: int) -> Tensor:
    """(n, 224, 224, 3) uint8."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 224, 224, 3), dtype=torch.uint8, generator=generator)


def weights(part: nn.Module) -> Tensor:
    """All parameters, one after another."""
    return torch.cat([p.flatten() for p in part.parameters()])


def strict(path: Path) -> list[dict[str, Any]]:
    """Lines of a JSONL file, without Python's NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def made_up_episode(
    key: TaskKey,
    instruction: str,
    poses: Sequence[Any] = ((0.0,) * 9,),
    fixtures: Floats = NO_FIXTURES,
) -> LabelledEpisode:
    """Of these positions (nq,); all else is random."""
    rng = np.random.default_rng(5)
    count = len(poses)
    points = rng.uniform(-0.3, 0.3, (3, count, 3)).astype(np.float32)
    return LabelledEpisode(
        suite=key[0],
        task=key[1],
        instruction=instruction,
        noise=Noise(scale=0.25, persistence=0.8, burst_rate=0.02, flip_rate=0.0),
        fixtures=fixtures,
        qpos=np.array(poses, np.float32),
        bins=rng.integers(0, 256, (count, 7)).astype(np.int16),
        executed=np.zeros((count, 7), np.float32),
        hand=points[0],
        thing=points[1],
        place=points[2],
        holding=rng.random(count) < 0.5,
    )
