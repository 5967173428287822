"""How each policy that ships is trained: one command, resumed until it is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.training.augment import Augmentation
from vla_tutorial.training.chunks import TaskKey
from vla_tutorial.training.dagger import ALL_TASKS, RunConfig, train
from vla_tutorial.training.demos import collect
from vla_tutorial.training.mini import CONFIG, NARROW
from vla_tutorial.training.run_files import PROGRESS, read_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """A policy's training from demonstrations to weights.

    Attributes:
        tasks: whose scenes, as (suite, number).
        demos_per_task: demonstrations of each task.
        seconds, alone, lead: as `RunConfig` has them.
        learning_rate, decay_from, deaf: as `TrainConfig` has them.
        colour: as `Augmentation` has it.
        published, looks, model: as `RunConfig` has them.
    """

    tasks: Sequence[TaskKey]
    demos_per_task: int
    seconds: float
    alone: float
    lead: float
    learning_rate: float
    decay_from: float
    deaf: float = 0.0
    colour: float = 0.0
    published: bool = False
    looks: bool = False
    model: OpenVLAConfig = CONFIG


RECIPES = {
    "mini": Recipe(
        ALL_TASKS,
        demos_per_task=60,
        seconds=9000,
        alone=0.05,
        lead=0.1,
        learning_rate=1e-3,
        decay_from=0.6,
    ),
    # As the benchmark's own demonstrations are made: a task's picture alone says what to do.
    "mini-narrow": Recipe(
        tuple(key for key in ALL_TASKS if key[0] == "libero_object"),
        demos_per_task=60,
        seconds=900,
        alone=0.15,
        lead=0.15,
        learning_rate=1e-3,
        decay_from=0.5,
        deaf=0.5,
        colour=0.15,
        published=True,
        looks=True,
        model=NARROW,
    ),
}
"""Recipes by the name of the policy."""


def run_recipe(name: str, config: RunConfig, seconds: float | None = None) -> bool:
    """Run a recipe's next slice in `config.out`; call again until it is done.

    Without `config.demos` the demonstrations are made first, in `out/demos`, on the CPU; those that
    exist are kept.

    Args:
        name: a key of `RECIPES`.
        config: how to run it: folders, `slice`, `start`, device, workers, capacity, seed. The
            recipe sets the rest.
        seconds: of fitting, all slices together, in place of the recipe's; the same in each call,
            since the learning rate goes by them.

    Returns:
        Whether the recipe is done.

    Raises:
        TutorialError: as `dagger.train` and `demos.collect`.
    """
    settings = _settings(RECIPES[name], config, seconds)
    resume = (config.out / PROGRESS).exists()
    spent = read_progress(config.out) if resume else 0.0
    if spent >= settings.seconds:
        log.info("%s is done: %s", name, config.out / "mini")
        return True
    if not config.demos:
        _make_demonstrations(RECIPES[name], settings)
    log.info("%s: %.0f of %.0f seconds of fitting are done", name, spent, settings.seconds)
    # Every slice practises in layouts of its own.
    train(replace(settings, seed=config.seed + round(spent)), resume)
    return read_progress(config.out) >= settings.seconds


def _settings(recipe: Recipe, config: RunConfig, seconds: float | None) -> RunConfig:
    how = replace(
        config.train,
        learning_rate=recipe.learning_rate,
        decay_from=recipe.decay_from,
        deaf=recipe.deaf,
        augmentation=Augmentation(colour=recipe.colour),
    )
    return replace(
        config,
        demos=config.demos or config.out / "demos",
        train=how,
        seconds=seconds or recipe.seconds,
        alone=recipe.alone,
        lead=recipe.lead,
        tasks=tuple(recipe.tasks),
        published=recipe.published,
        looks=recipe.looks,
        model=recipe.model,
    )


def _make_demonstrations(recipe: Recipe, settings: RunConfig) -> None:
    assert settings.demos
    collect(
        settings.demos,
        recipe.tasks,
        recipe.demos_per_task,
        settings.workers,
        settings.seed,
        recipe.published,
    )
