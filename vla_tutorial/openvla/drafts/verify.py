"""Greedy decoding with a draft: verified in the prefill, and what is left in passes over all slots.

An action has D tokens. Its draft's first D − 1 stand behind the prompt in the prefill, one a
*slot*. The logits before and in the slots say what greedy decoding chooses after each, so the same
pass yields every token up to the first slot that differs. A pass then runs all slots again, with
what is known so far and a guess for the rest; each gives at least one more token. Shapes are
fixed, and rows of a batch accept each on its own, by masks. A draft that is right throughout costs
no pass at all, one that is wrong throughout D − 1 of them, as many as without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vla_tutorial.openvla.llama import Cache
from vla_tutorial.openvla.model import OpenVLA


class Verifier(Protocol):
    """What a runner offers for this (`cpu.PlainRunner`, `cuda.CudaRunner`)."""

    def prefill(self, x: Tensor, last: Tensor, cache: Cache) -> Tensor:
        """Embeddings (N, T, d), indices (N, D) → logits there (N, D, V); fills the cache."""

    def tune(self, rows: int) -> None:
        """Choose how to run products of this many rows."""

    def verify(self, tokens: Tensor, starts: Tensor, cache: Cache) -> Tensor:
        """Tokens (N, K) at positions starts + 0 … K − 1 → logits after each (N, K, V)."""


@dataclass(frozen=True)
class State:
    """An answer on its way. Tensors are written in place, so that a CUDA graph can hold them.

    Attributes:
        draft: (N, D) int64, the guess from outside.
        tokens: (N, D) int64: `known` of them as greedy decoding has them, then guesses.
        known: (N,) int64, how many are known.
        wanted: (N,) int64: D, and 0 for rows that only fill a batch up.
        starts: (N,) int64, the position of the first slot.
        done: () bool, whether every row has all that is wanted.
    """

    draft: Tensor
    tokens: Tensor
    known: Tensor
    wanted: Tensor
    starts: Tensor
    done: Tensor


def leading(right: Tensor) -> Tensor:
    """(N, K) bool → (N,) int64: how many are true before the first that is not."""
    return right.long().cumprod(1).sum(1)


def accept(state: State, inputs: Tensor, predicted: Tensor, refine: bool) -> None:
    """Take over what a pass has proved.

    Args:
        inputs: (N, D − 1), the tokens that were in the slots.
        predicted: (N, D): the greedy choice before the first slot, then after each.
        refine: whether the guesses for the rest are the pass's own choices; else the draft's. After
            a wrong token these are not what greedy decoding would choose, but often near it.
    """
    count = predicted.shape[1]
    index = torch.arange(count, device=predicted.device)
    right = (inputs == predicted[:, :-1]) | (index[:-1] < state.known[:, None])
    fresh = leading(right) + 1
    exact = torch.where(index < state.known[:, None], state.tokens, predicted)
    guess = predicted if refine else state.draft
    state.tokens.copy_(torch.where(index < fresh[:, None], exact, guess))
    state.known.copy_(fresh)
    state.done.copy_((fresh >= state.wanted).all())


def start(
    model: OpenVLA,
    runner: Verifier,
    pixels: Tensor,
    ids: Tensor,
    state: State,
    cache: Cache,
    refine: bool,
) -> None:
    """From pixels to the first known tokens, on the device, with no word from the host.

    Args:
        pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float32.
        ids: (N, T) int64: each prompt, the draft's first D − 1 tokens behind it, right-padded.
        state: with draft, wanted and starts; the rest is written.
        cache: with room for patches + T positions at least.
        refine: as in `accept`.
    """
    x = model.embed(model.embed_image(pixels), ids)
    count = state.draft.shape[1]
    last = state.starts[:, None] - 1 + torch.arange(count, device=ids.device)
    predicted = runner.prefill(x, last, cache).argmax(-1)
    # The first is the greedy choice after the prompt, whatever the draft.
    state.known.zero_()
    accept(state, state.draft[:, :-1], predicted, refine)


def step(runner: Verifier, state: State, cache: Cache, refine: bool) -> None:
    """One pass over all slots."""
    inputs = state.tokens[:, :-1]
    after = runner.verify(inputs, state.starts, cache).argmax(-1)
    predicted = torch.cat([state.tokens[:, :1], after], 1)
    accept(state, inputs, predicted, refine)


def finish(state: State, one_pass: Callable[[], None]) -> int:
    """Pass until every row is done, at most D − 1 times; how many passes that took.

    Between two passes the host looks at one byte. That takes some 20 µs against 5 ms of a pass of
    7B weights, and saves every pass that is not needed.
    """
    for passes in range(state.draft.shape[1]):
        if bool(state.done):
            return passes
        one_pass()
    raise AssertionError("A pass must yield a token a row.")


def empty_state(rows: int, count: int, device: torch.device | str) -> State:
    """Buffers for `rows` answers of `count` tokens, zeroed."""

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    return State(
        draft=zeros(rows, count),
        tokens=zeros(rows, count),
        known=zeros(rows),
        wanted=zeros(rows),
        starts=zeros(rows),
        done=torch.zeros((), dtype=torch.bool, device=device),
    )
