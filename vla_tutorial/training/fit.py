"""Trainer `mini`: pictures and instructions in, the expert's action tokens out.

Two auxiliary heads, thrown away afterwards, teach it faster what matters: one finds every thing among the patches, one reads positions where the
prompt ends.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.openvla.llama import rope_table
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.augment import Augmentation, augmented
from vla_tutorial.training.keypoints import THINGS
from vla_tutorial.training.labels import POSITION_MEAN
from vla_tutorial.training.samples import Samples

DIMENSIONS = 7
SAVE_STEPS = 2000


@dataclass(frozen=True)
class TrainConfig:
    """How to fit.

    Attributes:
        steps, batch: optimiser steps and samples each.
        learning_rate: AdamW's, after `warmup` steps; from `decay_from` of the way on it falls straight to a hundredth.
        spread: standard deviation in bins of the soft target around the expert's bin; neighbours of the right bin are nearly right.
        auxiliary: weight of the positions' loss; `places`: of the loss on where things are among the patches.
        fine: share of a batch that is drawn from fine work around the target.
        average: decay of the running mean of weights that is kept.
    """

    steps: int
    batch: int = 512
    learning_rate: float = 1e-3
    warmup: int = 300
    decay_from: float = 0.55
    weight_decay: float = 0.05
    spread: float = 1.5
    auxiliary: float = 0.5
    places: float = 0.3
    fine: float = 0.3
    average: float = 0.998
    augmentation: Augmentation = field(default_factory=Augmentation)


class ModelWithAuxHeads(nn.Module):
    """The policy and its auxiliary heads, which are thrown away after training."""

    def __init__(self, model: OpenVLA) -> None:
        super().__init__()
        width = model.config.llama.hidden_size
        self.model = model
        self.positions = nn.Linear(width, len(POSITION_MEAN))
        self.places = nn.Linear(width, len(THINGS))

    def forward(
        self, pixels: Tensor, ids: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Teacher forcing.

        Args:
            pixels: (N, 6, 224, 224).
            ids: (N, T + 7) int64, each prompt followed by its first six action ids, then padding; lengths (N,) of the prompts.

        Returns:
            Logits over the vocabulary for the seven tokens (N, 7, V); the positions (N, A), read where the prompt ends; and for each patch how
            much of each thing's middle it holds, as logits (N, patches, K).
        """
        m = self.model
        image = m.embed_image(pixels)
        x = m.embed(image, ids)
        hidden = m.language_model(x, rope_table(m.config.llama, x.shape[1], x.device))
        last = m.config.vision.patches + lengths - 1
        at = last[:, None] + torch.arange(DIMENSIONS, device=ids.device)
        hidden = hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))
        positions = self.positions(m.language_model.model.norm(hidden[:, 0]))
        return m.language_model.logits(hidden), positions, self.places(image)


def place_targets(places: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Points in the picture's −1 … 1 → how they divide among the four patches around them, straight in either axis.

    Args:
        places: (N, K, 2), x and y; NaN for what is not there.
        side: patches in a row.

    Returns:
        (N, side², K) weights that sum to 1 over the patches, and (N, K) bool, whether the point is inside the picture.
    """
    inside = (places.abs() < 1).all(-1)  # NaN is not
    grid = ((places.nan_to_num() + 1) / 2 * side - 0.5).clamp(0, side - 1)
    distance = (
        grid[:, None] - torch.arange(side, device=places.device)[:, None, None]
    ).abs()  # (N, side, K, 2)
    x, y = (1 - distance).clamp(min=0).unbind(-1)
    return (y[:, :, None] * x[:, None]).flatten(1, 2), inside


def soft_targets(bins: Tensor, spread: float, count: int) -> Tensor:
    """(N, D) bin indices → (N, D, count) probabilities: a Gaussian around the bin; the gripper's end bins stay sharp."""
    distance = torch.arange(count, device=bins.device) - bins[..., None]
    weights = torch.exp(-0.5 * (distance / spread) ** 2)
    weights[:, -1] = (distance[:, -1] == 0).float()
    return weights / weights.sum(-1, keepdim=True)


def rate(recipe: TrainConfig, step: int, progress: float) -> float:
    """The learning rate at a step, `progress` (0 … 1) of the way."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    left = min(1.0, (1 - progress) / (1 - recipe.decay_from))
    return recipe.learning_rate * warm * max(0.01, left)


class Trainer:
    """A run that can be stopped and resumed: model, optimiser, running mean and step."""

    def __init__(self, model: OpenVLA, recipe: TrainConfig, device: torch.device | str) -> None:
        """Fresh weights on `device`."""
        self.recipe, self.device, self.step = recipe, torch.device(device), 0
        self.learner = ModelWithAuxHeads(model).to(self.device).train()
        self.mean = copy.deepcopy(self.learner).requires_grad_(False).eval()
        decayed = [p for p in self.learner.parameters() if p.ndim > 1]
        others = [p for p in self.learner.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=self.device.type == "cuda"
        )
        self.forward: Any = (
            torch.compile(self.learner) if self.device.type == "cuda" else self.learner
        )

    def loss(self, samples: Samples, chosen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on some samples (indices (N,) int64) and what to log of it."""
        config = self.learner.model.config
        instruction, bins = samples.instruction[chosen], samples.bins[chosen].long()
        lengths = samples.lengths[instruction]
        ids = teacher_ids(samples.prompts[instruction], lengths, config.vocabulary - 1 - bins)
        pixels, places = augmented(
            samples.images[chosen], samples.places[chosen], self.recipe.augmentation
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits, positions, found = self.forward(pixels, ids, lengths)
        log_probability = (
            logits.float()
            .log_softmax(-1)[..., config.vocabulary - 256 : config.vocabulary]
            .flip(-1)
        )
        cross_entropy = (
            -(soft_targets(bins, self.recipe.spread, 256) * log_probability).sum(-1).mean()
        )
        auxiliary = F.smooth_l1_loss(positions.float(), samples.positions[chosen])
        where = places_loss(found, places)
        error = (log_probability.argmax(-1) - bins).abs().float()
        logged = {
            "cross_entropy": cross_entropy,
            "auxiliary": auxiliary,
            "places": where,
            "gripper_wrong": (error[:, 6] > 20).float().mean(),
        }
        logged["xyz_error_bins"] = error[:, :3].mean()
        return (
            cross_entropy + self.recipe.auxiliary * auxiliary + self.recipe.places * where,
            logged,
        )

    def warm_up(self, samples: Samples) -> None:
        """Compile everything that a step needs, on whatever is in memory; nothing is learnt."""
        chosen = torch.zeros(self.recipe.batch, dtype=torch.int64, device=self.device)
        self.loss(samples, chosen)[0].backward()  # type: ignore[no-untyped-call]
        self.optimiser.zero_grad(set_to_none=True)

    def train_step(self, samples: Samples, chosen: Tensor, progress: float) -> dict[str, Tensor]:
        """One optimiser step, `progress` (0 … 1) of the way."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.recipe, self.step, progress)
        loss, logged = self.loss(samples, chosen)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(self.recipe.average, self.step / (self.step + 10))
        torch._foreach_lerp_(
            list(self.mean.parameters()), list(self.learner.parameters()), 1 - keep
        )
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


def places_loss(found: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy over the patches, averaged over the things in the picture: logits (N, patches, K), points (N, K, 2) → ()."""
    targets, inside = place_targets(places, round(found.shape[1] ** 0.5))
    cross_entropy = -(targets * found.float().log_softmax(1)).sum(1)
    return (cross_entropy * inside).sum() / inside.sum().clamp(min=1)


def teacher_ids(prompts: Tensor, lengths: Tensor, actions: Tensor) -> Tensor:
    """Prompts (N, T) padded on the right, their lengths, and action ids (N, 7) → (N, T + 7) with the first six actions after each prompt."""
    ids = torch.cat([prompts, prompts.new_zeros(len(prompts), DIMENSIONS)], 1)
    at = lengths[:, None] + torch.arange(DIMENSIONS - 1, device=ids.device)
    return ids.scatter(1, at, actions[:, :-1])


def fit(
    fitting: Trainer,
    samples: Samples,
    log: Path,
    *,
    until: int | None = None,
    seed: int = 0,
    every: Callable[[], None] = lambda: None,
) -> None:
    """Train until the recipe's last step, or `until`, appending to the JSONL file `log`; `every` is called each `SAVE_STEPS` steps.

    Samples and their augmentation depend on the seed and the step alone, so a resumed run sees what an undisturbed one would have.
    """
    started, recipe = time.perf_counter(), fitting.recipe
    end = min(recipe.steps, until or recipe.steps)
    while fitting.step < end:
        moment = seed * 1_000_003 + fitting.step
        torch.manual_seed(moment + 2**31)  # for augmentation
        generator = torch.Generator(device=fitting.device).manual_seed(moment)
        logged = fitting.train_step(
            samples, samples.draw(recipe.batch, recipe.fine, generator), fitting.step / recipe.steps
        )
        if fitting.step % 100 == 0 or fitting.step == end:
            write_log(log, fitting.step, time.perf_counter() - started, logged)
        if fitting.step % SAVE_STEPS == 0:
            every()


def write_log(log: Path, step: int, seconds: float, logged: Mapping[str, Tensor | float]) -> None:
    """Append a line to the curves and show it."""
    values = {k: float(v.detach() if isinstance(v, Tensor) else v) for k, v in logged.items()}
    entry = {
        "step": step,
        "seconds": round(seconds, 1),
        **{k: round(v, 5) if math.isfinite(v) else None for k, v in values.items()},
    }
    with log.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    print(json.dumps(entry), flush=True)
