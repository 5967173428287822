"""Behaviour cloning: fit to the samples that there are, by steps, and write the curves."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.labels import INSTRUCTIONS
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer
from vla_tutorial.training.samples import Samples
from vla_tutorial.training.trainer import TrainConfig, Trainer

LOG_STEPS = 100
"""Optimiser steps between lines of the curves."""

SAVE_STEPS = 2000
"""Optimiser steps between saved states."""

log = logging.getLogger(__name__)


def fit(
    trainer: Trainer,
    samples: Samples,
    curves: Path,
    *,
    until: int | None = None,
    seed: int = 0,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train to the config's last step, or `until`, appending to the JSONL file `curves`.

    The choice of samples and their augmentation depends on the seed and the step alone, so that a
    resumed run sees what an undisturbed one would have. `save` is called each `SAVE_STEPS` steps.
    """
    started = time.perf_counter()
    config = trainer.config
    end = min(config.steps, until or config.steps)
    while trainer.step < end:
        moment = seed * 1_000_003 + trainer.step
        # The global generator is for augmentation.
        torch.manual_seed(moment + 2**31)
        generator = torch.Generator(device=trainer.device).manual_seed(moment)
        chosen = samples.draw(config.batch, config.fine, generator)
        logged = trainer.train_step(samples, chosen, trainer.step / config.steps)
        if trainer.step % LOG_STEPS == 0 or trainer.step == end:
            write_curves(curves, trainer.step, time.perf_counter() - started, logged)
        if trainer.step % SAVE_STEPS == 0:
            save()


def write_curves(
    curves: Path, step: int, seconds: float, logged: Mapping[str, Tensor | float]
) -> None:
    """Append a line to the curves, and log it. What is not finite becomes null."""
    line: dict[str, float | None] = {"step": step, "seconds": round(seconds, 1)}
    for name, value in logged.items():
        number = float(value)
        line[name] = round(number, 5) if math.isfinite(number) else None
    text = json.dumps(line)
    with curves.open("a") as file:
        file.write(text + "\n")
    log.info(text)


def estimate_hours(config: TrainConfig, tries: int = 2, batch: int = 4) -> float:
    """How long `config.steps` of `mini` would take on this CPU, from a few small steps now."""
    samples = Samples(batch, train_tokenizer(INSTRUCTIONS), "cpu")
    samples.count = batch
    trainer = Trainer(initialise(OpenVLA(CONFIG)), config, "cpu")
    chosen = torch.arange(batch)
    trainer.loss(samples, chosen)[0].backward()  # type: ignore[no-untyped-call]
    begin = time.perf_counter()
    for _ in range(tries):
        trainer.loss(samples, chosen)[0].backward()  # type: ignore[no-untyped-call]
    seconds_a_sample = (time.perf_counter() - begin) / (tries * batch)
    return seconds_a_sample * config.batch * config.steps / 3600
