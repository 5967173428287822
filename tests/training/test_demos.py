"""Demonstrations: never the benchmark's own starts, labels free of noise, small files, and pictures equal to those that were seen."""

from __future__ import annotations

import errno
import importlib
import inspect
import itertools
import json
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from small_training import made_up_episode

import vla_tutorial.training
from vla_tutorial import actions, pixels
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.sim import Simulator
from vla_tutorial.sim import simulator as simulator_module
from vla_tutorial.sim.layouts import BASKET, Layout, pose_column, random_layout
from vla_tutorial.sim.protocol import initial_states
from vla_tutorial.training import demos, labelling, labels
from vla_tutorial.training.chunks import (
    Chunk,
    LabelledEpisode,
    TaskKey,
    chunk_name,
    count_steps,
    load_chunk,
    save_chunk,
)
from vla_tutorial.training.demos import collect_episode
from vla_tutorial.training.labelling import disturbed_tokens, layout_seed, libero_action
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.training.sentences import SUITES, families
from vla_tutorial.training.simulator_worker import render_file

SUITE = "libero_object"
START = layout_seed(0, SUITE, 0, 0, 0)
SHAKEN = Noise(scale=0.25, persistence=0.8, burst_rate=0.02, flip_rate=0.0)
FILE = chunk_name(SUITE, 0, 0)


class Watched(ExpertPolicy):
    """The expert, and what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[NDArray[np.int64]] = []

    def predict(self, batch: list[PolicyInput]) -> NDArray[np.int64]:  # type: ignore[override]
        tokens = super().predict(batch)
        self.said.append(tokens[0])
        return tokens


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(SUITE, 0, render=False) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def some(sim: Simulator) -> list[Layout]:
    return [random_layout(sim, layout_seed(7, SUITE, 0, 0, k)) for k in range(60)]


@pytest.fixture(scope="module")
def episode(sim: Simulator) -> LabelledEpisode:
    found = collect_episode(sim, ExpertPolicy(), START, np.random.default_rng(0), SHAKEN)
    assert found
    return found


@pytest.fixture
def file(episode: LabelledEpisode, tmp_path: Path) -> Path:
    path = tmp_path / FILE
    save_chunk(path, Chunk(SUITE, 0, 3, (episode, episode)))
    return path


@pytest.fixture(scope="module")
def filmed(simulator: Simulator) -> tuple[LabelledEpisode, list[NDArray[np.uint8]]]:
    """Some wild steps as an episode, and the pictures that the simulator showed."""
    rng = np.random.default_rng(3)
    layout = random_layout(simulator, layout_seed(3, SUITE, 0, 0, 0))
    seen = [simulator.reset(layout.state, layout.settle_steps)]
    rows = [simulator.pose_in_picture()]
    for _ in range(3):
        seen.append(simulator.step([*rng.uniform(-0.8, 0.8, 6), -1])[0])
        rows.append(simulator.pose_in_picture())
    episode = made_up_episode((SUITE, 0), layout.instruction, rows)
    return episode, [o.image for o in seen]


def things_xy(sim: Simulator, states: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 6, 2) of flattened states (..., S)."""
    starts = [1 + pose_column(sim, name) for name in sim.bodies if name != BASKET]
    return np.stack([states[..., a : a + 2] for a in starts], -2)


def test_no_layout_is_a_saved_initial_state(sim: Simulator, some: list[Layout]) -> None:
    saved = things_xy(sim, initial_states(SUITE, 0))
    for layout in some:
        moved = np.abs(things_xy(sim, layout.state) - saved).max((1, 2))
        assert moved.min() > 1e-3


MODULES = [module.name for module in pkgutil.iter_modules(vla_tutorial.training.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_training_does_not_know_the_saved_initial_states(name: str) -> None:
    module = importlib.import_module(f"vla_tutorial.training.{name}")
    assert not hasattr(module, "initial_states")
    assert "initial_states" not in inspect.getsource(module)


def test_collecting_and_practising_never_read_the_saved_initial_states(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a saved initial state was read")

    def ask(*_: object) -> tuple[NDArray[np.int64], float]:
        return np.full(7, 31900), 0.0

    monkeypatch.setattr(simulator_module, "initial_states", read)
    with pytest.raises(AssertionError, match="was read"):
        sim.reset(0)
    monkeypatch.setitem(labelling.FREE_STEPS, SUITE, 2)
    assert collect_episode(sim, ExpertPolicy(), START, rng) is None
    policy = labelling.MixingPolicy(sim, START, ExpertPolicy(), ask, rng, 0.0)
    assert not labelling.practise(policy) and len(policy.steps) == 2


def test_training_and_evaluation_never_share_a_layout() -> None:
    keys = list(itertools.product((0, 11), SUITES, (0, 7), (0, 7, 10**6), range(50)))
    seeds = [layout_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert min(seeds) >= 2**32 and max(seeds) < 2**63
    assert seeds == [layout_seed(*key) for key in keys]


def test_the_simulators_own_placement_is_not_a_saved_state_either(sim: Simulator) -> None:
    assert np.abs(initial_states(SUITE, 0)[:, 1:] - sim.placement[1:]).max(1).min() > 1e-3


def test_layouts_vary(sim: Simulator, some: list[Layout]) -> None:
    assert {layout.target for layout in some} == {name for name in sim.bodies if name != BASKET}
    assert 0.15 < np.mean([layout.wide for layout in some]) < 0.55
    assert (things_xy(sim, np.array([layout.state for layout in some])).std(0) > 0.05).all()
    target = some[0].target[:-2].replace("_", " ")
    assert some[0].instruction == f"pick up the {target} and place it in the basket"


def test_layouts_repeat_with_the_seed(sim: Simulator, some: list[Layout]) -> None:
    again = random_layout(sim, layout_seed(7, SUITE, 0, 0, 3))
    assert np.array_equal(again.state, some[3].state)
    assert (again.goal, again.instruction) == (some[3].goal, some[3].instruction)


def test_things_stay_where_a_layout_puts_them(sim: Simulator, some: list[Layout]) -> None:
    for layout in some[:4]:
        sim.reset(layout.state, layout.settle_steps)
        assert np.abs(things_xy(sim, sim.state()) - things_xy(sim, layout.state)).max() < 0.01


def test_wide_starts_put_the_hand_elsewhere(sim: Simulator, some: list[Layout]) -> None:
    hand = [sim.reset(layout.state, 1).eef_pos for layout in some if layout.wide]
    assert (np.std(hand, axis=0) > 0.05).all()


def test_a_scene_without_basket_is_refused(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "bodies", {})
    with pytest.raises(TutorialError, match="libero_object"):
        random_layout(sim, START)


@pytest.mark.parametrize("suite", SUITES)
def test_no_noise_changes_nothing(suite: str, rng: np.random.Generator) -> None:
    action = np.array([0.12345, -0.5, 0, 0.1, 0, 0, 1.0])
    assert np.array_equal(Disturbance(Noise(), rng)(action), action)
    bins = rng.integers(0, 255, (200, 7))
    # The expert's close and open.
    bins[:, 6] = rng.choice([127, 254], 200)
    for tokens in actions.bin_tokens(bins):
        same = disturbed_tokens(tokens, Disturbance(Noise(), rng), suite)
        assert np.array_equal(same, tokens)


@pytest.mark.parametrize("suite", SUITES)
def test_noise_becomes_tokens_within_the_statistics(suite: str, rng: np.random.Generator) -> None:
    statistics = actions.find_statistics(suite, actions.embedded_statistics())
    disturb = Disturbance(Noise(0.3, 0.9), rng)
    middle = np.array([31872] * 6 + [31745])
    tokens = np.array([disturbed_tokens(middle, disturb, suite) for _ in range(500)])
    assert tokens.min() >= 31745
    assert tokens.max() <= 31999
    done = libero_action(tokens, suite)[:, :6]
    assert (done >= statistics.q01[:6]).all()
    assert (done <= statistics.q99[:6]).all()
    assert 0.2 < done[:, 0].std() < 0.4
    assert done[:, 3].std() > 0.04


def test_noise_is_correlated_and_within_range(rng: np.random.Generator) -> None:
    disturb = Disturbance(Noise(0.3, 0.9, flip_rate=0.02), rng)
    done = np.array([disturb(np.array([0, 0, 0, 0, 0, 0, -1.0])) for _ in range(2000)])
    assert np.abs(done).max() <= 1
    assert set(done[:, 6]) == {-1, 1}
    assert 0.2 < done[:, 0].std() < 0.4 and 0.1 < done[:, 3].std() < 0.2
    assert np.corrcoef(done[1:, 0], done[:-1, 0])[0, 1] > 0.8


def test_half_of_the_episodes_are_disturbed(rng: np.random.Generator) -> None:
    assert 0.4 < np.mean([Noise.random(rng).scale > 0.06 for _ in range(500)]) < 0.6


def test_labels_are_the_experts_and_actions_are_not(
    sim: Simulator, episode: LabelledEpisode
) -> None:
    """Also: the same seeds give the same episode."""
    expert = Watched()
    again = collect_episode(sim, expert, START, np.random.default_rng(0), SHAKEN)
    assert again
    assert np.array_equal(again.qpos, episode.qpos)
    assert np.array_equal(again.executed, episode.executed)
    assert all(map(sim.holds, sim.asked))
    assert np.array_equal(31999 - again.bins, expert.said)
    statistics = actions.find_statistics(SUITE, actions.embedded_statistics())
    said = actions.decode(expert.said, statistics)
    assert np.abs(again.executed - said)[:, :3].mean() > 0.1


def test_an_episode_ends_with_success(sim: Simulator, episode: LabelledEpisode) -> None:
    assert 60 < len(episode) <= 220
    assert (episode.suite, episode.task, episode.fixtures.shape) == (SUITE, 0, (0, 7))
    inside = np.abs(episode.thing[:, :2] - episode.place[:, :2]).max(1) < 0.08
    assert inside[-1]
    assert not inside[0]
    assert not episode.holding[0]
    assert episode.holding.sum() > 20
    assert np.abs(episode.hand - episode.thing)[episode.holding].max() < 0.12
    assert episode.opening.min() > 0
    assert episode.opening.max() < 0.081
    # Relative to the robot's base, which stands behind the things.
    assert (episode.thing[:, 0] > 0.3).all()
    assert np.abs(episode.place - episode.place[0]).max() < 0.02


def test_a_knob_is_attended_to_where_it_is(rng: np.random.Generator) -> None:
    """A demonstration in which nothing is carried, in the suite's own statistics."""
    with Simulator("libero_goal", 7, render=False) as simulator:
        for attempt in range(20):
            drawn = layout_seed(0, "libero_goal", 7, 0, attempt)
            if random_layout(simulator, drawn).goal != simulator.goal:
                continue
            episode = collect_episode(simulator, ExpertPolicy(), drawn, rng, Noise())
            if episode:
                break
        assert episode
        assert simulator.goal == (("turnon", "flat_stove_1"),)
        assert simulator.holds(simulator.goal[0])
        base = simulator.data.body("robot0_link0").xpos
        stove = simulator.data.body("flat_stove_1_main").xpos - base
    assert (episode.suite, episode.task) == ("libero_goal", 7)
    assert families()[27][0] == episode.instruction == "turn on the stove"
    assert np.array_equal(episode.thing, episode.place)
    assert np.abs(episode.thing - stove).max() < 1e-4
    assert not episode.holding.any()
    assert episode.fixtures.shape == (3, 7)
    labelled = libero_action(actions.bin_tokens(episode.bins), "libero_goal")
    assert np.abs(episode.executed - labelled).max() < 0.6e-3


def test_a_failed_episode_is_none(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setitem(labelling.FREE_STEPS, SUITE, 3)
    assert collect_episode(sim, ExpertPolicy(), START, rng) is None
    with pytest.raises(TutorialError, match=r"failed 3 times on libero_object task 0"):
        demos.collect_chunk(sim, ExpertPolicy(), 0, 1, 0)


def test_a_layout_that_cannot_be_built_is_one_attempt(
    sim: Simulator, episode: LabelledEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def collect(_: Simulator, __: object, seed: int, *___: object) -> LabelledEpisode:
        tried.append(seed)
        if len(tried) < 3:
            raise TutorialError("No free layout.")
        return episode

    monkeypatch.setattr(demos, "collect_episode", collect)
    chunk = demos.collect_chunk(sim, ExpertPolicy(), 0, 2, 0)
    assert (chunk.attempts, len(chunk.episodes)) == (4, 2)
    assert len(set(tried)) == 4
    tried.clear()
    monkeypatch.setattr(demos, "_ATTEMPTS", 2)
    with pytest.raises(TutorialError, match=r"failed 2 times .* No free layout"):
        demos.collect_chunk(sim, ExpertPolicy(), 0, 1, 0)


def test_the_hand_is_where_the_observation_says(sim: Simulator) -> None:
    seen = sim.reset(sim.placement, 3)
    assert np.array_equal(sim.eef_pos, seen.eef_pos)
    seen, _, _ = sim.step([0.5, 0.5, -0.5, 0, 0, 0, -1])
    assert np.array_equal(sim.eef_pos, seen.eef_pos)


def test_files_keep_everything_and_are_small(file: Path, episode: LabelledEpisode) -> None:
    chunk = load_chunk(file)
    about = (chunk.suite, chunk.task, chunk.attempts, len(chunk.episodes))
    assert about == (SUITE, 0, 3, 2)
    assert count_steps(file) == 2 * len(episode)
    whole = vars(episode)
    for back in chunk.episodes:
        for name, theirs in whole.items():
            mine = getattr(back, name)
            if not isinstance(theirs, np.ndarray):
                assert mine == theirs
                continue
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            grid = 0 if name in ("bins", "holding", "executed", "fixtures") else 1.1e-5
            assert np.abs(mine.astype(float) - theirs.astype(float)).max(initial=0) <= grid
        assert np.abs(back.opening - episode.opening).max() < 2.2e-5
    assert file.stat().st_size / (2 * len(episode)) < 120


@pytest.mark.parametrize("bad", ["cut", "flipped", "empty", "text", "missing", "other"])
def test_damaged_files_are_named(file: Path, bad: str) -> None:
    whole = file.read_bytes()
    half = len(whole) // 2
    content = {
        "cut": whole[:half],
        "flipped": whole[:half] + bytes([whole[half] ^ 255]) + whole[half + 1 :],
        "empty": b"",
        "text": b"hello",
    }
    if bad == "missing":
        file.unlink()
    elif bad == "other":
        np.savez(file, header=np.array("[1]"))
    else:
        file.write_bytes(content[bad])
    with pytest.raises(TutorialError, match=rf"{FILE}.*collect again"):
        load_chunk(file)


@pytest.mark.parametrize(
    ("entry", "message"), [({"mujoco": "3.1.0"}, "mujoco 3.1.0"), ({"format": 99}, "format 99")]
)
def test_other_versions_are_refused(file: Path, entry: dict[str, object], message: str) -> None:
    with np.load(file) as content:
        arrays = dict(content)
    arrays["header"] = np.array(json.dumps(json.loads(str(arrays["header"])) | entry))
    np.savez_compressed(file, **arrays)
    with pytest.raises(TutorialError, match=message):
        load_chunk(file)


def test_a_full_disk_leaves_what_exists(
    file: Path, episode: LabelledEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TutorialError, match="No space left"):
        save_chunk(file, Chunk(SUITE, 0, 1, (episode,)))
    assert len(load_chunk(file).episodes) == 2
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_collecting_goes_on_where_it_stopped(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker process makes what this process makes, and a second run leaves it alone."""
    monkeypatch.setattr(demos, "CHUNK_SIZE", 1)
    demos.collect(tmp_path, [(SUITE, 0)], 1, workers=1)
    path = tmp_path / FILE
    made = path.stat().st_mtime_ns
    here = demos.collect_chunk(sim, ExpertPolicy(), 0, 1, 0).episodes[0]
    assert np.abs(load_chunk(path).episodes[0].qpos - here.qpos).max() < 1e-5
    demos.collect(tmp_path, [(SUITE, 0)], 1, workers=1)
    assert path.stat().st_mtime_ns == made


@pytest.mark.parametrize("workers", [1, 3])
def test_a_collection_stops_when_its_time_is_up_and_goes_on_later(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After half of the files no more is begun. A task on which the expert fails is left out."""
    caplog.set_level("INFO")
    begun: list[str] = []
    now = [0.0]

    def make_file(out: Path, key: TaskKey, chunk: int, **_: object) -> str:
        name = chunk_name(*key, chunk)
        begun.append(name)
        if len(begun) == 6 - workers + 1:
            now[0] = 100.0
        if key == (SUITE, 3):
            raise demos.ExpertFailed(f"The expert failed on {SUITE} task 3.")
        (out / name).touch()
        return name

    monkeypatch.setattr(demos, "_make_file", make_file)
    monkeypatch.setattr(demos, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(demos, "_pool", ThreadPoolExecutor)
    tasks = [(SUITE, task) for task in range(4)]
    assert not demos.collect(tmp_path, tasks, 60, workers, seconds=50)
    assert 4 <= len(begun) <= 6
    # All tasks evenly.
    assert {name.partition("_chunk")[0] for name in begun[:4]} == {
        f"{SUITE}_task{task:02d}" for task in range(4)
    }
    first = set(begun)
    assert not demos.collect(tmp_path, tasks, 60, workers)
    again = [name for name in begun if name in first and begun.count(name) > 1]
    assert all("task03" in name for name in again)
    assert len(list(tmp_path.iterdir())) == 9
    assert demos.collect(tmp_path, tasks[:3], 60, workers)
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "The expert failed on libero_object task 3." in warnings


def test_a_stored_state_shows_what_the_simulator_showed(
    simulator: Simulator, filmed: tuple[LabelledEpisode, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    """Stored on a grid of 0.01 mm, edges may flip a handful of the 65,536 pixels.

    With a pixel its block in the JPEG changes.
    """
    episode, images = filmed
    for pose, image in zip(episode.qpos, images, strict=True):
        assert (np.abs(simulator.view(pose).astype(int) - image).max(2) > 2).mean() < 1e-4
    path = tmp_path / FILE
    save_chunk(path, Chunk(SUITE, 0, 1, (episode,)))
    ((rendered, _),) = render_file(path, simulator, 48)
    assert rendered.shape == (len(episode), 224, 224, 3)
    for picture, image in zip(rendered, images, strict=True):
        whole = pixels.resize_lanczos3(pixels.jpeg_round_trip(pixels.orient(image, "rotate_180")))
        assert np.abs(picture.astype(int) - whole).mean() < 0.2


def test_files_are_rendered_block_by_block(
    simulator: Simulator, filmed: tuple[LabelledEpisode, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    """At most three frames at once, never of two episodes, with the labels that belong to them."""
    episode = filmed[0]
    path = tmp_path / FILE
    save_chunk(path, Chunk(SUITE, 0, 1, (episode, episode[1:3])))
    blocks = list(render_file(path, simulator, 3))
    parts = [episode[:3], episode[3:4], episode[1:3]]
    for (images, found), part in zip(blocks, parts, strict=True):
        n = len(part)
        assert (images.shape, images.dtype) == ((n, 224, 224, 3), np.uint8)
        assert images.std() > 10
        assert np.array_equal(found.bins, part.bins)
        assert found.bins.dtype == np.uint8
        assert len(found.family) == n
        assert {families()[k][0] for k in found.family} == {episode.instruction}
        assert not found.wording.any()
        positions = found.positions * labels.POSITION_SCALE + labels.POSITION_MEAN
        stored = [part.hand, part.thing, part.place, part.opening, part.holding[:, None]]
        assert np.abs(positions - np.concatenate(stored, 1)).max() < 1e-4
        assert found.keypoints.shape == (n, len(labels.KEYPOINTS), 2)
        assert found.fine.shape == (n,)
    assert np.array_equal(blocks[0][0][1:], blocks[2][0])
    again = blocks[2][1].keypoints
    assert np.array_equal(blocks[0][1].keypoints[1:], again, equal_nan=True)


def test_files_of_another_task_and_blind_simulators_are_refused(
    sim: Simulator, file: Path, episode: LabelledEpisode
) -> None:
    with pytest.raises(TutorialError, match="no camera"):
        next(render_file(file, sim, 48))
    save_chunk(file, Chunk(SUITE, 4, 1, (episode,)))
    with pytest.raises(TutorialError, match="task 4"):
        next(render_file(file, sim, 48))
