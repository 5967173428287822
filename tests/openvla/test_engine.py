"""The engine's bookkeeping for CUDA graphs, with a stand-in for the graph; the kernels are in test_kernels.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from golden_folder import FOLDER, golden, model

from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.cpu import pack_weight
from vla_tutorial.openvla.engine import ROWS, TEXT_STEP, Captured, Engine, working_bytes
from vla_tutorial.openvla.model import normalise, round_up
from vla_tutorial.pixels import pixel_values


class StandIn(Engine):
    """Where a graph would replay fixed kernels on fixed buffers, this runs them."""

    def __init__(self) -> None:
        super().__init__(model(), graphs=True)
        self.asked: list[tuple[int, int]] = []

    def capture(self, rows: int, text: int, count: int, like: torch.Tensor) -> Captured:
        self.asked.append((rows, text))
        if (rows, text, count) not in self.captured:
            pixels, tokens = (
                torch.zeros(rows, *like.shape[1:], dtype=like.dtype),
                torch.zeros(rows, count, dtype=torch.int64),
            )
            ids, lengths = torch.zeros(rows, text, dtype=torch.int64), torch.full((rows,), text)
            graph: Any = SimpleNamespace(
                replay=lambda: tokens.copy_(self.act(pixels, ids, lengths, count))
            )
            self.captured[rows, text, count] = Captured(graph, pixels, ids, lengths, tokens)
        return self.captured[rows, text, count]


def batch(rows: int) -> tuple[torch.Tensor, list[list[int]]]:
    names = [case["name"] for case in golden().json["cases"]]
    prompts = [golden().prompt(names[i % len(names)]) for i in range(rows)]
    return torch.randint(
        0,
        256,
        (rows, 224, 224, 3),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(rows),
    ), prompts


def test_buckets_do_not_change_tokens() -> None:
    """Padded rows and padded prompts, and a buffer that still holds the rows of a larger batch before."""
    engine = StandIn()
    for rows, bucket in ((3, 4), (2, 4), (1, 1)):
        pixels, prompts = batch(rows)
        torch.testing.assert_close(
            engine.generate(pixels, prompts, 7), model().generate(pixels, prompts, 7)
        )
        longest = max(map(len, prompts))
        assert engine.asked[-1] == (bucket, round_up(longest, TEXT_STEP))


def test_a_batch_beyond_the_largest_bucket_runs_in_parts() -> None:
    engine = Engine(model())
    pixels, prompts = batch(ROWS[-1] + 2)
    together = engine.generate(pixels, prompts, 3)
    assert together.shape == (ROWS[-1] + 2, 3)
    torch.testing.assert_close(together[-2:], model().generate(pixels[-2:], prompts[-2:], 3))


def test_it_says_why_it_does_not_use_kernels_and_graphs() -> None:
    engine = Engine(model())
    assert "need a CUDA GPU" in engine.provenance["kernels"]
    assert engine.provenance["graphs"] == "none: cpu is no CUDA device"


def test_memory_estimate_grows_with_the_batch() -> None:
    assert working_bytes(model(), 8, 32) == 8 * working_bytes(model(), 1, 32) > 0


def test_pictures_are_normalised_on_the_device_to_the_same_values() -> None:
    pictures, _ = batch(2)
    expected = np.stack([pixel_values(p) for p in pictures.numpy()])
    assert np.array_equal(normalise(pictures).numpy(), expected)


def test_packed_products_equal_plain_ones() -> None:
    weight, bias = torch.randn(24, 16), torch.randn(24)
    for rows in (1, 4, 5, 50):
        x = torch.randn(2, rows, 16)
        torch.testing.assert_close(
            pack_weight(weight, bias)(x), torch.nn.functional.linear(x, weight, bias)
        )


def test_switched_off_means_plain_layers_that_follow_their_weights() -> None:
    plain = load_weights(FOLDER, golden().config, "cpu", torch.float32)
    engine = Engine(plain, kernels=False)
    assert "oneDNN" not in engine.provenance["kernels"]
    pixels, prompts = batch(2)
    before = engine.generate(pixels, prompts, 1)
    with torch.no_grad():
        plain.language_model.lm_head.weight.neg_()
    assert not torch.equal(before, engine.generate(pixels, prompts, 1))
