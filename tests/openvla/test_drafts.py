"""Tokens with drafts are those without, whatever the drafts; and drafts come from where they should."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from golden_folder import golden, model

from vla_tutorial.openvla.drafts import verify as drafted
from vla_tutorial.openvla.drafts.drafter import Captured, Drafter
from vla_tutorial.openvla.drafts.sources import SOURCES, Memory, Payoff
from vla_tutorial.openvla.drafts.verify import empty_state
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.pixels import pixel_values

CASES = {case["name"]: case for case in golden().json["cases"]}
VOCABULARY = golden().config.llama.vocab_size


@cache
def engine() -> Engine:
    return Engine(model())


def drafter(refine: bool = True) -> Drafter:
    return Drafter(model(), engine().runner, graphs=False, refine=refine, always=True)


@cache
def batch(names: tuple[str, ...]) -> tuple[torch.Tensor, list[list[int]], torch.Tensor]:
    """Pictures, prompts, and the tokens that greedy decoding chooses without drafts."""
    images = [pixel_values(golden().arrays[f"image.{CASES[name]['image']}"]) for name in names]
    pixels = torch.from_numpy(np.stack(images))
    prompts = [golden().prompt(name) for name in names]
    return pixels, prompts, engine().generate(pixels, prompts, 7)


def drafts_of(kind: str, tokens: torch.Tensor) -> torch.Tensor:
    """Adversarial and friendly guesses of tokens (N, 7)."""
    generator = torch.Generator().manual_seed(len(kind))
    if kind == "right":
        return tokens.clone()
    if kind == "wrong":
        return (tokens + 1) % VOCABULARY
    drawn = torch.randint(0, VOCABULARY, tokens.shape, generator=generator)
    if kind == "random":
        return drawn
    kept = torch.rand(tokens.shape, generator=generator) < 0.6
    return torch.where(kept, tokens, drawn)


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_golden_case_with_any_draft(case: str, refine: bool) -> None:
    pixels, prompts, tokens = batch((case,))
    for kind in ("right", "wrong", "random", "partly"):
        one = drafter(refine)
        assert torch.equal(one.verify(pixels, prompts, drafts_of(kind, tokens)), tokens), kind
        assert one.tally.passes <= 6
        if kind == "right":
            assert one.tally.passes == 0
        if kind == "wrong" and not refine:
            assert one.tally.passes == 6


@pytest.mark.parametrize("refine", [True, False])
def test_rows_of_a_batch_accept_each_on_its_own(refine: bool) -> None:
    pixels, prompts, tokens = batch(tuple(CASES))
    kinds = ["right", "wrong", "random", "partly"]
    rows = [drafts_of(kinds[i % 4], tokens[i : i + 1]) for i in range(len(tokens))]
    assert torch.equal(drafter(refine).verify(pixels, prompts, torch.cat(rows)), tokens)


@pytest.mark.parametrize("wrong", range(7))
def test_without_refining_each_wrong_token_costs_one_pass(wrong: int) -> None:
    """But the last, which nothing follows."""
    pixels, prompts, tokens = batch(tuple(CASES)[:1])
    draft = tokens.clone()
    draft[0, wrong] += 1
    one = drafter(refine=False)
    assert torch.equal(one.verify(pixels, prompts, draft), tokens)
    assert one.tally.passes == (wrong < 6)
    assert sum(one.tally.right) == 6


def test_chained_steps_take_their_drafts_from_the_memory() -> None:
    """Pictures that change a little, two arms in one batch, in changing order."""
    with_drafts = Engine(model(), drafts=True)
    assert with_drafts.drafter is not None
    with_drafts.drafter.always = True
    pixels, prompts, _ = batch(tuple(CASES)[:2])
    generator = torch.Generator().manual_seed(0)
    for step in range(8):
        order = torch.tensor([step % 2, 1 - step % 2])
        shown = pixels[order] + 0.02 * torch.randn(pixels.shape, generator=generator)
        asked = [prompts[i] for i in order.tolist()]
        expected = engine().generate(shown, asked, 7)
        assert torch.equal(with_drafts.generate(shown, asked, 7), expected)
    # The first step has no draft.
    assert with_drafts.drafter.tally.batches == 7


class StandIn(Drafter):
    """Where graphs would replay fixed kernels on fixed buffers, this runs them."""

    def _capture(self, rows: int, text: int, count: int, like: torch.Tensor) -> Captured:
        pixels = torch.zeros(rows, *like.shape[1:], dtype=like.dtype)
        ids = torch.zeros(rows, text, dtype=torch.int64)
        state = empty_state(rows, count, "cpu")
        common = (self._cache(rows, text), self.refine)
        begin: Any = SimpleNamespace(
            replay=lambda: drafted.start(self.model, self.runner, pixels, ids, state, *common)
        )
        one_pass: Any = SimpleNamespace(replay=lambda: drafted.step(self.runner, state, *common))
        return Captured(begin, one_pass, pixels, ids, state)


def test_buffers_of_graphs_hold_smaller_batches_and_other_prompts() -> None:
    names = tuple(CASES)
    fixed = StandIn(model(), engine().runner, graphs=True, always=True)
    for part in (names[:3], names[3:4], names[1:3], names[:4]):
        pixels, prompts, tokens = batch(part)
        for kind in ("partly", "right", "wrong"):
            drafts = drafts_of(kind, tokens)
            # Buckets round prompts and rows up; a filling row must never keep the passes going.
            before = fixed.tally.passes
            assert torch.equal(fixed.verify(pixels, prompts, drafts), tokens)
            if kind == "right":
                assert fixed.tally.passes == before


def test_memory_finds_the_same_arm_and_not_another_prompt() -> None:
    memory = Memory()
    pictures = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    prompts = [[1, 2], [1, 2]]
    assert memory.propose(pictures, prompts) == [None, None]
    memory.remember(pictures, prompts, torch.tensor([[10] * 7, [20] * 7]))
    found = memory.propose(pictures.flip(0), prompts)
    assert [list(one) for one in found if one is not None] == [[20] * 7, [10] * 7]
    assert memory.propose(pictures[:1], [[1, 3]]) == [None]
    # A picture of another form is no neighbour.
    assert memory.propose(torch.zeros(1, 6, 224, 224), [[1, 2]]) == [None]


def test_memory_is_bounded() -> None:
    memory = Memory()
    picture = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    for i in range(700):
        memory.remember(picture, [[1, i % 100]], torch.full((1, 7), i))
    assert len(memory._pasts) <= 64
    for _ in range(600):
        memory.remember(picture, [[1, 99]], torch.zeros(1, 7, dtype=torch.int64))
    assert len(memory._pasts[1, 99]) == 512


def test_sources() -> None:
    history = np.array([[10, 0], [12, 1], [10, 0], [11, 1], [10, 1]])
    assert SOURCES["previous"](history).tolist() == [10, 1]
    assert SOURCES["mean_motion"](history).tolist() == [11, 1]
    assert SOURCES["extrapolated"](history).tolist() == [9, 1]
    # Nearest to [10, 1] is [10, 0] or [11, 1], each one bin off; the later one was followed by this.
    assert SOURCES["followed"](history).tolist() == [10, 1]
    for source in SOURCES.values():
        assert source(history[:1]).tolist() == [10, 0]


@pytest.mark.parametrize("drafted_is_faster", [True, False])
def test_the_faster_way_is_taken_and_the_other_tried_again(drafted_is_faster: bool) -> None:
    payoff = Payoff()
    taken = []
    for _ in range(1000):
        way = payoff.choose()
        taken.append(way)
        payoff.add(way, 1.0 if way == drafted_is_faster else 2.0)
    assert payoff.pays() == drafted_is_faster
    assert 0.97 < np.mean(np.array(taken[16:]) == drafted_is_faster) < 1


def test_drafts_are_off_for_small_models_and_on_a_cpu() -> None:
    assert engine().drafter is None
    assert engine().provenance["drafts"] == "none"
