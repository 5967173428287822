"""Reading a folder of reference vectors (tests/data/tiny_openvla, or the one that the environment variable VLA_GOLDEN names)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.config import OpenVLAConfig, ViTConfig, read_config
from vla_tutorial.openvla.model import OpenVLA

DATA = Path(__file__).parent / "data"
FOLDER = Path(os.environ.get("VLA_GOLDEN", DATA / "tiny_openvla"))


@dataclass(frozen=True)
class Golden:
    """One folder: the checkpoint's configuration, the cases, and the arrays."""

    config: OpenVLAConfig
    json: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def prompt(self, case: str) -> list[int]:
        """The ids that the model gets: the tokeniser's, then 29871 where the published code appends it."""
        ids = [int(i) for i in self.arrays[f"case.{case}.input_ids"]]
        return ids if ids[-1] == 29871 else [*ids, 29871]


@cache
def golden() -> Golden:
    raw = json.loads((FOLDER / "golden.json").read_text())
    config = shrink_vision(
        read_config(FOLDER / "config.json"), raw["vision_override"], raw.get("vision_mlp_hidden")
    )
    with np.load(FOLDER / "golden.npz") as arrays:
        return Golden(config, raw, dict(arrays))


def shrink_vision(
    config: OpenVLAConfig, sizes: list[dict[str, Any]], mlp_hidden: list[int] | None
) -> OpenVLAConfig:
    """The same with the transformers' sizes (DINO, SigLIP) that the vectors carry beside config.json."""
    hidden = mlp_hidden or [None, None]
    vision = config.vision
    dino = shrink_vit(vision.dino, sizes[0], hidden[0])
    siglip = shrink_vit(vision.siglip, sizes[1], hidden[1])
    return replace(config, vision=replace(vision, dino=dino, siglip=siglip))


def shrink_vit(vit: ViTConfig, size: dict[str, Any], mlp_hidden: int | None) -> ViTConfig:
    dim = size["embed_dim"]
    hidden = mlp_hidden or int(dim * vit.mlp_hidden / vit.dim)
    return replace(vit, dim=dim, depth=size["depth"], heads=size["num_heads"], mlp_hidden=hidden)


@cache
def model() -> OpenVLA:
    return load_weights(FOLDER, golden().config, "cpu", torch.float32)
