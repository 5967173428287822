"""`vla-tutorial train …`: from nothing to a checkpoint of `mini` and its figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vla_tutorial.errors import TutorialError
from vla_tutorial.ranges import parse_numbers

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Train `mini` from nothing: demos (CPU), then dagger (GPU), then evaluate. training/README.md tells what each step gave.",
)

Tasks = Annotated[str, typer.Option(help="Tasks of libero_object, for example 0-3,7.")]
Device = Annotated[str, typer.Option(help="Where to fit, for example cuda, cuda:1 or cpu.")]


@app.command()
def demos(
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    episodes_per_task: Annotated[int, typer.Option(help="Rounded up to whole files of 20.")] = 120,
    tasks: Tasks = "0-9",
    workers: Annotated[int, typer.Option(help="Processes of up to 2 GB.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed gives other demonstrations.")] = 0,
) -> None:
    """Collect demonstrations of the scripted expert as simulator states, without rendering.

    No GPU needed. 1,200 episodes: about 25 minutes on 2 CPU cores that do nothing else, 6 MB. Run again to go on where it stopped.

    Example: `vla-tutorial train demos --out demos --episodes-per-task 120 --workers 2`
    """
    from vla_tutorial.training.demos import collect

    collect(out, parse_numbers(tasks), episodes_per_task, workers, seed)


@app.command()
def fit(
    demos: Annotated[Path, typer.Option(help="Folder of demonstrations.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the curves.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 20_000,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 512,
    tasks: Tasks = "0-9",
    workers: Annotated[
        int, typer.Option(help="Simulators that render, 1 GB each.")
    ] = os.cpu_count() or 1,
    device: Device = "cuda",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out; its curve is that of an undisturbed run."
        ),
    ] = False,
) -> None:
    """Behaviour cloning alone: render the demonstrations, then fit to them.

    Needs a GPU with 24 GB a 100,000 pictures; without one it says how long the CPU would take. About 25 minutes for 20,000 steps on an H100.

    Example: `vla-tutorial train fit --demos demos --out fitted`
    """
    from vla_tutorial.training import dagger
    from vla_tutorial.training.chunks import load_chunk
    from vla_tutorial.training.fit import TrainConfig

    files = sorted(demos.glob("task*_chunk*.npz"))
    pictures = sum(len(episode) for file in files for episode in load_chunk(file).episodes)
    recipe = TrainConfig(steps=steps, batch=batch)
    _need_gpu(device, recipe)
    chosen = parse_numbers(tasks)
    settings = dagger.Settings(
        out,
        demos,
        recipe=recipe,
        drive=False,
        tasks=chosen,
        workers=workers,
        capacity=max(pictures, 1),
        device=device,
    )
    dagger.train(settings, resume=resume)


@app.command()
def dagger(
    out: Annotated[
        Path, typer.Option(help="Folder for the checkpoint, the curves and the driven episodes.")
    ],
    demos: Annotated[
        Path | None, typer.Option(help="Folder of demonstrations to begin with.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint folder whose weights to begin with.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of fitting.")] = 1200,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 512,
    learning_rate: Annotated[float, typer.Option(help="After warming up.")] = 1e-3,
    tasks: Tasks = "0-9",
    workers: Annotated[
        int, typer.Option(help="Simulators, a process of 1 GB each; some 3 a CPU core.")
    ] = 40,
    capacity: Annotated[
        int, typer.Option(help="Pictures that the GPU holds, 151 KB each.")
    ] = 350_000,
    keep: Annotated[float, typer.Option(help="Share of the driven steps that are kept.")] = 1.0,
    enough: Annotated[int, typer.Option(help="Pictures with which fitting begins.")] = 4000,
    device: Device = "cuda",
    answer_device: Annotated[
        str | None, typer.Option(help="A second GPU for the simulators' questions.")
    ] = None,
    render_gpu: Annotated[int | None, typer.Option(help="Number of the GPU that renders.")] = None,
    seed: Annotated[int, typer.Option(help="For layouts and weights.")] = 0,
) -> None:
    """Fit while simulators drive with the present policy and the expert labels every state (DAgger), from nothing or from a checkpoint.

    Needs a GPU of 80 GB and 16 CPU cores; about 25 minutes. Every few minutes the checkpoint so far is written.

    From a checkpoint that can already drive, no demonstrations are needed: `--start`, and `--enough` for the simulators' first minute.

    Example: `vla-tutorial train dagger --demos demos --out run --seconds 1200`
    """
    from vla_tutorial.training import dagger as run
    from vla_tutorial.training.fit import TrainConfig

    recipe = TrainConfig(steps=0, batch=batch, learning_rate=learning_rate)
    _need_gpu(device, TrainConfig(steps=20_000, batch=batch))
    chosen = parse_numbers(tasks)
    settings = run.Settings(
        out,
        demos,
        start,
        recipe,
        seconds,
        tasks=chosen,
        workers=workers,
        capacity=capacity,
        keep=keep,
        enough=enough,
        device=device,
        answer_device=answer_device,
        render_gpu=render_gpu,
        seed=seed,
    )
    run.train(settings)


@app.command()
def curves(
    log: Annotated[Path, typer.Argument(help="curves.jsonl of a run.")],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("curves.png"),
) -> None:
    """Plot a run's losses and closed-loop success (2 s).

    Example: `vla-tutorial train curves run/curves.jsonl --out curves.png`
    """
    import json

    from vla_tutorial import plots

    try:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    except (OSError, ValueError) as e:
        raise TutorialError(
            f"{log} cannot be read ({e}). Expected the curves.jsonl of `train fit` or `train dagger`."
        ) from e
    if not lines:
        raise TutorialError(
            f"{log} is empty: the run has not logged yet (it does so every 100 steps)."
        )
    plots.save(plots.training_figure(lines, title=str(log)), out)


def _need_gpu(device: str, recipe: object) -> None:
    """Refuse a GPU that is not there, with what the CPU would take."""
    import torch

    from vla_tutorial.training.dagger import estimate_hours
    from vla_tutorial.training.fit import TrainConfig
    from vla_tutorial.training.mini import CONFIG

    if not device.startswith("cuda") or torch.cuda.is_available():
        return
    assert isinstance(recipe, TrainConfig)
    hours = estimate_hours(CONFIG, recipe)
    raise TutorialError(
        f"PyTorch {torch.__version__} finds no CUDA GPU. {recipe.steps:,} steps of {recipe.batch} samples would take about {hours:,.0f} hours on this CPU, "
        "without rendering. Run on a machine with a GPU, or say --device cpu, best with fewer --steps."
    )
