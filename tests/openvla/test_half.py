"""float16 and bfloat16 as GPUs without the one or the other take them, as far as a CPU can tell.

The eager path, and the engine without Triton, are what an Apple GPU runs. None was at hand.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_folder import FOLDER, golden

from vla_tutorial.openvla.bits.arithmetic import Kind
from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.engine import Engine, _obstacle
from vla_tutorial.openvla.model import OpenVLA

HALVES = [torch.float16, torch.bfloat16]


def load(dtype: torch.dtype, kind: Kind | None = None) -> OpenVLA:
    return load_weights(FOLDER, golden().config, "cpu", dtype, kind)


def inputs() -> tuple[torch.Tensor, list[list[int]]]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=generator)
    return pixels, [golden().prompt(case["name"]) for case in golden().json["cases"][:3]]


@pytest.mark.parametrize("kind", [None, "int8", "fp8", "int4"])
@pytest.mark.parametrize("dtype", HALVES)
def test_logits_are_those_of_float32_but_for_rounding(
    dtype: torch.dtype, kind: Kind | None
) -> None:
    """Half precision adds its own rounding to that of the weights, and nothing more."""
    exact = logits(load(torch.float32))
    few = logits(load(torch.float32, kind))
    half = logits(load(dtype, kind))
    assert half.isfinite().all()
    spread = float(exact.std())
    of_weights = rms(few - exact) / spread
    of_all = rms(half - exact) / spread
    assert 0 < of_all < 1.2 * of_weights + 10 * torch.finfo(dtype).eps


@torch.inference_mode()
def logits(model: OpenVLA) -> torch.Tensor:
    pixels, prompts = inputs()
    ids = torch.tensor([prompts[0]])
    return model.sequence_logits(model.embed_image(pixels[:1]), ids)[0].float()


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.square().mean().sqrt())


@pytest.mark.parametrize("kind", [None, "int8", "fp8"])
@pytest.mark.parametrize("dtype", HALVES)
def test_engine_and_drafts_run_in_half_precision(dtype: torch.dtype, kind: Kind | None) -> None:
    """The plain engine, as on an Apple GPU: its first token is the eager path's, or as good as it."""
    pixels, prompts = inputs()
    model = load(dtype, kind)
    eager = model.generate(pixels, prompts, 7)
    for drafts in (False, True):
        engine = Engine(model, kernels=False, drafts=drafts)
        for _ in range(2):
            found = engine.generate(pixels, prompts, 7)
            assert found.shape == eager.shape and found.dtype is torch.int64
        assert (found[:, 0] == eager[:, 0]).float().mean() >= 2 / 3


def test_another_gpu_gets_no_triton_kernels_and_says_so() -> None:
    model: Any = load(torch.float32)
    assert "need a CUDA GPU" in str(_obstacle(model))
    assert Engine(model).provenance["graphs"].startswith("none: cpu is no CUDA device")
