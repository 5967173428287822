"""Recipes, and what `mini-narrow` is trained with: published places, other looks, words that tell
little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import TRAIN, pictures
from tokenizers import Tokenizer

from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import pose_column, random_layout
from vla_tutorial.sim.object_layouts import SLOTS
from vla_tutorial.training import dagger, recipes
from vla_tutorial.training.augment import Augmentation, augmented
from vla_tutorial.training.dagger import RunConfig
from vla_tutorial.training.labelling import layout_seed
from vla_tutorial.training.mini import NARROW
from vla_tutorial.training.noise import Looks
from vla_tutorial.training.recipes import RECIPES, run_recipe
from vla_tutorial.training.samples import Prompts

SUITE = "libero_object"


def test_published_places_are_what_the_benchmarks_resets_draw(simulator: Simulator) -> None:
    """Each thing in its own region of LIBERO's definition, the task's own goal, the hand at home."""
    things = [name for name in simulator.bodies if name != "basket_1"]
    regions = set()
    spread = []
    for attempt in range(12):
        seed = layout_seed(1, SUITE, 0, 0, attempt, published=True)
        layout = random_layout(simulator, seed)
        assert layout.goal == simulator.goal
        assert not layout.wide
        qpos = layout.state[1:]
        found = []
        for name in things:
            start = pose_column(simulator, name)
            away = np.abs(SLOTS - qpos[start : start + 2]).max(1)
            assert away.min() <= 0.025
            found.append(int(away.argmin()))
        regions.add(tuple(found))
        start = pose_column(simulator, "basket_1")
        spread.append(qpos[start : start + 2])
    # Every thing always has the same one.
    assert len(regions) == 1
    assert 0.002 < np.ptp(spread, axis=0).max() < 0.03


def test_a_look_changes_what_is_seen_and_nothing_else(simulator: Simulator) -> None:
    pose = simulator.placement[1 : 1 + simulator.model.nq]
    plain = simulator.view(pose).astype(float)
    model = simulator.model
    kept = [model.geom_size.copy(), model.body_mass.copy(), model.geom_friction.copy()]
    looks = Looks(model)
    differences = []
    for number in range(6):
        looks.vary(np.random.default_rng(number))
        differences.append(np.abs(simulator.view(pose) - plain).mean())
    looks.restore()
    assert np.array_equal(simulator.view(pose), plain)
    assert max(differences) > 8
    for array, now in zip(
        kept, (model.geom_size, model.body_mass, model.geom_friction), strict=True
    ):
        assert np.array_equal(array, now)
    # Some looks are the benchmark's own.
    seen = [np.random.default_rng(number).random() < 0.3 for number in range(6)]
    assert [difference == 0 for difference in differences] == seen


def test_deaf_samples_get_sentences_of_any_family(tokenizer: Tokenizer) -> None:
    prompts = Prompts(tokenizer, "cpu")
    torch.manual_seed(0)
    family = torch.full((4000,), 5)
    own = {int(prompts.rows(family[:1], torch.tensor([share]))) for share in (0.0, 0.5, 0.99)}
    shares = []
    for deaf in (0.0, 0.6):
        drawn = prompts.draw(family, deaf).tolist()
        shares.append(sum(row in own for row in drawn) / len(drawn))
    assert shares[0] == 1.0
    assert shares[1] == pytest.approx(0.4, abs=0.05)


def test_colours_are_mixed_and_grey_stays_grey() -> None:
    torch.manual_seed(0)
    grey = pictures(3, 90)
    red = grey.clone()
    red[..., 1:] = 20
    how = Augmentation(shift=0, zoom=0, light=0, noise=0, colour=0.3)
    points = torch.zeros(3, 1, 2)
    for images, changes in ((grey, False), (red, True)):
        plain, _ = augmented(images, points, replace(how, colour=0.0))
        mixed, _ = augmented(images, points, how)
        assert (float((plain - mixed).abs().mean()) > 0.05) is changes


def test_the_narrow_model_stays_under_its_size() -> None:
    parameters = sum(p.numel() for p in OpenVLA(NARROW).parameters())
    assert 2 * parameters < 12 * 10**6


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a recipe collects and trains; nothing is done."""
    found: list[Any] = []

    def train(config: RunConfig, resume: bool) -> None:
        found.append((config, resume))
        config.out.mkdir(exist_ok=True)
        spent = dagger.read_progress(config.out) if resume else 0.0
        slices = spent + (config.slice or config.seconds)
        dagger.write_progress(config.out, min(config.seconds, slices))

    monkeypatch.setattr(recipes, "train", train)
    monkeypatch.setattr(recipes, "collect", lambda *arguments: found.append(arguments))
    return found


def config(out: Path, **more: Any) -> RunConfig:
    return RunConfig(out, None, TRAIN, slice=400, workers=3, **more)


def test_a_recipe_goes_on_until_it_is_done(ran: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert not run_recipe("mini-narrow", config(out, seed=7), seconds=1000)
    demos, (first, resume) = ran
    recipe = RECIPES["mini-narrow"]
    assert demos == (out / "demos", recipe.tasks, recipe.demos_per_task, 3, 7, True)
    assert not resume
    assert (first.seconds, first.slice, first.seed, first.demos) == (1000, 400, 7, out / "demos")
    assert first.published and first.looks
    assert first.model == NARROW
    assert (first.train.deaf, first.train.augmentation.colour) == (recipe.deaf, recipe.colour)
    assert {suite for suite, _ in first.tasks} == {SUITE}
    assert not run_recipe("mini-narrow", config(out, seed=7), seconds=1000)
    second, resume = ran[-1]
    # Every slice has layouts of its own.
    assert resume and second.seed == 407
    assert run_recipe("mini-narrow", config(out), seconds=1000)
    count = len(ran)
    assert run_recipe("mini-narrow", config(out), seconds=1000)
    assert len(ran) == count


def test_demonstrations_that_exist_are_not_made_again(ran: list[Any], tmp_path: Path) -> None:
    given = replace(config(tmp_path / "run"), demos=tmp_path / "demos")
    run_recipe("mini", given)
    ((settings, _),) = ran
    assert settings.demos == tmp_path / "demos"
    assert settings.seconds == RECIPES["mini"].seconds
    assert (settings.published, settings.looks, settings.train.deaf) == (False, False, 0.0)
    assert len(settings.tasks) == 40
