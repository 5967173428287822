"""Two ways to run one checkpoint compared on the same pictures: how often and how far they differ.

It says what the fast path changes against the eager reference, and what weights in few bits change
against full ones. It compares answers to given pictures; what a difference does to an episode, only
episodes say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor

from vla_tutorial.accept import judge
from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.pixels import resize_naive
from vla_tutorial.policies import PolicyInput
from vla_tutorial.policies.model import ModelPolicy

MOTION = 6
"""Tokens of an action that are motion; the last is the gripper."""


@dataclass(frozen=True)
class Answers:
    """What a policy says to N pictures.

    Attributes:
        tokens: (N, D) int64 ids.
        logits: (N, V) float32, of the first token, from the eager path.
    """

    tokens: Ints
    logits: Floats


class Difference(msgspec.Struct, frozen=True):
    """How far one way's answers are from another's.

    Attributes:
        tokens_equal, gripper_equal, actions_equal: shares, with their 95 % intervals in words.
        bins_mean, bins_most: bins between two motion tokens, over all of them.
        logit_rms, logit_most: between the logits of the first token.
        spread: standard deviation of the reference's logits, which the two above compare with.
    """

    pictures: int
    tokens_equal: float
    tokens_equal_in_words: str
    gripper_equal: float
    actions_equal: float
    actions_equal_in_words: str
    bins_mean: float
    bins_most: int
    logit_rms: float
    logit_most: float
    spread: float


def answers(policy: ModelPolicy, inputs: Sequence[PolicyInput]) -> Answers:
    """Tokens as the policy answers, one picture at a time, and the first token's logits."""
    tokens = np.concatenate([policy.predict([item]) for item in inputs])
    logits = [_first_logits(policy, item) for item in inputs]
    return Answers(tokens, torch.stack(logits).numpy())


@torch.inference_mode()
def _first_logits(policy: ModelPolicy, item: PolicyInput) -> Tensor:
    model = policy.model
    image = model.embed_image(pixels_of([item]).to(model.device))
    ids = torch.tensor([policy.ids(item.prompt)], device=model.device)
    return model.sequence_logits(image, ids)[0, -1].float().cpu()


def pixels_of(inputs: Sequence[PolicyInput]) -> Tensor:
    """Their pictures (N, 224, 224, 3) uint8, as the policy prepares them."""
    return torch.from_numpy(np.stack([resize_naive(item.pixels) for item in inputs]))


def difference(reference: Answers, other: Answers) -> Difference:
    """`other` against `reference`: the same pictures, in the same order."""
    equal = reference.tokens == other.tokens
    tokens = judge.share(equal.flatten().tolist())
    actions = judge.share(equal.all(1).tolist())
    apart = np.abs(reference.tokens - other.tokens)[:, :MOTION]
    logits = other.logits - reference.logits
    return Difference(
        pictures=len(equal),
        tokens_equal=round(tokens.rate, 4),
        tokens_equal_in_words=judge.said(tokens),
        gripper_equal=round(float(equal[:, MOTION:].mean()), 4),
        actions_equal=round(actions.rate, 4),
        actions_equal_in_words=judge.said(actions),
        bins_mean=round(float(apart.mean()), 4),
        bins_most=int(apart.max()),
        logit_rms=round(float(np.sqrt(np.square(logits).mean())), 6),
        logit_most=round(float(np.abs(logits).max()), 6),
        spread=round(float(reference.logits.std()), 4),
    )


def compare_weights(
    load: Callable[[str], ModelPolicy],
    inputs: Sequence[PolicyInput],
    names: Sequence[str],
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Difference]:
    """What each way to hold the weights changes against the first, one loaded after the other.

    Args:
        load: a name of `checkpoint.NAMES` → the policy with such weights.
        names: the reference first.
    """
    kept: list[Answers] = []
    for name in names:
        say(f"answering {len(inputs)} pictures with {name} weights")
        policy = load(name)
        kept.append(answers(policy, inputs))
        policy.close()
    return {n: difference(kept[0], a) for n, a in zip(names[1:], kept[1:], strict=True)}


class EngineCheck(msgspec.Struct, frozen=True):
    """The fast path against the eager reference.

    Attributes:
        pictures, tokens: how many were compared.
        different: pictures with another token; what follows one is not counted.
        margins: for each of them, by how much the eager logits prefer their own token to the fast
            path's, in units of the eager logits' standard deviation. Rounding decides small ones.
    """

    pictures: int
    tokens: int
    different: int
    margins: list[float]


@torch.inference_mode()
def check_engine(policy: ModelPolicy, inputs: Sequence[PolicyInput]) -> EngineCheck | None:
    """Compare a policy's engine with its eager path; None for a policy without an engine."""
    if policy.engine is None:
        return None
    model = policy.model
    margins = []
    for item in inputs:
        pixels = pixels_of([item]).to(model.device)
        prompt = policy.ids(item.prompt)
        fast = policy.engine.generate(pixels, [prompt], policy.dimensions)[0].tolist()
        eager = model.generate(pixels, [prompt], policy.dimensions)[0].tolist()
        if fast != eager:
            margins.append(round(_margin(model, pixels, prompt, eager, fast), 5))
    return EngineCheck(len(inputs), len(inputs) * policy.dimensions, len(margins), margins)


def _margin(
    model: OpenVLA, pixels: Tensor, prompt: Sequence[int], eager: list[int], fast: list[int]
) -> float:
    """At the first token that differs; see `EngineCheck.margins`."""
    first = next(i for i, (a, b) in enumerate(zip(eager, fast, strict=True)) if a != b)
    ids = torch.tensor([[*prompt, *eager[:first]]], device=model.device)
    logits = model.sequence_logits(model.embed_image(pixels), ids)[0, -1].float()
    return float((logits[eager[first]] - logits[fast[first]]) / logits.std())
