"""Trainer of `mini`, and behaviour cloning by steps: pictures in, the expert's tokens out."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.actions import N_BINS
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.augment import Augmentation, augmented
from vla_tutorial.training.captured_step import CapturedStep, capture_step
from vla_tutorial.training.losses import ModelWithAuxHeads, keypoint_loss, soft_targets, teacher_ids
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer
from vla_tutorial.training.samples import Samples
from vla_tutorial.training.sentences import all_sentences

LOG_STEPS = 100
SAVE_STEPS = 2000
"""Optimiser steps between lines of the curves, and between saved states."""

AHEAD = 2
"""Optimiser steps that may wait on the GPU. Without this limit a captured step left simulators 35
answers a second instead of 390. Probably the driver keeps other threads waiting while the GPU's
queue is full (training/NOTES.md, attempt 6)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """How to fit.

    Attributes:
        steps, batch: optimiser steps, and samples in each.
        learning_rate: AdamW's, after `warmup` steps.
        warmup: optimiser steps over which the rate grows.
        decay_from: share of the way after which the rate falls straight to a hundredth.
        weight_decay: AdamW's, of matrices.
        spread: standard deviation, in bins, of the soft target around the expert's bin.
        auxiliary: weight of the positions' loss.
        keypoints: weight of the loss on where things are among the patches.
        fine: share of a batch that is drawn from fine work around the target.
        average: decay of the running mean of weights that is kept.
        augmentation: what is done to pictures.
        deaf: share of the samples that are learned with a sentence of any family.
        graph: whether a GPU runs a step as one CUDA graph, where that is possible.
    """

    steps: int
    batch: int = 512
    learning_rate: float = 1e-3
    warmup: int = 300
    decay_from: float = 0.55
    weight_decay: float = 0.05
    spread: float = 1.5
    auxiliary: float = 0.5
    keypoints: float = 0.3
    fine: float = 0.3
    average: float = 0.998
    augmentation: Augmentation = field(default_factory=Augmentation)
    deaf: float = 0.0
    graph: bool = True


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """AdamW's rate: it grows at first, stays, and falls straight to a hundredth.

    Args:
        config: how to fit.
        step: optimiser steps so far.
        progress: how much of the run is over, 0 … 1.
    """
    warm = min(1.0, (step + 1) / config.warmup)
    left = min(1.0, (1 - progress) / (1 - config.decay_from))
    return config.learning_rate * warm * max(0.01, left)


class Trainer:
    """A run that can be stopped and resumed; what ships is `mean`, the weights' running mean."""

    _PARTS = ("learner", "mean", "optimiser")

    def __init__(self, model: OpenVLA, config: TrainConfig, device: str) -> None:
        """Fit `model`, which is moved to `device`, as `config` says."""
        self.config = config
        self.device = torch.device(device)
        self.step = 0
        self.learner = ModelWithAuxHeads(model).to(self.device).train()
        self.mean = copy.deepcopy(self.learner).requires_grad_(False).eval()
        decayed = [p for p in self.learner.parameters() if p.ndim > 1]
        others = [p for p in self.learner.parameters() if p.ndim <= 1]
        self._gpu = self.device.type == "cuda"
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        # A tensor, so that a captured step sees it change.
        self._rate = torch.zeros((), device=self.device)
        self.optimiser = torch.optim.AdamW(
            groups,
            self._rate,
            betas=(0.9, 0.98),
            fused=self._gpu,
            capturable=self._gpu,
        )
        self._forward: Any = torch.compile(self.learner) if self._gpu else self.learner
        self._captured: CapturedStep | None = None
        self._launched: deque[torch.cuda.Event] = deque()

    def loss(self, samples: Samples, chosen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What is to be made small.

        Args:
            samples: pictures and labels on the trainer's device.
            chosen: (N,) int64, which of them.

        Returns:
            A scalar with gradients; name → scalar, what to log of it.
        """
        vocabulary = self.learner.model.config.vocabulary
        prompts = samples.prompts
        rows = prompts.draw(samples.family[chosen], self.config.deaf)
        bins = samples.bins[chosen].long()
        lengths = prompts.lengths[rows]
        # As `actions.bin_tokens`, in the model's own, smaller vocabulary.
        ids = teacher_ids(prompts.ids[rows], lengths, vocabulary - 1 - bins)
        pixels, keypoints = augmented(
            samples.images[chosen],
            samples.keypoints[chosen],
            self.config.augmentation,
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._gpu):
            logits, positions, found = self._forward(pixels, ids, lengths)
        of_bins = logits.float().log_softmax(-1)[..., vocabulary - N_BINS : vocabulary].flip(-1)
        wanted = soft_targets(bins, self.config.spread, N_BINS)
        cross_entropy = -(wanted * of_bins).sum(-1).mean()
        auxiliary = F.smooth_l1_loss(positions.float(), samples.positions[chosen])
        on_keypoints = keypoint_loss(found, keypoints)
        error = (of_bins.argmax(-1) - bins).abs().float()
        logged = {
            "cross_entropy": cross_entropy,
            "auxiliary": auxiliary,
            "keypoints": on_keypoints,
            "gripper_wrong": (error[:, 6] > 20).float().mean(),
            "xyz_error_bins": error[:, :3].mean(),
        }
        weighted = self.config.auxiliary * auxiliary
        loss = cross_entropy + weighted + self.config.keypoints * on_keypoints
        return loss, {name: value.detach() for name, value in logged.items()}

    def warm_up(self, samples: Samples) -> None:
        """Compile everything that a step needs, on whatever is in memory; nothing is learnt.

        On a GPU the whole step becomes one CUDA graph where that is possible: the host then
        launches once in place of some thousand times, and other threads cannot hold it up.
        """
        chosen = torch.zeros(self.config.batch, dtype=torch.int64, device=self.device)
        with self._unchanged():
            if not (self._gpu and self.config.graph):
                self._fit_batch(samples, chosen)
                return
            self._captured = self._capture(samples, chosen)
            if self._captured is None:
                # A plain forward can be captured where a compiled one cannot. Beside busy threads
                # a slower captured step is faster than one that Python launches.
                compiled, self._forward = self._forward, self.learner
                self._captured = self._capture(samples, chosen)
                if self._captured is None:
                    self._forward = compiled

    def _capture(self, samples: Samples, chosen: Tensor) -> CapturedStep | None:
        step = partial(self._fit_batch, samples)
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            # Held until the capture is over, as they belong to the stream that makes them.
            accumulators = [_gradient_accumulator(p) for p in self.learner.parameters()]
            step(chosen)
            step(chosen)
        captured = capture_step(step, chosen, side)
        del accumulators
        return captured

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Inside, steps may be taken: at its end weights and optimiser are what they were."""
        parameters: list[Tensor] = list(self.learner.parameters())
        weights = [p.detach().clone() for p in parameters]
        known: dict[Tensor, Mapping[str, Tensor]] = {}
        for p, state in self.optimiser.state.items():
            known[p] = {name: value.clone() for name, value in state.items()}
        yield
        with torch.no_grad():
            torch._foreach_copy_(parameters, weights)
            for p, state in self.optimiser.state.items():
                for name, value in state.items():
                    # AdamW begins with zeros. They stay where they are: a graph has their address.
                    value.copy_(known[p][name]) if p in known else value.zero_()
        if self._captured is None:
            self.optimiser.zero_grad(set_to_none=True)

    def train_step(self, samples: Samples, chosen: Tensor, progress: float) -> dict[str, Tensor]:
        """One optimiser step, `progress` (0 … 1) of the way; returns what to log.

        Args:
            samples: those of `warm_up`.
            chosen: (N,) int64, which of them, on the trainer's device.

        Returns:
            Name → scalar on the device. The next step may overwrite it.
        """
        self._rate.fill_(learning_rate(self.config, self.step, progress))
        if self._captured and len(chosen) == self.config.batch:
            logged = self._captured(chosen)
        else:
            logged = self._fit_batch(samples, chosen)
        self.step += 1
        # At first the mean forgets faster, so that it does not remember the fresh weights.
        decay = min(self.config.average, self.step / (self.step + 10))
        mean = tuple(self.mean.parameters())
        torch._foreach_lerp_(mean, tuple(self.learner.parameters()), 1 - decay)
        if self._gpu:
            self._stay_close()
        return logged

    def _stay_close(self) -> None:
        """Wait until the GPU is at most `AHEAD` steps behind."""
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        self._launched.append(event)
        if len(self._launched) > AHEAD:
            self._launched.popleft().synchronize()

    def _fit_batch(self, samples: Samples, chosen: Tensor) -> dict[str, Tensor]:
        loss, logged = self.loss(samples, chosen)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimiser.step()
        return logged

    def state(self) -> Mapping[str, Any]:
        """Everything that resuming needs, as tensors and numbers."""
        states = {name: getattr(self, name).state_dict() for name in self._PARTS}
        return {**states, "step": self.step}

    def load(self, state: Mapping[str, Any]) -> None:
        """Resume where `state` was taken."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        for group in self.optimiser.param_groups:
            # The saved groups have a rate of their own.
            group.update(lr=self._rate, capturable=self._gpu)
        self.step = state["step"]


def _gradient_accumulator(parameter: nn.Parameter) -> object:
    """The node of autograd that adds up a parameter's gradient."""
    node = parameter.view_as(parameter).grad_fn
    assert node
    return node.next_functions[0][0]


def fit(
    trainer: Trainer,
    samples: Samples,
    curves: Path,
    seed: int = 0,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train to the config's last step, appending to the JSONL file `curves`.

    The choice of samples and their augmentation depends on the seed and the step alone, so that a
    resumed run sees what an undisturbed one would have.

    Args:
        trainer: it goes on from its present step.
        samples: at least one.
        curves: gets a line each `LOG_STEPS` steps and at the end.
        seed: of the run.
        save: called each `SAVE_STEPS` steps.
    """
    started = time.perf_counter()
    config = trainer.config
    while trainer.step < config.steps:
        moment = seed * 1_000_003 + trainer.step
        # The global generator is for augmentation.
        torch.manual_seed(moment + 2**31)
        generator = torch.Generator().manual_seed(moment)
        chosen = samples.draw(config.batch, config.fine, generator)
        logged = trainer.train_step(samples, chosen, trainer.step / config.steps)
        if trainer.step % LOG_STEPS == 0 or trainer.step == config.steps:
            write_curves(curves, trainer.step, time.perf_counter() - started, logged)
        if trainer.step % SAVE_STEPS == 0:
            save()


def write_curves(
    curves: Path, step: int, seconds: float, logged: Mapping[str, Tensor | float]
) -> None:
    """Append a line to the curves, and log it.

    Args:
        curves: the JSONL file.
        step: optimiser steps so far.
        seconds: since the start.
        logged: name → number; what is not finite becomes null.
    """
    line: dict[str, Any] = {"step": step, "seconds": round(seconds, 1)}
    for name, value in logged.items():
        number = round(float(value), 5)
        line[name] = number if math.isfinite(number) else None
    text = json.dumps(line)
    with curves.open("a") as file:
        file.write(text + "\n")
    log.info(text)


def estimate_hours(config: TrainConfig) -> float:
    """How long `config.steps` of `mini` would take on this CPU, from three small steps now."""
    batch = 4
    samples = Samples(batch, train_tokenizer(all_sentences()), "cpu")
    trainer = Trainer(
        initialise(OpenVLA(CONFIG)),
        replace(config, batch=batch),
        "cpu",
    )
    trainer.warm_up(samples)
    begin = time.perf_counter()
    for _ in range(2):
        trainer.warm_up(samples)
    seconds = (time.perf_counter() - begin) / 2
    return seconds / batch * config.batch * config.steps / 3600
