"""Behaviour cloning of `mini`: pictures and instructions in, the expert's action tokens out, with auxiliary positions on the way."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.actions import VOCABULARY
from vla_tutorial.openvla.llama import rope_table
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.augment import Augmentation, pixel_values

DIMENSIONS = 7


@dataclass(frozen=True)
class Samples:
    """Everything to learn from, on one device.

    Attributes:
        images: (N, 224, 224, 3) uint8, turned and resized, not cropped.
        prompts: (P, T) int64, right-padded ids of every prompt; `lengths` (P,) int64.
        prompt: (N,) int64, which prompt belongs to a picture.
        tokens: (N, 7) int64 in OpenVLA's vocabulary (31745 … 31999).
        positions: (N, A) float32, what the auxiliary head learns, each column with mean 0 and variance 1.
    """

    images: Tensor
    prompts: Tensor
    lengths: Tensor
    prompt: Tensor
    tokens: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Recipe:
    """How to fit.

    Attributes:
        steps, batch: optimiser steps and samples each.
        learning_rate: AdamW's, after `warmup` steps, falling along a cosine to a hundredth.
        spread: standard deviation in bins of the soft target around the expert's bin; neighbours of the right bin are nearly right.
        auxiliary: weight of the positions' loss.
        average: decay of the running mean of weights that is kept.
    """

    steps: int
    batch: int = 384
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.05
    spread: float = 1.5
    auxiliary: float = 0.5
    average: float = 0.998
    augmentation: Augmentation = field(default_factory=Augmentation)


class Learner(nn.Module):
    """The policy and its auxiliary head, which is thrown away after training."""

    def __init__(self, model: OpenVLA, positions: int) -> None:
        super().__init__()
        self.model = model
        self.positions = nn.Linear(model.config.llama.hidden_size, positions)

    def forward(self, pixels: Tensor, ids: Tensor, lengths: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing.

        Args:
            pixels: (N, 6, 224, 224).
            ids: (N, T + 7) int64, each prompt followed by its first six action ids, then padding; lengths (N,) of the prompts.
            actions: (N, 7) int64, indices of the action ids among the bins (0 … 255).

        Returns:
            Logits over the vocabulary for the seven tokens (N, 7, V) and the positions (N, A), both read where the prompt ends and after.
        """
        m = self.model
        x = m.embed(m.embed_image(pixels), ids)
        hidden = m.language_model(x, rope_table(m.config.llama, x.shape[1], x.device))
        last = m.config.vision.patches + lengths - 1
        at = last[:, None] + torch.arange(DIMENSIONS, device=ids.device)
        hidden = hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))
        return m.language_model.logits(hidden), self.positions(m.language_model.model.norm(hidden[:, 0]))


def soft_targets(bins: Tensor, spread: float, count: int) -> Tensor:
    """(N, D) bin indices → (N, D, count) probabilities: a Gaussian around the bin; the gripper's end bins stay sharp."""
    distance = torch.arange(count, device=bins.device) - bins[..., None]
    weights = torch.exp(-0.5 * (distance / spread) ** 2)
    weights[:, -1] = (distance[:, -1] == 0).float()
    return weights / weights.sum(-1, keepdim=True)


def rate(recipe: Recipe, step: int) -> float:
    """The learning rate at a step."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Fitting:
    """A run that can be stopped and resumed: model, optimiser, running mean and step."""

    def __init__(self, model: OpenVLA, recipe: Recipe, positions: int, device: torch.device | str) -> None:
        """Fresh weights on `device`."""
        self.recipe, self.device, self.step = recipe, torch.device(device), 0
        self.learner = Learner(model, positions).to(self.device).train()
        self.mean = copy.deepcopy(self.learner).requires_grad_(False).eval()
        decayed = [p for p in self.learner.parameters() if p.ndim > 1]
        others = [p for p in self.learner.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=self.device.type == "cuda")
        self.forward: Any = torch.compile(self.learner) if self.device.type == "cuda" else self.learner

    def loss(self, samples: Samples, chosen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on some samples (indices (N,) int64) and what to log of it."""
        config = self.learner.model.config
        prompt = samples.prompt[chosen]
        tokens = samples.tokens[chosen]
        bins = VOCABULARY - 1 - tokens
        ids = teacher_ids(samples.prompts[prompt], samples.lengths[prompt], tokens - VOCABULARY + config.vocabulary)
        pixels = pixel_values(samples.images[chosen], self.recipe.augmentation)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits, positions = self.forward(pixels, ids, samples.lengths[prompt], bins)
        log_probability = logits.float().log_softmax(-1)[..., config.vocabulary - 256 : config.vocabulary].flip(-1)
        cross_entropy = -(soft_targets(bins, self.recipe.spread, 256) * log_probability).sum(-1)
        auxiliary = F.smooth_l1_loss(positions.float(), samples.positions[chosen])
        error = (log_probability.argmax(-1) - bins).abs().float()
        logged = {"cross_entropy": cross_entropy.mean(), "auxiliary": auxiliary, "gripper_wrong": (error[:, 6] > 20).float().mean()}
        logged["xyz_error_bins"] = error[:, :3].mean()
        return cross_entropy.mean() + self.recipe.auxiliary * auxiliary, logged

    def train_step(self, samples: Samples, chosen: Tensor) -> dict[str, Tensor]:
        """One optimiser step."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.recipe, self.step)
        loss, logged = self.loss(samples, chosen)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(self.recipe.average, self.step / (self.step + 10))
        torch._foreach_lerp_(list(self.mean.parameters()), list(self.learner.parameters()), 1 - keep)
        return logged

    def state(self) -> Mapping[str, Any]:
        """Everything that resuming needs, as tensors and numbers."""
        return {
            "learner": self.learner.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.learner.load_state_dict(state["learner"])
        self.mean.load_state_dict(state["mean"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def teacher_ids(prompts: Tensor, lengths: Tensor, actions: Tensor) -> Tensor:
    """Prompts (N, T) padded on the right, their lengths, and action ids (N, 7) → (N, T + 7) with the first six actions after each prompt."""
    ids = torch.cat([prompts, prompts.new_zeros(len(prompts), DIMENSIONS)], 1)
    at = lengths[:, None] + torch.arange(DIMENSIONS - 1, device=ids.device)
    return ids.scatter(1, at, actions[:, :-1])


def fit(fitting: Fitting, samples: Samples, log: Path, *, until: int | None = None, seconds: float = math.inf, seed: int = 0) -> None:
    """Train until the recipe's last step, `until`, or for so many seconds, appending to the JSONL file `log`.

    The order of samples depends on the seed and the step alone, so a resumed run sees what an undisturbed one would have.
    """
    started, n, batch = time.perf_counter(), len(samples), fitting.recipe.batch
    end = min(fitting.recipe.steps, until or fitting.recipe.steps)
    while fitting.step < end and time.perf_counter() - started < seconds:
        generator = torch.Generator(device=fitting.device).manual_seed(seed * 1_000_003 + fitting.step)
        chosen = torch.randint(n, (batch,), generator=generator, device=fitting.device)
        logged = fitting.train_step(samples, chosen)
        if fitting.step % 100 == 0 or fitting.step == end:
            entry = {
                "step": fitting.step,
                "seconds": round(time.perf_counter() - started, 1),
                **{k: round(v.item(), 5) for k, v in logged.items()},
            }
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)
