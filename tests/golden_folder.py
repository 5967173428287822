"""Reading a folder of reference vectors (tests/data/tiny_openvla, or the one that the environment variable VLA_GOLDEN names)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_tutorial.openvla.checkpoint import load_model
from vla_tutorial.openvla.config import OpenVLAConfig, read_config
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
    config = read_config(FOLDER / "config.json").with_vision_sizes(
        raw["vision_override"], raw.get("vision_mlp_hidden")
    )
    with np.load(FOLDER / "golden.npz") as arrays:
        return Golden(config, raw, dict(arrays))


@cache
def model() -> OpenVLA:
    return load_model(FOLDER, "cpu", torch.float32, config=golden().config)
