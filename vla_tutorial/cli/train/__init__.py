"""`vla-tutorial train …`: from nothing to a checkpoint of `mini` and its figures."""

from __future__ import annotations

import itertools
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vla_tutorial.cli.terminal import out as terminal
from vla_tutorial.cli.train.evaluate import evaluate
from vla_tutorial.cli.train.table import table
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.files import check_writable
from vla_tutorial.ranges import parse_numbers

if TYPE_CHECKING:
    from vla_tutorial.training import TrainConfig

app = typer.Typer(rich_markup_mode="markdown")

CORES = os.cpu_count() or 1
ALL_SUITES = "libero_spatial,libero_object,libero_goal,libero_10"

Suites = Annotated[str, typer.Option(help="Suites, for example libero_goal,libero_10.")]
Tasks = Annotated[str, typer.Option(help="Tasks of each suite, for example 0-3,7.")]
Device = Annotated[str, typer.Option(help="Where to fit, for example cuda, cuda:1 or cpu.")]
Batch = Annotated[int, typer.Option(help="Samples in each optimiser step.")]
RenderGpu = Annotated[
    int | None, typer.Option(help="Number of the EGL device that renders; doctor lists them.")
]
RenderTurns = Annotated[
    int | None,
    typer.Option(
        help="Simulators that may render at once. Each keeps a CPU core busy. Default: all."
    ),
]
Workers = Annotated[int, typer.Option(help="Simulators, 1 GB each; about 3 for each CPU core.")]
AnswerDevice = Annotated[
    str | None, typer.Option(help="GPU whose copy of the policy answers the simulators.")
]
Graph = Annotated[
    bool,
    typer.Option(help="Run a step as one CUDA graph. --no-graph launches its kernels one by one."),
]


@app.callback(invoke_without_command=True)
def recipe(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Option(help="The policy to train: mini or mini-narrow.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that comes out.")] = Path("run"),
    slice: Annotated[float, typer.Option(help="Seconds of fitting in this call.")] = 480,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds of fitting in all calls together; give each call the same. "
            "Default: the recipe's."
        ),
    ] = None,
    demos: Annotated[
        Path | None,
        typer.Option(help="Folder of existing demonstrations. Default: make them in OUT/demos."),
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to begin with.")] = None,
    workers: Workers = 40,
    capacity: Annotated[int, typer.Option(help="Pictures on the GPU, 151 KB each.")] = 240_000,
    batch: Batch = 384,
    device: Device = "cuda",
    answer_device: AnswerDevice = None,
    render_gpu: RenderGpu = None,
    render_turns: RenderTurns = None,
    graph: Graph = True,
) -> None:
    """Train a policy by its recipe: demonstrations, fit and practice (DAgger), then evaluate.

    Type this command again until it says that the recipe is done. Each call takes `--slice`
    seconds of fitting, and some minutes before that. It needs a GPU of 80 GB and 16 CPU cores.
    training/README.md says how long each policy took, and how well it acts.

    Each command below does one step.

    Example: `vla-tutorial train --recipe mini --out run --slice 480`
    """
    if context.invoked_subcommand:
        return
    if recipe is None:
        terminal.print(context.get_help(), markup=False, highlight=False)
        return
    check_writable(out)
    from vla_tutorial.training import RunConfig, TrainConfig
    from vla_tutorial.training.recipes import RECIPES, run_recipe

    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    for name in (device, answer_device or device):
        _require_gpu(name, TrainConfig(steps=20_000, batch=batch))
    config = RunConfig(
        out,
        demos,
        TrainConfig(steps=0, batch=batch, graph=graph),
        start,
        slice=slice,
        workers=workers,
        capacity=capacity,
        keep=0.7,
        enough=12_000,
        device=device,
        answer_device=answer_device,
        render_gpu=render_gpu,
        render_turns=render_turns,
    )
    _show_log()
    done = run_recipe(recipe, config, seconds)
    rest = "The recipe is done." if done else "Type the same command again to go on."
    terminal.print(f"{out / 'mini'}. {rest}", markup=False, highlight=False)


@app.command()
def demos(
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    episodes_per_task: Annotated[
        int, typer.Option(help="Episodes of each task, rounded up to whole files of 20.")
    ] = 120,
    suites: Suites = ALL_SUITES,
    tasks: Tasks = "0-9",
    workers: Annotated[int, typer.Option(help="Processes of up to 2 GB.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed gives other demonstrations.")] = 0,
    seconds: Annotated[
        float, typer.Option(help="Seconds after which no new file is begun.", show_default=False)
    ] = math.inf,
    published: Annotated[
        bool, typer.Option(help="Only the published places of each task (libero_object).")
    ] = False,
) -> None:
    """Collect demonstrations of the scripted expert as simulator states, without rendering.

    It needs no GPU. 1,200 episodes of all suites take about 17 minutes on 2 CPU cores that do
    nothing else, and 7 MB. The same command resumes where it was stopped.

    Example: `vla-tutorial train demos --out demos --episodes-per-task 120 --workers 2`
    """
    check_writable(out)
    from vla_tutorial.training import collect

    _show_log()
    keys = _task_keys(suites, tasks)
    if published and any(suite != "libero_object" for suite, _ in keys):
        raise TutorialError("--published is for --suites libero_object alone.")
    if not collect(out, keys, episodes_per_task, workers, seed, published, seconds):
        terminal.print("Type the same command again to go on.", markup=False, highlight=False)


@app.command()
def fit(
    demos: Annotated[Path, typer.Option(help="Folder of demonstrations.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the curves.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 20_000,
    batch: Batch = 512,
    suites: Suites = ALL_SUITES,
    tasks: Tasks = "0-9",
    workers: Annotated[int, typer.Option(help="Simulators that render, 1 GB each.")] = CORES,
    device: Device = "cuda",
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
) -> None:
    """Train by behaviour cloning alone: render the demonstrations, then fit to them.

    It needs a GPU with 24 GB for 100,000 pictures. Without a GPU it says how long the CPU would
    take. 20,000 steps take about 25 minutes on an H100. A resumed run has the same curve as an
    undisturbed one.

    Example: `vla-tutorial train fit --demos demos --out fitted`
    """
    check_writable(out)
    from vla_tutorial.training import RunConfig, TrainConfig, load_chunk, train

    pictures = 0
    for file in sorted(demos.glob("*_task*_chunk*.npz")):
        pictures += sum(map(len, load_chunk(file).episodes))
    how = TrainConfig(steps=steps, batch=batch)
    _require_gpu(device, how)
    config = RunConfig(
        out,
        demos,
        how,
        practise=False,
        tasks=_task_keys(suites, tasks),
        workers=workers,
        capacity=max(pictures, 1),
        device=device,
    )
    _show_log()
    train(config, resume=resume)


@app.command()
def dagger(
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, curves and driven episodes.")],
    demos: Annotated[Path | None, typer.Option(help="Demonstrations to begin with.")] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to begin with.")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of fitting.")] = 1200,
    batch: Batch = 512,
    learning_rate: Annotated[float, typer.Option(help="Learning rate after warming up.")] = 1e-3,
    suites: Suites = ALL_SUITES,
    tasks: Tasks = "0-9",
    workers: Workers = 40,
    capacity: Annotated[int, typer.Option(help="Pictures on the GPU, 151 KB each.")] = 350_000,
    keep: Annotated[float, typer.Option(help="Share of driven steps that are kept.")] = 1.0,
    enough: Annotated[
        int, typer.Option(help="Number of pictures with which fitting begins.")
    ] = 4000,
    device: Device = "cuda",
    lead: Annotated[
        float | None,
        typer.Option(
            help="Share of the run that the expert leads. Default: 0.3, or 0 with --start."
        ),
    ] = None,
    decay_from: Annotated[
        float, typer.Option(help="Share of the run after which the learning rate falls.")
    ] = 0.55,
    answer_device: AnswerDevice = None,
    render_gpu: RenderGpu = None,
    render_turns: RenderTurns = None,
    seed: Annotated[int, typer.Option(help="Seed of layouts and weights.")] = 0,
    graph: Graph = True,
) -> None:
    """Fit while simulators drive with the present policy; the expert labels every state (DAgger).

    It needs a GPU of 80 GB and 16 CPU cores, and takes about 25 minutes. It writes the checkpoint
    several times.

    A checkpoint that can already drive needs no demonstrations: give `--start`, and `--enough` for
    the simulators' first minute.

    Example: `vla-tutorial train dagger --demos demos --out run --seconds 1200`
    """
    check_writable(out)
    from vla_tutorial.training import RunConfig, TrainConfig, train

    for name in (device, answer_device or device):
        _require_gpu(name, TrainConfig(steps=20_000, batch=batch))
    config = RunConfig(
        out,
        demos,
        TrainConfig(
            steps=0,
            batch=batch,
            learning_rate=learning_rate,
            decay_from=decay_from,
            graph=graph,
        ),
        start,
        seconds=seconds,
        lead=lead if lead is not None else 0.0 if start else 0.3,
        tasks=_task_keys(suites, tasks),
        workers=workers,
        capacity=capacity,
        keep=keep,
        enough=enough,
        device=device,
        answer_device=answer_device,
        render_gpu=render_gpu,
        render_turns=render_turns,
        seed=seed,
    )
    _show_log()
    train(config)


@app.command()
def curves(
    log: Annotated[Path, typer.Argument(help="File curves.jsonl of a run.")],
    out: Annotated[Path, typer.Option(help="File of the picture.")] = Path("curves.png"),
) -> None:
    """Plot a run's losses and closed-loop success (2 s).

    Example: `vla-tutorial train curves run/curves.jsonl --out curves.png`
    """
    check_writable(out.parent)
    from vla_tutorial import plots

    lines = plots.read_curves(log)
    plots.save(plots.training_figure(lines, title=str(log)), out)


def _task_keys(suites: str, tasks: str) -> tuple[tuple[str, int], ...]:
    """(suite, number) of each task; an unknown suite is an error."""
    from vla_tutorial.training.sentences import SUITES

    chosen = [suite.strip() for suite in suites.split(",")]
    for suite in chosen:
        if suite not in SUITES:
            raise unknown("suite of training", suite, SUITES)
    return tuple(itertools.product(chosen, parse_numbers(tasks)))


def _require_gpu(device: str, config: TrainConfig) -> None:
    """Refuse a device that is not there; for a GPU, say what the CPU would take."""
    import torch

    from vla_tutorial.policies.device import choose_device
    from vla_tutorial.training import estimate_hours

    if not device.startswith("cuda") or torch.cuda.is_available():
        choose_device(device)
        return
    hours = estimate_hours(config)
    raise TutorialError(
        f"PyTorch {torch.__version__} finds no CUDA GPU. {config.steps:,} steps of {config.batch} "
        f"samples would take about {hours:,.0f} hours on this CPU, without rendering. Run on a "
        "machine with a GPU, or give --device cpu and fewer --steps."
    )


class _OnTerminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        terminal.print(
            self.format(record),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _show_log() -> None:
    """Show what training logs."""
    logger = logging.getLogger("vla_tutorial.training")
    logger.setLevel(logging.INFO)
    logger.handlers = [_OnTerminal()]


app.command()(evaluate)
app.command()(table)
