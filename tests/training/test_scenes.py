"""Training in scenes with drawers and burners: two equal bowls, moved fixtures, what waits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from small_training import made_up_episode

from vla_tutorial import pixels
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import Float32
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.sim import Simulator, long_layouts
from vla_tutorial.sim import simulator as simulator_module
from vla_tutorial.sim.layouts import Layout, pose_column, random_layout
from vla_tutorial.training import labelling, sentences
from vla_tutorial.training.chunks import Chunk, LabelledEpisode, chunk_name, load_chunk, save_chunk
from vla_tutorial.training.demos import collect_episode
from vla_tutorial.training.labelling import (
    STILL_STEPS,
    STILL_WITHIN,
    MixingPolicy,
    as_trained,
    attention,
    fingers_touch,
    layout_seed,
    libero_action,
    practise,
)
from vla_tutorial.training.labels import KEYPOINTS, keypoints
from vla_tutorial.training.noise import Noise
from vla_tutorial.training.sentences import families, family_number
from vla_tutorial.training.simulator_worker import render_file

SPATIAL = ("libero_spatial", 9)
BOWLS = ("akita_black_bowl_1", "akita_black_bowl_2")
FIRST = KEYPOINTS.index("akita_black_bowl")
SECOND = KEYPOINTS.index("second akita_black_bowl")
BURNER = "flat_stove_1_button"
DRAWER = "white_cabinet_1_bottom_level"
REGION = "white_cabinet_1_bottom_region"
TOKENS = np.full(7, 31900)


@pytest.fixture(scope="module")
def spatial() -> Iterator[Simulator]:
    """Two equal bowls, a cabinet with drawers and a stove."""
    with Simulator(*SPATIAL) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def long() -> Iterator[Simulator]:
    """The bowl goes into the drawer, which is to be closed."""
    with Simulator("libero_10", 3, render=False) as simulator:
        yield simulator


@pytest.fixture(params=["spatial", "long"])
def either(request: pytest.FixtureRequest) -> Simulator:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Simulator)
    return found


def layouts_of(simulator: Simulator, seeds: Sequence[int]) -> Iterator[Layout]:
    """As practice draws them; a few cannot be built."""
    key = (simulator.task.suite, simulator.task.index)
    for seed in seeds:
        try:
            yield random_layout(simulator, layout_seed(3, *key, 0, seed))
        except TutorialError:
            continue


def set_joint(simulator: Simulator, qpos: NDArray[np.float64], name: str, value: float) -> None:
    """Turn a knob or pull a drawer in the positions `qpos` (nq,)."""
    qpos[simulator.model.joint(name).qposadr[0]] = value


def shown(simulator: Simulator, qpos: NDArray[np.float64], fixtures: Any = None) -> Any:
    """(224, 224, 3) int, as the policy sees it."""
    wiring = as_trained(simulator.task.suite)
    return pixels.prepare(simulator.view(qpos, fixtures), wiring).astype(int)


# Where things are


def test_of_two_equal_bowls_the_left_one_comes_first(spatial: Simulator) -> None:
    """Where the picture changes when one of them is taken away; and who is who does not matter."""
    layout = next(layouts_of(spatial, range(5)))
    spatial.reset(layout.state, 1, fixtures=layout.fixtures)
    pose = spatial.data.qpos.copy()
    before = shown(spatial, pose, layout.fixtures)
    points = keypoints(spatial)
    centres = []
    for name in BOWLS:
        without = pose.copy()
        start = pose_column(spatial, name)
        without[start : start + 3] = (0, 0, -5)
        changed = np.abs(shown(spatial, without, layout.fixtures) - before).max(2) > 12
        assert changed.sum() > 80
        centres.append(np.argwhere(changed)[:, ::-1].mean(0))
    centres.sort(key=lambda centre: centre[0])
    found = (points[[FIRST, SECOND]] + 1) * 112 - 0.5
    assert found[0, 0] < found[1, 0]
    # A bowl's origin is at its bottom.
    assert (np.abs(found - centres) < (8, 16)).all()
    start = [pose_column(spatial, name) for name in BOWLS]
    exchanged = pose.copy()
    exchanged[start[0] : start[0] + 7] = pose[start[1] : start[1] + 7]
    exchanged[start[1] : start[1] + 7] = pose[start[0] : start[0] + 7]
    assert np.abs(shown(spatial, exchanged, layout.fixtures) - before).max() <= 2
    assert np.allclose(keypoints(spatial), points, atol=1e-4, equal_nan=True)


def test_an_open_drawer_is_where_it_is(spatial: Simulator) -> None:
    spatial.reset(spatial.placement, 0)
    pose = spatial.data.qpos.copy()
    spatial.view(pose)
    closed = keypoints(spatial)
    set_joint(spatial, pose, "wooden_cabinet_1_top_level", -0.15)
    spatial.view(pose)
    moved = np.flatnonzero(np.abs(keypoints(spatial) - closed).max(1) > 0.01)
    assert [KEYPOINTS[k] for k in moved] == ["top_region"]


def test_what_a_scene_lacks_is_nowhere(either: Simulator) -> None:
    there = {name.rsplit("_", 1)[0] for name in either.bodies}
    there |= {"hand", "top_region", "middle_region", "bottom_region"}
    if BOWLS[1] in either.bodies:
        there.add("second akita_black_bowl")
    found = np.flatnonzero(~np.isnan(keypoints(either)).any(1))
    assert {KEYPOINTS[k] for k in found} == there


# Stored demonstrations


@pytest.fixture(scope="module")
def filmed(spatial: Simulator) -> tuple[LabelledEpisode, list[NDArray[np.uint8]]]:
    """Some wild steps beside a burner that is on, fixtures moved, and what the simulator showed."""
    rng = np.random.default_rng(3)
    layout = next(layouts_of(spatial, range(5)))
    state = layout.state.copy()
    set_joint(spatial, state[1:], BURNER, 1.0)
    # The burner turns red after the first step.
    images = [spatial.reset(state, 2, fixtures=layout.fixtures).image]
    poses = [spatial.pose_in_picture()]
    for _ in range(3):
        images.append(spatial.step([*rng.uniform(-0.8, 0.8, 6), -1])[0].image)
        poses.append(spatial.pose_in_picture())
    episode = made_up_episode(SPATIAL, layout.instruction, poses, layout.fixtures)
    return episode, images


def test_a_stored_demonstration_shows_moved_fixtures_and_the_red_burner(
    spatial: Simulator,
    filmed: tuple[LabelledEpisode, list[NDArray[np.uint8]]],
    tmp_path: Path,
) -> None:
    """Stored on a grid of 0.01 mm, edges may flip a handful of the 65,536 pixels."""
    episode, images = filmed
    assert np.abs(episode.fixtures - spatial.own_fixtures).max() > 0.003
    path = tmp_path / chunk_name(*SPATIAL, 0)
    save_chunk(path, Chunk(*SPATIAL, 1, (episode,)))
    (stored,) = load_chunk(path).episodes
    assert np.array_equal(stored.fixtures, episode.fixtures)
    for pose, image in zip(stored.qpos, images, strict=True):
        seen = spatial.view(pose, stored.fixtures).astype(int)
        assert (np.abs(seen - image).max(2) > 2).mean() < 1e-3
    ((rendered, found),) = render_file(path, spatial, 48)
    for picture, image in zip(rendered, images, strict=True):
        whole = pixels.resize_lanczos3(pixels.jpeg_round_trip(pixels.orient(image, "rotate_180")))
        assert np.abs(picture.astype(int) - whole).mean() < 0.2
    assert families()[found.family[0]][0] == episode.instruction
    # Were either forgotten, it would show.
    pose = stored.qpos[1].astype(np.float64)
    here = shown(spatial, pose, stored.fixtures)
    elsewhere = np.abs(shown(spatial, pose) - here).max(2) > 12
    assert elsewhere.sum() > 500
    set_joint(spatial, pose, BURNER, 0.0)
    redder = here - shown(spatial, pose, stored.fixtures)
    assert (redder[..., 0] - redder[..., 1] > 20).sum() > 30


def test_files_of_another_suite_are_refused(
    spatial: Simulator,
    filmed: tuple[LabelledEpisode, list[NDArray[np.uint8]]],
    tmp_path: Path,
) -> None:
    path = tmp_path / chunk_name("libero_goal", 9, 0)
    save_chunk(path, Chunk("libero_goal", 9, 1, (filmed[0],)))
    with pytest.raises(TutorialError, match=r"libero_goal task 9; .* of libero_spatial task 9"):
        next(render_file(path, spatial, 48))


# What is asked for


def test_every_layouts_instruction_has_a_family(either: Simulator) -> None:
    drawn = list(layouts_of(either, range(20)))
    assert len(drawn) > 15
    numbers = set()
    for layout in drawn:
        number = family_number(layout.instruction)
        assert families()[number][0] == layout.instruction
        numbers.add(number)
    assert len(numbers) == 1 if either.task.suite == "libero_10" else len(numbers) > 4


def test_every_layout_of_libero_object_has_a_family_too(simulator: Simulator) -> None:
    drawn = list(layouts_of(simulator, range(20)))
    assert len({family_number(layout.instruction) for layout in drawn}) > 3


def test_the_sentences_know_what_layouts_put_beside_the_basket() -> None:
    """Any two of them have a family (test_samples.py)."""
    assert set(sentences._PANTRY) == set(long_layouts._PANTRY)
    assert set(sentences._PANTRY) > set(long_layouts._FEWER)


def test_the_bowl_comes_before_the_drawer_that_is_closed_on_it(long: Simulator) -> None:
    """Published order: close the drawer, bowl in the drawer."""
    assert [predicate[0] for predicate in long.goal] == ["close", "in"]
    layout = next(layout for layout in layouts_of(long, range(20)) if not layout.begun)
    long.reset(layout.state, 0, fixtures=layout.fixtures)
    bowl = np.array(long.data.body("akita_black_bowl_1_main").xpos)
    drawer = np.array(long.data.site(REGION).xpos)
    name, thing, place = attention(long)
    assert name == "akita_black_bowl_1"
    assert np.array_equal(thing, bowl)
    assert np.array_equal(place, drawer)
    # Now it lies in the drawer, which waits to be closed.
    start = pose_column(long, name)
    long.data.qpos[start : start + 3] = drawer
    mujoco.mj_forward(long.model, long.data)
    name, thing, place = attention(long)
    assert name == REGION
    assert np.array_equal(thing, drawer)
    assert np.array_equal(place, drawer)
    assert not fingers_touch(long, name)
    # When all is done the first one is attended to, where it is now.
    set_joint(long, long.data.qpos, DRAWER, 0.002)
    mujoco.mj_forward(long.model, long.data)
    closed = np.array(long.data.site(REGION).xpos)
    assert np.abs(closed - drawer).max() > 0.1
    long.data.qpos[start : start + 3] = closed
    mujoco.mj_forward(long.model, long.data)
    assert all(map(long.holds, long.goal))
    name, thing, _ = attention(long)
    assert name == REGION
    assert np.array_equal(thing, closed)


# Practice


def mixing(
    simulator: Simulator, ask: Any = None, beta: float = 0.0, free: bool = False
) -> MixingPolicy:
    """A policy in the first layout that can be built, of an episode without noise."""
    key = (simulator.task.suite, simulator.task.index)
    for seed in range(20):
        drawn = layout_seed(3, *key, 10**6, seed)
        rng = np.random.default_rng(4)
        try:
            policy = MixingPolicy(simulator, drawn, ExpertPolicy(), ask, rng, beta)
        except TutorialError:
            continue
        policy.disturb.noise = Noise()
        policy.turns.free = free
        policy.turns.begun = 0
        return policy
    raise AssertionError("no layout")


def test_practice_in_another_suite(spatial: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are of the suite's own statistics; what is stored is relative to the robot's base."""
    asked: list[tuple[LabelledEpisode, Float32]] = []

    def ask(picture: Any, step: LabelledEpisode, points: Float32) -> tuple[Any, float]:
        assert picture.shape == (224, 224, 3)
        asked.append((step, points))
        return TOKENS, 1.0

    monkeypatch.setitem(labelling.FREE_STEPS, "libero_spatial", 6)
    policy = mixing(spatial, ask)
    turns = itertools.cycle([True, False])
    monkeypatch.setattr(policy.turns, "policy_acts", lambda: next(turns))
    assert not practise(policy)
    episode = policy.episode()
    assert len(episode) == len(asked) == policy.limit == 6
    theirs = libero_action(TOKENS, "libero_spatial")
    assert np.abs(theirs - libero_action(TOKENS, "libero_object")).max() > 0.01
    assert np.abs(episode.executed[::2] - theirs).max() < 0.6e-3
    said = libero_action(31999 - episode.bins[1::2].astype(int), "libero_spatial")
    assert np.abs(episode.executed[1::2] - said).max() < 0.6e-3
    (_, bowl, plate) = policy.layout.goal[0]
    base = spatial.data.body("robot0_link0").xpos
    # The last step's positions are those before its action.
    assert np.abs(episode.thing[-1] + base - spatial.data.xpos[spatial.bodies[bowl]]).max() < 0.02
    assert np.abs(episode.place[-1] + base - spatial.data.xpos[spatial.bodies[plate]]).max() < 0.02
    assert np.abs(episode.hand[-1] + base - spatial.eef_pos).max() < 0.03
    assert {step.instruction for step, _ in asked} == {policy.layout.instruction}
    for _, points in asked:
        assert points.shape == (1, len(KEYPOINTS), 2)
        assert points[0, FIRST, 0] < points[0, SECOND, 0]


@pytest.fixture(scope="module")
def step(filmed: tuple[LabelledEpisode, Any]) -> LabelledEpisode:
    """One step with the hand and the thing on the table."""
    return filmed[0][:1]


def moving(step: LabelledEpisode, per_step: float, count: int) -> list[LabelledEpisode]:
    """`count` steps in which the hand moves by so many metres in each."""
    shift = np.array([[per_step, 0, 0]], np.float32)
    return [replace(step, hand=step.hand + k * shift) for k in range(count)]


def test_an_episode_ends_when_its_thing_is_lost(spatial: Simulator, step: LabelledEpisode) -> None:
    """Whoever acts."""
    policy = mixing(spatial)
    policy.steps = moving(step, 0.1, 3)
    assert not policy.ended()
    fallen = np.array([[0.5, 0.1, -0.11]], np.float32)
    policy.steps.append(replace(step, thing=fallen))
    assert policy.ended()
    policy.turns.free = True
    assert policy.ended()


def test_an_episode_of_the_policy_alone_ends_when_its_hand_stays(
    spatial: Simulator, step: LabelledEpisode
) -> None:
    policy = mixing(spatial, free=True)
    still = 0.9 * STILL_WITHIN / STILL_STEPS
    policy.steps = moving(step, still, STILL_STEPS - 1)
    assert not policy.ended()
    policy.steps = moving(step, still, STILL_STEPS + 1)
    assert policy.ended()
    # It may have moved before, but not slowly on.
    policy.steps = [*moving(step, 0.05, 20), *moving(step, still, STILL_STEPS)]
    assert policy.ended()
    policy.steps = moving(step, 1.1 * STILL_WITHIN / (STILL_STEPS - 1), STILL_STEPS)
    assert not policy.ended()
    policy.steps = moving(step, still, 2 * STILL_STEPS)
    policy.turns.free = False
    assert not policy.ended()


@pytest.mark.parametrize("free", [True, False])
def test_practice_of_the_policy_alone_ends_when_it_does_nothing(
    spatial: Simulator, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    monkeypatch.setitem(labelling.FREE_STEPS, "libero_spatial", 6)
    monkeypatch.setattr(labelling, "STILL_STEPS", 4)
    # The middle bins hardly move the hand.
    nothing = np.array([31872] * 6 + [31745])
    policy = mixing(spatial, lambda *_: (nothing, 1.0), free=free)
    monkeypatch.setattr(policy.turns, "policy_acts", lambda: True)
    assert not practise(policy)
    assert len(policy.steps) == (4 if free else 6)


def test_saved_initial_states_are_never_read(
    either: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a saved initial state was read")

    monkeypatch.setattr(simulator_module, "initial_states", read)
    with pytest.raises(AssertionError, match="was read"):
        either.reset(0)
    suite = either.task.suite
    monkeypatch.setitem(labelling.FREE_STEPS, suite, 2)
    policy = mixing(either, lambda *_: (TOKENS, 0.0))
    assert not practise(policy)
    assert len(policy.steps) == 2
    seed = policy.scene.layout_seed
    assert seed is not None
    rng = np.random.default_rng(0)
    assert collect_episode(either, ExpertPolicy(), seed, rng) is None
