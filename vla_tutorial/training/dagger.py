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
import multiprocessing as mp
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.chunks import TaskKey, chunk_prefix, count_steps
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer
from vla_tutorial.training.run_files import (
    STATE,
    begin_with,
    read_progress,
    resume_from,
    save_run,
    write_progress,
)
from vla_tutorial.training.samples import Prompts, Samples
from vla_tutorial.training.schedule import Schedule
from vla_tutorial.training.sentences import SUITES, all_sentences, fingerprint
from vla_tutorial.training.simulator_pool import Service, SimulatorPool
from vla_tutorial.training.simulator_worker import WorkerSpec
from vla_tutorial.training.trainer import LOG_STEPS, TrainConfig, Trainer, fit, write_curves

ALL_TASKS: tuple[TaskKey, ...] = tuple(itertools.product(SUITES, range(10)))
"""The forty tasks of the four suites."""

REFRESH_STEPS = 100
SAVE_SECONDS = 100.0
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
        seconds: of fitting, with `practise`, all slices together.
        slice: seconds of fitting after which the run stops, to be resumed; None for all at once.
        alone: share of those seconds in which the fit has the machine to itself: simulators that
            have rendered the demonstrations wait. Without demonstrations they do not.
        lead: share of the rest over which the expert leads less and less.
        practise: whether the policy practises (DAgger).
        tasks: whose scenes, as (suite, number).
        workers: simulators, each a process of about 1 GB.
        capacity: pictures that fit on the device, 151 KB each.
        keep: share of the practised steps that are kept.
        enough: pictures with which fitting begins.
        device, answer_device: where to fit, and where simulators are answered; None for the same.
        render_gpu: number of the GPU that renders; None lets EGL choose.
        render_turns: simulators that may render at once; None for all.
        seed: for layouts and weights.
        published: whether practised scenes keep their task's published places.
        looks: whether scenes are painted anew, again and again.
        model: the model's sizes.
    """

    out: Path
    demos: Path | None
    train: TrainConfig
    start: Path | None = None
    seconds: float = 1200
    slice: float | None = None
    alone: float = 0.0
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
    render_turns: int | None = None
    seed: int = 0
    published: bool = False
    looks: bool = False
    model: OpenVLAConfig = CONFIG


def beta(progress: float, lead: float) -> float:
    """How much the policy acts: a ramp that begins at a quarter of `lead` and ends at `lead`.

    Args:
        progress: how far practice is, 0 … 1.
        lead: share of it over which the expert leads; without any the policy acts from the start.

    Returns:
        0 … 1.
    """
    if lead == 0:
        return 1.0
    return min(1.0, max(0.0, (progress - lead / 4) / (0.75 * lead)))


def share_of_practice(progress: float, alone: float) -> float:
    """How far practice is, 0 … 1, `progress` (0 … 1) of the way: it begins at `alone`."""
    return max(0.0, progress - alone) / (1 - alone) if alone < 1 else 0.0


def train(config: RunConfig, resume: bool = False) -> Trainer:
    """The whole run, or a slice of it. `resume` continues the one in `config.out`.

    Without `practise` a resumed run has the curve of an undisturbed one. With it, the run goes on
    from the saved state, or from the checkpoint alone where only that came along, and the states
    that were practised before (driven/) are demonstrations now.

    Args:
        config: the run; the same one in each slice, but for `slice` and `seed`.
        resume: whether to go on in `config.out`.

    Returns:
        The trainer after its last step.

    Raises:
        TutorialError: nothing to learn from, no checkpoint in `start`, a full disk, no simulators.
    """
    run = _Run(config, resume)
    samples = run.samples
    specs = worker_specs(config, resume)
    with _open_pool(config, specs, samples, run.answers) as pool:
        pool.practising = not run.holds_back(specs)
        run.trainer.warm_up(samples)
        run.say(f"ready to fit; {samples.count} pictures so far")
        if run.answers:
            _wait(pool, lambda: run.has_enough(pool))
            run.fit_by_the_clock(pool, run.answers)
        else:
            _wait(pool, lambda: pool.rendering == 0)
    if not run.answers:
        run.fit_by_steps(pool)
    run.save(pool)
    done = f"{run.trainer.step} steps on {samples.count} pictures"
    run.say(f"{done}; {pool.episodes} episodes of practice")
    return run.trainer


@dataclass(frozen=True)
class _Mark:
    """When the curves were written last: seconds, optimiser steps and pictures until then."""

    seconds: float = 0.0
    step: int = 0
    pictures: int = 0


class _Run:
    """What a run holds beside its simulators."""

    def __init__(self, config: RunConfig, resume: bool = False) -> None:
        self.started = time.perf_counter()
        self.marked = _Mark()
        self.config = config
        self.curves = config.out / "curves.jsonl"
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        # The thread that serves the simulators must not hold up the one that fits.
        sys.setswitchinterval(5e-4)
        # The weights have a generator of their own; this one is for the auxiliary heads.
        torch.manual_seed(config.seed)
        model = initialise(OpenVLA(config.model), config.seed)
        self.trainer = Trainer(model, config.train, config.device)
        self.tokenizer = train_tokenizer(all_sentences())
        self.spent = read_progress(config.out) if resume and config.practise else 0.0
        if resume and config.practise and not (config.out / STATE).exists():
            begin_with(self.trainer, config.out / "mini", self.tokenizer)
        elif resume:
            resume_from(self.trainer, config.out, self.curves)
        elif config.start:
            begin_with(self.trainer, config.start, self.tokenizer)
        self.samples = Samples(config.capacity, self.tokenizer, config.device)
        self.answers: InferenceCopy | None = None
        if config.practise:
            device = config.answer_device or config.device
            prompts = self.samples.prompts
            if config.answer_device:
                prompts = Prompts(self.tokenizer, device)
            self.answers = InferenceCopy(self.trainer.mean.model, prompts, device)

    def holds_back(self, specs: Sequence[WorkerSpec]) -> bool:
        """Whether simulators must not practise yet: the fit comes first, and has demonstrations."""
        begun = self.spent / self.config.seconds
        return begun < self.config.alone and any(spec.files for spec in specs)

    def has_enough(self, pool: SimulatorPool) -> bool:
        """Whether there are pictures to begin with: enough, or all that come before practice."""
        if not pool.practising and pool.rendering == 0:
            return True
        return self.samples.count >= min(self.config.enough, self.config.capacity)

    def say(self, text: str) -> None:
        log.info("[%6.1f s] %s", time.perf_counter() - self.started, text)

    def fit_by_steps(self, pool: SimulatorPool) -> None:
        self.samples.settle()
        self.say(f"{self.samples.count} pictures")
        seed = self.config.seed
        fit(
            self.trainer,
            self.samples,
            self.curves,
            seed=seed,
            save=lambda: self.save(pool),
        )

    def fit_by_the_clock(self, pool: SimulatorPool, answers: InferenceCopy) -> None:
        """Fit while simulators add what they see."""
        config = self.config
        trainer = self.trainer
        self.say(f"fitting begins with {self.samples.count} pictures")
        saved = time.perf_counter()
        self.marked = _Mark(saved - self.started, trainer.step, self.samples.added)
        begin = saved - self.spent
        end = min(config.seconds, self.spent + (config.slice or config.seconds))
        generator = torch.Generator().manual_seed(config.seed)
        while (spent := time.perf_counter() - begin) < end:
            self.spent = spent
            progress = spent / config.seconds
            pool.practising |= progress >= config.alone
            pool.beta = beta(share_of_practice(progress, config.alone), config.lead)
            chosen = self.samples.draw(config.train.batch, config.train.fine, generator)
            logged = trainer.train_step(self.samples, chosen, progress)
            if trainer.step % REFRESH_STEPS == 0:
                answers.refresh(trainer.mean.model)
            if trainer.step % LOG_STEPS == 0:
                pool.check()
                self.write_curves(pool, logged)
            if time.perf_counter() - saved > SAVE_SECONDS:
                saved = time.perf_counter()
                self.save(pool)
        self.spent = end

    def write_curves(self, pool: SimulatorPool, logged: Mapping[str, Tensor]) -> None:
        """Append a line to the curves: losses, speed, and how the policy does."""
        seconds = time.perf_counter() - self.started
        pictures = self.samples.added
        before = self.marked
        self.marked = _Mark(seconds, self.trainer.step, pictures)
        took = max(seconds - before.seconds, 1e-3)
        about = {
            "pictures": pictures,
            "episodes": pool.episodes,
            "workers": pool.alive,
            "ms_a_step": 1000 * took / max(self.trainer.step - before.step, 1),
            "pictures_a_second": (pictures - before.pictures) / took,
            **pool.service.summary(),
            **pool.schedule.success(),
        }
        for suite, share in pool.schedule.success(midway=True).items():
            about[f"{suite} midway"] = share
        pool.service = Service()
        write_curves(self.curves, self.trainer.step, seconds, {**logged, **about})

    def save(self, pool: SimulatorPool) -> None:
        """Write the checkpoint, what resuming needs, and how the last free episodes went."""
        recipe = asdict(self.config.train)
        del recipe["steps"]
        about = {
            "optimiser_steps": self.trainer.step,
            "pictures": self.samples.added,
            "driven_episodes": pool.episodes,
            "sentences": fingerprint(),
            "recipe": recipe,
        }
        recent = json.dumps([asdict(episode) for episode in pool.schedule.recent()])
        suites = tuple(dict.fromkeys(suite for suite, _ in self.config.tasks))
        save_run(self.trainer, self.tokenizer, self.config.out, about, suites, recent)
        write_progress(self.config.out, self.spent)


@contextlib.contextmanager
def _open_pool(
    config: RunConfig,
    specs: Sequence[WorkerSpec],
    samples: Samples,
    answers: InferenceCopy | None,
) -> Iterator[SimulatorPool]:
    (config.out / "driven").mkdir(parents=True, exist_ok=True)
    if config.render_gpu is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(config.render_gpu)
    pool = SimulatorPool(specs, samples, answers, Schedule(config.tasks), config.keep)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def worker_specs(config: RunConfig, resume: bool = False) -> list[WorkerSpec]:
    """Divide the demonstrations evenly among workers, a task's files to few of them.

    A run that is resumed also has what it practised before.
    """
    out = config.out / "driven"
    files = _demonstrations(config, resume)
    context = mp.get_context("spawn")
    turns = context.Semaphore(config.render_turns) if config.render_turns else None
    specs = []
    for number, part in enumerate(np.array_split(np.array(files, object), config.workers)):
        mine = tuple(part)
        spec = WorkerSpec(
            number,
            config.tasks,
            mine,
            out,
            config.practise,
            config.seed,
            config.published,
            config.looks,
            turns,
        )
        specs.append(spec)
    return specs


def _demonstrations(config: RunConfig, resume: bool) -> list[Path]:
    """Files to render, by task; a random choice where they hold more than there is room for."""
    driven = config.out / "driven" if resume else None
    folders = [folder for folder in (config.demos, driven) if folder]
    files: list[Path] = []
    for key in config.tasks:
        for folder in folders:
            files += sorted(folder.glob(f"{chunk_prefix(key)}*.npz"))
    needed = config.demos is not None or not config.practise
    if needed and not any(path.parent == config.demos for path in files):
        raise TutorialError(
            f"No demonstrations (*_task*_chunk*.npz) of the tasks in {config.demos}; "
            "make some: vla-tutorial train demos --help"
        )
    steps = [count_steps(path) for path in files]
    if sum(steps) <= config.capacity:
        return files
    order = np.random.default_rng(config.seed).permutation(len(files))
    fit_in = np.cumsum(np.array(steps)[order]) <= config.capacity
    return [files[k] for k in sorted(order[fit_in])]


def _wait(pool: SimulatorPool, ready: Callable[[], bool]) -> None:
    while not ready():
        pool.check()
        time.sleep(0.2)
