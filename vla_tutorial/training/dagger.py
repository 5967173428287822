"""A training run: simulators render demonstrations and practise, while the GPU fits.

`fit` is behaviour cloning on demonstrations, by steps; it can be resumed, to the same curve.
`dagger` goes by the clock: the policy in training practises, and the expert labels every state that
it visits. Fitting begins with the first pictures.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.chunks import TaskKey, chunk_name
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer
from vla_tutorial.training.run_files import begin_with, resume_from, save_run
from vla_tutorial.training.samples import Prompts, Samples
from vla_tutorial.training.schedule import Schedule
from vla_tutorial.training.sentences import SUITES, all_sentences
from vla_tutorial.training.simulator_pool import SimulatorPool
from vla_tutorial.training.simulator_worker import WorkerSpec
from vla_tutorial.training.trainer import LOG_STEPS, TrainConfig, Trainer, fit, write_curves

ALL_TASKS: tuple[TaskKey, ...] = tuple(itertools.product(SUITES, range(10)))
"""The forty tasks of the four suites."""

REFRESH_STEPS = 100
SAVE_SECONDS = 240.0
"""Optimiser steps between refreshes of the copy that answers; seconds between checkpoints."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig:
    """A training run.

    Attributes:
        out: folder for the checkpoint (mini/), curves.jsonl, episodes of practice (driven/) …
        demos: folder of demonstrations to begin with; None for none.
        train: how to fit; `steps` counts without `practise` only.
        start: a checkpoint whose weights to begin with; None for fresh ones.
        seconds: of fitting, with `practise`.
        lead: share of those seconds over which the expert leads less and less.
        practise: whether the policy practises (DAgger).
        tasks: whose scenes, as (suite, number).
        workers: simulators, each a process of about 1 GB.
        capacity: pictures that fit on the device, 151 KB each.
        keep: share of the practised steps that are kept.
        enough: pictures with which fitting begins.
        device, answer_device: where to fit, and where simulators are answered; None for the same.
        render_gpu: number of the GPU that renders; None lets EGL choose.
        seed: for layouts and weights.
        model: the model's sizes.
    """

    out: Path
    demos: Path | None
    train: TrainConfig
    start: Path | None = None
    seconds: float = 1200
    lead: float = 0.3
    practise: bool = True
    tasks: tuple[TaskKey, ...] = ALL_TASKS
    workers: int = 40
    capacity: int = 550_000
    keep: float = 1.0
    enough: int = 4000
    device: str = "cuda"
    answer_device: str | None = None
    render_gpu: int | None = None
    seed: int = 0
    model: OpenVLAConfig = CONFIG


def beta(progress: float, lead: float) -> float:
    """How much the policy acts, 0 … 1, `progress` (0 … 1) of the way: a ramp that ends at `lead`.

    It begins at a quarter of `lead`. Without a lead the policy acts from the start.
    """
    if lead == 0:
        return 1.0
    return min(1.0, max(0.0, (progress - lead / 4) / (0.75 * lead)))


def train(config: RunConfig, resume: bool = False) -> Trainer:
    """The whole run. `resume` continues the one in `config.out` (without `practise` only).

    Raises:
        TutorialError: nothing to learn from, no checkpoint in `start`, a full disk, no simulators.
    """
    run = _Run(config, resume)
    samples = run.samples
    with _open_pool(config, samples, run.answers) as pool:
        run.trainer.warm_up(samples)
        run.say(f"ready to fit; {samples.count} pictures so far")
        if run.answers:
            _wait(pool, lambda: samples.count >= min(config.enough, config.capacity))
            run.fit_by_the_clock(pool, run.answers)
        else:
            _wait(pool, lambda: pool.rendering == 0)
    if not run.answers:
        run.fit_by_steps(pool)
    run.save(pool)
    done = f"{run.trainer.step} steps on {samples.count} pictures"
    run.say(f"{done}; {pool.episodes} episodes of practice")
    return run.trainer


class _Run:
    """What a run holds beside its simulators."""

    def __init__(self, config: RunConfig, resume: bool = False) -> None:
        self.started = time.perf_counter()
        self.config = config
        self.curves = config.out / "curves.jsonl"
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        # The weights have a generator of their own; this one is for the auxiliary heads.
        torch.manual_seed(config.seed)
        model = initialise(OpenVLA(config.model), config.seed)
        self.trainer = Trainer(model, config.train, config.device)
        self.tokenizer = train_tokenizer(all_sentences())
        if config.start:
            begin_with(self.trainer, config.start, self.tokenizer)
        if resume:
            resume_from(self.trainer, config.out, self.curves)
        self.samples = Samples(config.capacity, self.tokenizer, config.device)
        self.answers: InferenceCopy | None = None
        if config.practise:
            device = config.answer_device or config.device
            prompts = self.samples.prompts
            if config.answer_device:
                prompts = Prompts(self.tokenizer, device)
            self.answers = InferenceCopy(self.trainer.mean.model, prompts, device)

    def say(self, text: str) -> None:
        log.info("[%6.1f s] %s", time.perf_counter() - self.started, text)

    def fit_by_steps(self, pool: SimulatorPool) -> None:
        self.samples.settle()
        self.say(f"{self.samples.count} pictures")
        seed = self.config.seed
        fit(self.trainer, self.samples, self.curves, seed=seed, save=lambda: self.save(pool))

    def fit_by_the_clock(self, pool: SimulatorPool, answers: InferenceCopy) -> None:
        """Fit while simulators add what they see."""
        config = self.config
        trainer = self.trainer
        self.say(f"fitting begins with {self.samples.count} pictures")
        begin = time.perf_counter()
        saved = begin
        generator = torch.Generator(device=trainer.device).manual_seed(config.seed)
        while (progress := (time.perf_counter() - begin) / config.seconds) < 1:
            pool.beta = beta(progress, config.lead)
            chosen = self.samples.draw(config.train.batch, config.train.fine, generator)
            logged = trainer.train_step(self.samples, chosen, progress)
            if trainer.step % REFRESH_STEPS == 0:
                answers.refresh(trainer.mean.model)
            if trainer.step % LOG_STEPS == 0:
                pool.check()
                seconds = time.perf_counter() - self.started
                about = {
                    "pictures": self.samples.added,
                    "episodes": pool.episodes,
                    "workers": pool.alive,
                    **pool.schedule.success(),
                }
                write_curves(self.curves, trainer.step, seconds, {**logged, **about})
            if time.perf_counter() - saved > SAVE_SECONDS:
                saved = time.perf_counter()
                self.save(pool)

    def save(self, pool: SimulatorPool) -> None:
        """Write the checkpoint, what resuming needs, and how the last free episodes went."""
        recipe = asdict(self.config.train)
        del recipe["steps"]
        about = {
            "optimiser_steps": self.trainer.step,
            "pictures": self.samples.added,
            "driven_episodes": pool.episodes,
            "recipe": recipe,
        }
        recent = json.dumps([asdict(episode) for episode in pool.schedule.recent()])
        suites = tuple(dict.fromkeys(suite for suite, _ in self.config.tasks))
        save_run(self.trainer, self.tokenizer, self.config.out, about, suites, recent)


@contextlib.contextmanager
def _open_pool(
    config: RunConfig, samples: Samples, answers: InferenceCopy | None
) -> Iterator[SimulatorPool]:
    specs = worker_specs(config)
    (config.out / "driven").mkdir(parents=True, exist_ok=True)
    if config.render_gpu is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(config.render_gpu)
    pool = SimulatorPool(specs, samples, answers, Schedule(config.tasks), config.keep)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def worker_specs(config: RunConfig) -> list[WorkerSpec]:
    """Divide the demonstrations evenly among workers, a task's files to few of them."""
    files: list[Path] = []
    if config.demos:
        for key in config.tasks:
            prefix = chunk_name(*key, 0).partition("chunk")[0]
            files += sorted(config.demos.glob(f"{prefix}chunk*.npz"))
    if not files and (config.demos or not config.practise):
        raise TutorialError(
            f"No demonstrations (*_task*_chunk*.npz) of the tasks in {config.demos}; "
            "make some: vla-tutorial train demos --help"
        )
    out = config.out / "driven"
    specs = []
    for number, part in enumerate(np.array_split(np.array(files, object), config.workers)):
        mine = tuple(part)
        specs.append(WorkerSpec(number, config.tasks, mine, out, config.practise, config.seed))
    return specs


def _wait(pool: SimulatorPool, ready: Callable[[], bool]) -> None:
    while not ready():
        pool.check()
        time.sleep(0.2)
