"""Random layouts of all four suites: nothing collides or falls, nobody's saved states, one goal.

With LAYOUTS=all every task of the three suites is tried with 20 seeds, which takes ten minutes.
Otherwise one task of each suite and those with a basket or a microwave are, with fewer seeds. Each
simulator is built once and renders only where pictures are compared.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import BOWL_PLACES, About, Scene, put_both_sentence
from vla_tutorial.sim import (
    Simulator,
    builder,
    goal_layouts,
    hand_starts,
    layouts,
    long_layouts,
    object_layouts,
    own_instruction,
    spatial_layouts,
    task_instructions,
)
from vla_tutorial.sim import simulator as simulator_module
from vla_tutorial.sim.layouts import FIRST_TRAINING_SEED, Layout, random_layout
from vla_tutorial.sim.protocol import initial_states
from vla_tutorial.sim.simulator import NO_OP

SUITES = ("libero_spatial", "libero_goal", "libero_10")
ALL = os.environ.get("LAYOUTS") == "all"
SEEDS = (*range(20 if ALL else 3), *range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 6))
TASKS = [(suite, task) for suite in SUITES for task in range(10)]
SOME = [("libero_spatial", 4), ("libero_goal", 3), ("libero_10", 0), ("libero_10", 9)]


Build = Callable[[str, int], Simulator]


@pytest.fixture(scope="module")
def built() -> Iterator[Build]:
    """Simulators without a camera, kept for the tests that follow."""
    kept: dict[tuple[str, int], Simulator] = {}

    def get(suite: str, task: int) -> Simulator:
        key = (suite, task)
        if key not in kept:
            if ALL:
                close()
            kept[key] = Simulator(*key, render=False)
        return kept[key]

    def close() -> None:
        for simulator in kept.values():
            simulator.close()
        kept.clear()

    yield get
    close()


@pytest.fixture(scope="module", params=TASKS if ALL else SOME, ids=lambda key: f"{key[0]}-{key[1]}")
def sim(request: pytest.FixtureRequest, built: Build) -> Simulator:
    return built(*request.param)


@pytest.fixture(scope="module")
def drawn(sim: Simulator) -> list[Layout]:
    return [random_layout(sim, seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def stove() -> Iterator[Simulator]:
    """Two pots and a stove that is on, with a camera."""
    with Simulator("libero_10", 8, camera_size=64) as simulator:
        yield simulator


def positions(sim: Simulator) -> Floats:
    """(N, 3) of all bodies, fixtures too."""
    return np.array([sim.data.xpos[body] for body in sim.bodies.values()])


def test_nothing_falls_and_nothing_is_done(sim: Simulator, drawn: list[Layout]) -> None:
    for layout in drawn:
        sim.reset(layout.state, 0, fixtures=layout.fixtures)
        before = positions(sim)
        waiting = [predicate for predicate in layout.goal if predicate not in layout.done]
        assert waiting and not any(map(sim.holds, waiting)) and all(map(sim.holds, layout.done))
        for _ in range(20):
            sim.step(NO_OP)
        assert np.abs(positions(sim) - before).max() < 0.01
        assert not all(map(sim.holds, layout.goal))


def test_only_training_begins_in_the_middle_of_tasks(drawn: list[Layout]) -> None:
    for seed, layout in zip(SEEDS, drawn, strict=True):
        if layout.begun:
            assert seed >= FIRST_TRAINING_SEED


def test_seeds_repeat_and_differ(sim: Simulator, drawn: list[Layout]) -> None:
    again = random_layout(sim, SEEDS[1])
    assert np.array_equal(again.state, drawn[1].state)
    assert np.array_equal(again.fixtures, drawn[1].fixtures)
    assert (again.goal, again.about, again.wide) == (drawn[1].goal, drawn[1].about, drawn[1].wide)
    assert not np.array_equal(drawn[0].state, drawn[1].state)


def test_no_layout_is_a_saved_state(sim: Simulator, drawn: list[Layout]) -> None:
    saved = initial_states(sim.task.suite, sim.task.index)
    for layout in drawn:
        things = slice(1 + 9, 1 + sim.model.nq)
        assert np.abs(saved[:, things] - layout.state[things]).max(1).min() > 1e-3


def test_the_saved_states_are_not_read(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a saved initial state was read")

    monkeypatch.setattr(simulator_module, "initial_states", read)
    task = sim.task
    sim.start(Scene(task.suite, task.index, 0, layout_seed=99), 1)


def test_an_episode_asks_what_the_layout_asks(sim: Simulator, drawn: list[Layout]) -> None:
    task = sim.task
    scene = Scene(task.suite, task.index, 0, layout_seed=SEEDS[1])
    assert own_instruction(sim, scene) == drawn[1].instruction
    sim.start(scene, 1)
    assert sim.asked == drawn[1].goal
    ids = list(sim.fixtures.values())
    assert np.array_equal(sim.model.body_pos[ids], drawn[1].fixtures[:, :3])
    sim.reset(sim.placement, 0)
    assert sim.asked == sim.goal
    assert np.array_equal(sim.model.body_pos[ids], sim.own_fixtures[:, :3])
    assert np.array_equal(sim.model.body_quat[ids], sim.own_fixtures[:, 3:])


def test_a_layout_leaves_nothing_behind(sim: Simulator) -> None:
    """The same actions lead to the same state before a layout and after it."""
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 7))

    def run() -> Floats:
        sim.reset(0)
        for action in actions:
            sim.step(action)
        return np.concatenate([sim.state(), positions(sim).ravel()])

    before = run()
    sim.start(Scene(sim.task.suite, sim.task.index, 0, layout_seed=SEEDS[-1]), 1)
    sim.step(actions[0])
    assert np.array_equal(run(), before)
    assert sim.asked == sim.goal


def test_a_stored_state_shows_what_the_episode_showed(stove: Simulator) -> None:
    """In a step edges may move, since joints are damped: a few pixels."""
    for seed in SEEDS[:2]:
        layout = random_layout(stove, seed)
        start = layout.state[1 : 1 + stove.model.nq]
        seen = stove.reset(layout.state, 0, fixtures=layout.fixtures)
        assert np.array_equal(stove.view(start, layout.fixtures), seen.image)
        assert not np.array_equal(stove.view(start), seen.image)
        stove.reset(layout.state, 3, fixtures=layout.fixtures)
        for _ in range(3):
            seen, *_ = stove.step([0.3, 0.3, 0.3, 0, 0, 0.1, -1])
        again = stove.view(stove.pose_in_picture(), layout.fixtures)
        assert (np.abs(again.astype(int) - seen.image).max(2) > 8).mean() < 2e-3


def test_the_sentence_is_the_goals(sim: Simulator, drawn: list[Layout]) -> None:
    suite = sim.task.suite
    for layout in drawn:
        about = layout.about
        if about.task is not None:
            assert layout.instruction == task_instructions(suite)[about.task]
        else:
            assert layout.instruction == put_both_sentence(*about.things)
        named = {name for predicate in layout.goal for name in predicate}
        assert set(about.things) <= named and layout.target == next(iter(about.things), "")


MODULES = [
    builder,
    goal_layouts,
    hand_starts,
    layouts,
    long_layouts,
    object_layouts,
    spatial_layouts,
]


@pytest.mark.parametrize("module", MODULES)
def test_layouts_do_not_know_the_saved_states(module: object) -> None:
    assert "initial_states" not in inspect.getsource(module)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def spatial(built: Build) -> Simulator:
    return built("libero_spatial", 4)


def test_only_the_sentence_tells_which_bowl(spatial: Simulator) -> None:
    found = [random_layout(spatial, seed) for seed in range(40)]
    assert {layout.target for layout in found} == {"akita_black_bowl_1", "akita_black_bowl_2"}
    places = [layout.about.place for layout in found]
    assert len(set(places)) > 5
    assert 0.3 < np.mean([place == BOWL_PLACES[4] for place in places]) < 0.8
    assert 0.1 < np.mean([layout.wide for layout in found]) < 0.5


def test_the_bowl_stands_where_the_sentence_says(spatial: Simulator) -> None:
    """On the table or on something, by its height; open drawers only with a bowl inside."""
    floor = {
        "on_ramekin": 0.92,
        "on_cookie_box": 0.91,
        "on_stove": 0.91,
        "in_top_drawer": 1.0,
        "on_wooden_cabinet": 1.1,
    }
    for seed in range(12):
        layout = random_layout(spatial, seed)
        height = spatial.data.xpos[spatial.bodies[layout.target]][2]
        low = floor.get(layout.about.place, 0.89)
        assert low < height < low + 0.1
        if layout.about.place == "in_top_drawer":
            assert spatial.holds(("in", layout.target, "wooden_cabinet_1_top_region"))
            assert spatial.holds(("open", "wooden_cabinet_1_top_region"))


def test_the_burner_is_as_red_as_in_the_episode(stove: Simulator) -> None:
    layout = random_layout(stove, 0)
    assert layout.done == (("turnon", "flat_stove_1"),)
    start = layout.state[1 : 1 + stove.model.nq]
    on = stove.reset(layout.state, 0, fixtures=layout.fixtures).image
    cold = start.copy()
    cold[stove.model.joint("flat_stove_1_button").qposadr[0]] = 0.0
    off = stove.view(cold, layout.fixtures)
    assert np.array_equal(stove.view(start, layout.fixtures), on)
    red = on.astype(int)[..., 0] - off[..., 0]
    assert red.max() > 40


def test_the_second_half_of_a_task_is_there_to_begin_with(built: Build) -> None:
    simulator = built("libero_10", 9)
    found = [random_layout(simulator, FIRST_TRAINING_SEED + seed) for seed in range(24)]
    begun = [layout for layout in found if layout.begun]
    assert 2 <= len(begun) <= 14
    inside = ("in", "white_yellow_mug_1", "microwave_1_heating_region")
    assert {layout.done for layout in begun} == {(inside,)}
    assert {layout.begun for layout in begun} == {"white_yellow_mug_1 placed"}


OBJECT_LAYOUTS = [
    (0, "alphabet_soup_1", 10, False, 18.12819451018702),
    (1, "butter_1", 10, False, 18.204947624372664),
    (2, "salad_dressing_1", 5, True, 17.024379321652514),
    (20000, "tomato_sauce_1", 3, True, 17.75513047816194),
    (2**40 + 5, "alphabet_soup_1", 10, False, 18.19790494810853),
]
"""Seed → target, steps, wide and the sum of the state's absolute values, as `mini` was trained."""


@pytest.mark.parametrize(("seed", "target", "steps", "wide", "total"), OBJECT_LAYOUTS)
def test_libero_object_keeps_its_layouts(
    simulator: Simulator, seed: int, target: str, steps: int, wide: bool, total: float
) -> None:
    layout = random_layout(simulator, seed)
    assert (layout.target, layout.settle_steps, layout.wide) == (target, steps, wide)
    assert np.abs(layout.state).sum() == pytest.approx(total, abs=1e-3)
    assert layout.goal == (("in", target, "basket_1_contain_region"),)
    assert layout.about == About("libero_object", layout.about.task, (target,))
    assert layout.fixtures.shape == (0, 7)


def test_a_scene_without_layouts_is_refused(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "bodies", {})
    with pytest.raises(TutorialError, match="libero_object"):
        random_layout(simulator, 0)
