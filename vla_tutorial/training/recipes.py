"""How each policy that ships is trained: one command, resumed until it is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vla_tutorial.training.chunks import TaskKey
from vla_tutorial.training.dagger import ALL_TASKS, RunConfig, train
from vla_tutorial.training.demos import collect
from vla_tutorial.training.run_files import PROGRESS, read_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """A policy's training from demonstrations to weights.

    Attributes:
        tasks: whose scenes, as (suite, number).
        demos_per_task: demonstrations of each task.
        seconds, alone, lead: as `RunConfig` has them.
        learning_rate, decay_from: as `TrainConfig` has them.
    """

    tasks: Sequence[TaskKey]
    demos_per_task: int
    seconds: float
    alone: float
    lead: float
    learning_rate: float
    decay_from: float


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
}
"""Recipes by the name of the policy."""


def run_recipe(name: str, config: RunConfig) -> bool:
    """Run a recipe's next slice in `config.out`; call again until it is done.

    The demonstrations are made first, in `config.demos`, on the CPU; those that exist are kept.

    Args:
        name: a key of `RECIPES`.
        config: how to run it: folders, `slice`, `start`, device, workers, capacity, seed. The
            recipe sets the rest.

    Returns:
        Whether the recipe is done.

    Raises:
        TutorialError: as `dagger.train`.
    """
    recipe = RECIPES[name]
    demos = config.demos or config.out / "demos"
    collect(demos, recipe.tasks, recipe.demos_per_task, config.workers, config.seed)
    resume = (config.out / PROGRESS).exists()
    spent = read_progress(config.out) if resume else 0.0
    if spent >= recipe.seconds:
        log.info("%s is done: %s", name, config.out / "mini")
        return True
    log.info("%s: %.0f of %.0f seconds of fitting are done", name, spent, recipe.seconds)
    how = replace(
        config.train,
        learning_rate=recipe.learning_rate,
        decay_from=recipe.decay_from,
    )
    settings = replace(
        config,
        demos=demos,
        train=how,
        seconds=recipe.seconds,
        alone=recipe.alone,
        lead=recipe.lead,
        tasks=tuple(recipe.tasks),
        # Every slice practises in layouts of its own.
        seed=config.seed + round(spent),
    )
    train(settings, resume)
    return read_progress(config.out) >= recipe.seconds
