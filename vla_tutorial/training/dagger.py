"""A training run: workers render demonstrations and drive with the present policy; the GPU fits meanwhile to every state with the expert's label.

`fit` is behaviour cloning on demonstrations, by steps, and resumes to the same curve. `dagger` goes by the clock: fitting begins with the first pictures.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.crew import Crew, assign
from vla_tutorial.training.fit import TrainConfig, Trainer, fit, write_log
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.labels import INSTRUCTIONS
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer, write_checkpoint
from vla_tutorial.training.samples import Samples

REFRESH, LOG, SAVE = 100, 100, 240.0
"""Steps between refreshing the answering copy and between log lines; seconds between checkpoints."""

STATE = "state.pt"
"""What resuming needs, as tensors; opened with `weights_only`, so that nothing in it can run."""


@dataclass(frozen=True)
class Settings:
    """A run.

    Attributes:
        out: folder for everything that comes out: mini/ (the checkpoint), curves.jsonl, driven/ (episodes of DAgger), state.pt.
        demos: folder of demonstrations to begin with; None for none.
        start: a checkpoint whose weights to begin with, grown up, so it drives at once; None for fresh ones.
        recipe: how to fit; `steps` counts without `drive` only.
        seconds: of fitting, with `drive`.
        drive: whether the policy drives (DAgger).
        tasks: whose scenes.
        workers: simulators, each a process of about 1 GB.
        capacity: pictures that fit on the device, 151 KB each.
        keep: share of the driven steps that are kept.
        enough: pictures with which fitting begins.
        device, answer_device: where to fit, and where simulators are answered (None: the same).
        render_gpu: number of the GPU that renders; None lets EGL choose.
        config: the model's sizes.
    """

    out: Path
    demos: Path | None
    start: Path | None = None
    recipe: TrainConfig = field(default_factory=lambda: TrainConfig(steps=20_000))
    seconds: float = 1200
    drive: bool = True
    tasks: tuple[int, ...] = tuple(range(10))
    workers: int = 40
    capacity: int = 550_000
    keep: float = 1.0
    enough: int = 4000
    device: str = "cuda"
    answer_device: str | None = None
    render_gpu: int | None = None
    seed: int = 0
    config: OpenVLAConfig = CONFIG


def beta(progress: float, young: float = 0.08, grown: float = 0.3) -> float:
    """How much the policy drives, `progress` (0 … 1) of the way: in short stretches while young, mostly and often alone once grown."""
    return min(1.0, max(0.0, (progress - young) / (grown - young)))


def train(s: Settings, resume: bool = False) -> Trainer:
    """The whole run.

    Args:
        resume: go on with the run in `s.out` (without `drive` only).

    Raises:
        TutorialError: nothing to learn from, a start that is no checkpoint, no room on the disk, or every simulator died.
    """
    started = time.perf_counter()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(s.seed)  # for the auxiliary heads
    fitting = Trainer(initialise(OpenVLA(s.config), s.seed), s.recipe, s.device)
    if s.start:
        _begin_with(fitting, s.start)
    if resume:
        _resume(fitting, s.out)
    tokenizer = train_tokenizer(INSTRUCTIONS)
    samples = Samples(s.capacity, tokenizer, s.device)
    answers = (
        InferenceCopy(fitting.mean.model, samples, s.answer_device or s.device) if s.drive else None
    )
    with _crew(s, samples, answers) as crew:
        fitting.warm_up(samples)
        say(f"ready to fit; {samples.count} pictures so far", started)
        if answers:
            _wait(crew, lambda: samples.count >= min(s.enough, s.capacity))
            _drive(fitting, samples, answers, crew, s, tokenizer, started)
        else:
            _wait(crew, lambda: crew.rendering == 0)
    if not answers:
        samples.settle()
        say(f"{samples.count} pictures", started)
        fit(
            fitting,
            samples,
            s.out / "curves.jsonl",
            seed=s.seed,
            every=lambda: _save(fitting, tokenizer, samples, crew, s),
        )
    _save(fitting, tokenizer, samples, crew, s)
    say(
        f"{fitting.step} steps on {samples.count} pictures; {crew.episodes} episodes were driven",
        started,
    )
    return fitting


def say(text: str, started: float) -> None:
    """One line of progress with the seconds since the start."""
    print(f"[{time.perf_counter() - started:6.1f} s] {text}", flush=True)


@contextlib.contextmanager
def _crew(s: Settings, samples: Samples, answers: InferenceCopy | None) -> Iterator[Crew]:
    wanted = tuple(f"task{task:02d}" for task in s.tasks)
    files = (
        sorted(f for f in s.demos.glob("task*_chunk*.npz") if f.name.startswith(wanted))
        if s.demos
        else []
    )
    if not files and (s.demos or not s.drive):
        raise TutorialError(
            f"No demonstrations (task*_chunk*.npz) of tasks {list(s.tasks)} in {s.demos}; make some: vla-tutorial train demos --help"
        )
    driven = s.out / "driven"
    driven.mkdir(parents=True, exist_ok=True)
    if s.render_gpu is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(s.render_gpu)
    crew = Crew(
        assign(files, s.workers, s.tasks, driven, s.drive, s.seed), samples, answers, s.keep
    )
    crew.start()
    try:
        yield crew
    finally:
        crew.stop()


def _wait(crew: Crew, ready: object) -> None:
    assert callable(ready)
    while not ready():
        crew.check()
        time.sleep(0.2)


def _drive(
    fitting: Trainer,
    samples: Samples,
    answers: InferenceCopy,
    crew: Crew,
    s: Settings,
    tokenizer: Tokenizer,
    started: float,
) -> None:
    """Fit by the clock while simulators add what they see."""
    say(f"fitting begins with {samples.count} pictures", started)
    begin = saved = time.perf_counter()
    generator = torch.Generator(device=fitting.device).manual_seed(s.seed)
    while (progress := (time.perf_counter() - begin) / s.seconds) < 1:
        crew.beta = 1.0 if s.start else beta(progress)
        logged = fitting.train_step(
            samples, samples.draw(s.recipe.batch, s.recipe.fine, generator), progress
        )
        if fitting.step % REFRESH == 0:
            answers.refresh(fitting.mean.model)
        if fitting.step % LOG == 0:
            crew.check()
            more = {
                "pictures": samples.count,
                "episodes": crew.episodes,
                "success": crew.success(),
                "workers": crew.alive,
            }
            write_log(
                s.out / "curves.jsonl",
                fitting.step,
                time.perf_counter() - started,
                {**logged, **more},
            )
        if time.perf_counter() - saved > SAVE:
            saved = time.perf_counter()
            _save(fitting, tokenizer, samples, crew, s)


def _begin_with(fitting: Trainer, checkpoint: Path) -> None:
    """Take the weights of a checkpoint; heads and optimiser start anew."""
    from vla_tutorial.openvla.checkpoint import load_model

    model = load_model(checkpoint, "cpu", torch.float32, config=fitting.learner.model.config)
    for part in (fitting.learner, fitting.mean):
        part.model.load_state_dict(model.state_dict())


def _resume(fitting: Trainer, out: Path) -> None:
    """Go on from the state in `out`; lines of the curve that come after it go."""
    path, log = out / STATE, out / "curves.jsonl"
    try:
        fitting.load(_read_state(path))
    except (KeyError, TypeError, ValueError, RuntimeError) as e:
        raise TutorialError(
            f"{path} is no saved state of this model ({e}). Start without --resume."
        ) from e
    lines = log.read_text().splitlines() if log.exists() else []
    log.write_text(
        "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= fitting.step)
    )


def _read_state(path: Path) -> dict[str, object]:
    try:
        state: dict[str, object] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as e:
        raise TutorialError(
            f"Nothing to resume: {path} does not exist. Start without --resume."
        ) from e
    except Exception as e:  # PyTorch raises many kinds for a damaged file
        raise TutorialError(f"{path} is damaged ({e}). Start without --resume.") from e
    return state


def _save(
    fitting: Trainer, tokenizer: Tokenizer, samples: Samples, crew: Crew, s: Settings
) -> None:
    """Write the running mean's weights as a checkpoint, what resuming needs, and how the last free episodes went."""
    model = fitting.mean.model
    assert isinstance(model, OpenVLA)
    recipe = {k: v for k, v in asdict(s.recipe).items() if k != "steps"}
    about = {
        "optimiser_steps": fitting.step,
        "pictures": samples.count,
        "driven_episodes": crew.episodes,
        "recipe": recipe,
    }
    part = s.out / f".{STATE}"
    try:
        write_checkpoint(model, tokenizer, s.out / "mini", about)
        torch.save(fitting.state(), part)
        part.replace(s.out / STATE)
        (s.out / "recent.json").write_text(json.dumps(list(crew.recent)))
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as e:  # what Python, torch.save and safetensors raise when the disk is full
        part.unlink(missing_ok=True)
        raise TutorialError(
            f"Cannot write to {s.out} ({e}). The last saved state is whole; make room and resume."
        ) from e


def estimate_hours(
    config: OpenVLAConfig, recipe: TrainConfig, tries: int = 2, batch: int = 4
) -> float:
    """How long `recipe.steps` would take on this machine's CPU, from a few small steps measured now."""
    samples = Samples(batch, train_tokenizer(INSTRUCTIONS), "cpu")
    samples.count = batch
    fitting = Trainer(initialise(OpenVLA(config)), recipe, "cpu")
    begin = math.inf
    for k in range(tries + 1):
        if k == 1:
            begin = time.perf_counter()
        fitting.loss(samples, torch.arange(batch))[0].backward()  # type: ignore[no-untyped-call]
    return (time.perf_counter() - begin) / (tries * batch) * recipe.batch * recipe.steps / 3600
