"""A training run: simulators render demonstrations and practise, while the GPU fits.

`fit` is behaviour cloning on demonstrations, by steps; it can be resumed, to the same curve.
`dagger` goes by the clock: the policy in training practises, and the expert labels every state that
it visits. Fitting begins with the first pictures.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.labels import INSTRUCTIONS
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer
from vla_tutorial.training.run_files import begin_with, resume_from, save_run
from vla_tutorial.training.samples import Samples
from vla_tutorial.training.simulator_pool import SimulatorPool
from vla_tutorial.training.simulator_worker import WorkerSpec
from vla_tutorial.training.trainer import LOG_STEPS, TrainConfig, Trainer, fit, write_curves

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
        start: a grown checkpoint whose weights to begin with; None for fresh ones.
        seconds: of fitting, with `practise`.
        practise: whether the policy practises (DAgger).
        tasks: whose scenes.
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
    practise: bool = True
    tasks: tuple[int, ...] = tuple(range(10))
    workers: int = 40
    capacity: int = 550_000
    keep: float = 1.0
    enough: int = 4000
    device: str = "cuda"
    answer_device: str | None = None
    render_gpu: int | None = None
    seed: int = 0
    model: OpenVLAConfig = CONFIG


def beta(progress: float) -> float:
    """How much the policy acts, 0 … 1, `progress` (0 … 1) of the way: a ramp from 0.08 to 0.3."""
    return min(1.0, max(0.0, (progress - 0.08) / (0.3 - 0.08)))


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
        if config.start:
            begin_with(self.trainer, config.start)
        if resume:
            resume_from(self.trainer, config.out, self.curves)
        self.tokenizer = train_tokenizer(INSTRUCTIONS)
        self.samples = Samples(config.capacity, self.tokenizer, config.device)
        self.answers: InferenceCopy | None = None
        if config.practise:
            device = config.answer_device or config.device
            self.answers = InferenceCopy(self.trainer.mean.model, self.samples, device)

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
            pool.beta = 1.0 if config.start else beta(progress)
            chosen = self.samples.draw(config.train.batch, config.train.fine, generator)
            logged = trainer.train_step(self.samples, chosen, progress)
            if trainer.step % REFRESH_STEPS == 0:
                answers.refresh(trainer.mean.model)
            if trainer.step % LOG_STEPS == 0:
                pool.check()
                seconds = time.perf_counter() - self.started
                about = {
                    "pictures": self.samples.count,
                    "episodes": pool.episodes,
                    "success": pool.success(),
                    "workers": pool.alive,
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
            "pictures": self.samples.count,
            "driven_episodes": pool.episodes,
            "recipe": recipe,
        }
        recent = json.dumps([asdict(episode) for episode in list(pool.recent)])
        save_run(self.trainer, self.tokenizer, self.config.out, about, recent)


@contextlib.contextmanager
def _open_pool(
    config: RunConfig, samples: Samples, answers: InferenceCopy | None
) -> Iterator[SimulatorPool]:
    specs = worker_specs(config)
    (config.out / "driven").mkdir(parents=True, exist_ok=True)
    if config.render_gpu is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(config.render_gpu)
    pool = SimulatorPool(specs, samples, answers, config.keep)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def worker_specs(config: RunConfig) -> list[WorkerSpec]:
    """Divide tasks and their demonstrations evenly among workers; there is at least one a task."""
    tasks = config.tasks
    workers = max(config.workers, len(tasks))
    out = config.out / "driven"
    specs = []
    for number in range(workers):
        turn, k = divmod(number, len(tasks))
        mates = len(range(k, workers, len(tasks)))
        files: list[Path] = []
        if config.demos:
            files = sorted(config.demos.glob(f"task{tasks[k]:02d}_chunk*.npz"))[turn::mates]
        specs.append(WorkerSpec(tasks[k], number, files, out, config.practise, config.seed))
    if not any(spec.files for spec in specs) and (config.demos or not config.practise):
        raise TutorialError(
            f"No demonstrations (task*_chunk*.npz) of tasks {list(tasks)} in {config.demos}; "
            "make some: vla-tutorial train demos --help"
        )
    return specs


def _wait(pool: SimulatorPool, ready: Callable[[], bool]) -> None:
    while not ready():
        pool.check()
        time.sleep(0.2)
