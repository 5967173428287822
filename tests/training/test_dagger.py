"""Training while simulators practise: where things are, who acts, who is answered, whole runs."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from small_training import (
    SMALL,
    TRAIN,
    labels,
    made_up_episode,
    published,
    random_pictures,
    strict,
    weights,
)
from tokenizers import Tokenizer
from typer.testing import CliRunner

from vla_tutorial import actions, pixels
from vla_tutorial.cli.app import app
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.model import OpenVLA, normalise
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.policies.model import load_model_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import pose_column
from vla_tutorial.training import (
    dagger,
    labelling,
    mini,
    run_files,
    simulator_pool,
    simulator_worker,
    trainer,
)
from vla_tutorial.training.augment import center_crop
from vla_tutorial.training.chunks import (
    Chunk,
    LabelledEpisode,
    TaskKey,
    chunk_name,
    chunk_prefix,
    load_chunk,
    save_chunk,
)
from vla_tutorial.training.dagger import RunConfig, worker_specs
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.labelling import (
    MixingPolicy,
    Turns,
    as_trained,
    layout_seed,
    libero_action,
    practise,
)
from vla_tutorial.training.labels import KEYPOINTS, keypoints
from vla_tutorial.training.mini import initialise, train_tokenizer, write_checkpoint
from vla_tutorial.training.noise import Noise
from vla_tutorial.training.samples import Prompts, Samples
from vla_tutorial.training.schedule import Schedule
from vla_tutorial.training.sentences import family_number
from vla_tutorial.training.simulator_pool import SimulatorPool
from vla_tutorial.training.simulator_worker import (
    STAY,
    Practised,
    Question,
    Ready,
    Rendered,
    RenderingDone,
    Unbuildable,
    WorkerSpec,
    render_file,
)
from vla_tutorial.training.trainer import Trainer
from vla_tutorial.wiring import OPENVLA_TEMPLATE

SUITE = "libero_object"
TASK: TaskKey = (SUITE, 0)
GOAL: TaskKey = ("libero_goal", 7)
TOKENS = np.full(7, 31900)
TASKS: tuple[TaskKey, ...] = (TASK, GOAL, ("libero_goal", 0))
PRACTISED = Practised(
    scene=0,
    instruction="turn on the stove",
    free=True,
    own=True,
    wide=False,
    midway=False,
    success=True,
    steps=90,
    seconds=1.5,
    waiting=0.5,
)


# Where things are


@pytest.fixture(scope="module")
def scene(
    simulator: Simulator,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float32]]:
    """Positions (nq,), their picture as the policy sees it, and keypoints in pixels (K, 2)."""
    simulator.reset(simulator.placement, 10)
    pose = simulator.data.qpos.copy()
    picture = pixels.prepare(simulator.view(pose), as_trained(SUITE)).astype(int)
    return pose, picture, (keypoints(simulator) + 1) * 112 - 0.5


def changed(
    simulator: Simulator, scene: tuple[Any, ...], columns: slice, to: object
) -> NDArray[np.int64]:
    """Pixels (M, 2; x, y) of the scene that differ when some positions are other ones."""
    pose, before, _ = scene
    moved = pose.copy()
    moved[columns] = to
    now = pixels.prepare(simulator.view(moved), as_trained(SUITE)).astype(int)
    return np.argwhere(np.abs(now - before).max(2) > 12)[:, ::-1]


@pytest.mark.parametrize(
    "thing", ["alphabet_soup", "salad_dressing", "cream_cheese", "milk", "tomato_sauce", "butter"]
)
def test_a_thing_is_where_it_is_said_to_be(
    simulator: Simulator, scene: tuple[Any, ...], thing: str
) -> None:
    """Taken away, the picture changes there, around the middle of its body, and nowhere else."""
    at = scene[2][KEYPOINTS.index(thing)]
    column = pose_column(simulator, f"{thing}_1")
    where = changed(simulator, scene, slice(column, column + 3), (0, 0, -5))
    assert len(where) > 80
    assert np.abs(where.mean(0) - at).max() < 3
    assert np.abs(where - at).max() < 25


def test_the_hand_and_the_basket_too(simulator: Simulator, scene: tuple[Any, ...]) -> None:
    fingers = changed(simulator, scene, slice(7, 9), 0.0)
    hand = scene[2][KEYPOINTS.index("hand")]
    assert len(fingers) > 80
    assert np.abs(fingers.mean(0) - hand).max() < 5
    column = pose_column(simulator, "basket_1")
    where = changed(simulator, scene, slice(column, column + 3), (0, 0, -5))
    basket = scene[2][KEYPOINTS.index("basket")]
    assert (where.min(0) < basket).all()
    assert (where.max(0) > basket).all()


def test_what_a_scene_lacks_is_nowhere(simulator: Simulator, scene: tuple[Any, ...]) -> None:
    there = {name[:-2] for name in simulator.bodies} | {"hand"}
    assert {KEYPOINTS[k] for k in np.flatnonzero(~np.isnan(scene[2]).any(1))} == there
    assert len(there) == 8
    assert np.isnan(scene[2][KEYPOINTS.index("ketchup")]).all()


def test_a_thing_out_of_the_picture_is_outside(
    simulator: Simulator, scene: tuple[Any, ...]
) -> None:
    column = pose_column(simulator, "milk_1")
    pose = scene[0].copy()
    pose[column : column + 3] = (0.0, 3.0, 0.1)
    simulator.view(pose)
    assert np.abs(keypoints(simulator)[KEYPOINTS.index("milk")]).max() > 1


# Who acts


def run(beta: float, seed: int, steps: int = 300) -> tuple[Turns, int, NDArray[np.bool_]]:
    """Turns, for how many steps the expert begins, and whether the policy acts in each step."""
    turns = Turns(np.random.default_rng(seed), beta, steps)
    begun = turns.begun
    return turns, begun, np.array([turns.policy_acts() for _ in range(steps)])


def test_a_young_policy_is_led_by_the_expert_and_a_mature_one_acts() -> None:
    shares = {}
    for beta in (0.0, 1.0):
        runs = [run(beta, seed) for seed in range(200)]
        mixed = [by_policy[begun:] for turns, begun, by_policy in runs if not turns.free]
        shares[beta] = np.concatenate(mixed).mean()
        assert np.mean([turns.free for turns, *_ in runs]) == pytest.approx(0.4 * beta, abs=0.1)
        # It is on its own.
        assert all(by_policy.all() for turns, _, by_policy in runs if turns.free)
    assert shares[0.0] < 0.3 < 0.7 < shares[1.0]


def test_they_take_turns_in_stretches() -> None:
    runs = [run(0.5, seed) for seed in range(20)]
    for turns, begun, by_policy in runs:
        if not turns.free and not begun:
            assert 3 < np.count_nonzero(np.diff(by_policy)) < 100


def test_the_expert_begins_some_episodes_so_that_the_policy_meets_the_end_of_tasks() -> None:
    """Up to half of the steps; never where the policy is on its own; it takes turns then."""
    runs = [run(0.8, seed) for seed in range(300)]
    for turns, begun, by_policy in runs:
        assert turns.begun == 0
        assert not by_policy[:begun].any()
        assert not (turns.free and begun)
    begun = np.array([begun for turns, begun, _ in runs if not turns.free])
    assert (begun > 0).mean() == pytest.approx(0.4, abs=0.1)
    assert 130 < begun.max() < 150
    late = np.concatenate([by_policy[n:] for _, n, by_policy in runs if n])
    assert late.mean() > 0.5


def test_beta_ramps() -> None:
    """From a quarter of the lead to its end; without a lead the policy acts at once."""
    ramp = [dagger.beta(p, 0.3) for p in (0.0, 0.07, 0.1875, 0.3, 1.0)]
    assert ramp == pytest.approx([0, 0, 0.5, 1, 1])
    assert dagger.beta(0.1875, 0.6) == pytest.approx(0.0833, abs=1e-3)
    assert dagger.beta(0.0, 0.0) == 1


Asked = list[tuple[NDArray[np.uint8], LabelledEpisode, NDArray[np.float32]]]
Driven = tuple[LabelledEpisode, Asked, MixingPolicy]


def mixing(simulator: Simulator, ask: Any, seed: int, beta: float) -> MixingPolicy:
    rng = np.random.default_rng(seed)
    start = layout_seed(0, SUITE, 0, 10**6, seed)
    policy = MixingPolicy(simulator, start, ExpertPolicy(), ask, rng, beta)
    policy.turns.begun = 0
    return policy


@pytest.fixture(scope="module")
def driven(simulator: Simulator) -> Driven:
    """Twelve steps by both, what the policy was asked, and the mixing policy."""
    asked: Asked = []

    def ask(picture: Any, step: LabelledEpisode, points: Any) -> tuple[NDArray[np.int64], float]:
        asked.append((picture, step, points))
        return TOKENS, 0.7

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(labelling.FREE_STEPS, SUITE, 12)
        policy = mixing(simulator, ask, 4, 0.2)
        policy.turns.free = False
        policy.turns._policy_acts = True
        policy.turns._left = 4
        policy.disturb.noise = Noise()
        assert not practise(policy)
    assert len(policy.steps) == len(asked) == 12
    return policy.episode(), asked, policy


def test_every_state_gets_the_experts_label(driven: Driven) -> None:
    """Whoever acts; and what is stored is what was done."""
    episode, asked, mixed = driven
    labelled = np.concatenate([step.bins for _, step, _ in asked])
    assert np.array_equal(labelled, episode.bins)
    assert {step.instruction for _, step, _ in asked} == {episode.instruction}
    policy = libero_action(TOKENS, SUITE)
    expert = libero_action(actions.bin_tokens(episode.bins), SUITE)
    by_policy = np.abs(episode.executed - policy).max(1) < 0.6e-3
    by_expert = np.abs(episode.executed - expert).max(1) < 0.6e-3
    assert by_policy[:4].all()
    assert by_expert[4]
    assert (by_policy | by_expert).all()
    assert np.abs(episode.executed - np.round(episode.executed, 3)).max() < 1e-6
    # As the trainer last said.
    assert mixed.turns.beta == 0.7


def test_only_the_expert_is_disturbed(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy's tokens are executed as they are."""
    disturbed: list[NDArray[np.float64]] = []

    def disturb(action: NDArray[np.float64]) -> NDArray[np.float64]:
        disturbed.append(action)
        return np.array([0.25, 0, 0, 0, 0, 0, -1.0])

    monkeypatch.setitem(labelling.FREE_STEPS, SUITE, 12)
    policy = mixing(simulator, lambda *_: (TOKENS, 0.7), 4, 0.2)
    policy.turns.free = False
    policy.turns._left = 4
    disturb.noise = Noise()  # type: ignore[attr-defined]
    policy.disturb = disturb  # type: ignore[assignment]
    turns: list[bool] = []
    policy_acts = policy.turns.policy_acts
    monkeypatch.setattr(
        policy.turns, "policy_acts", lambda: turns.append(policy_acts()) or turns[-1]
    )
    practise(policy)
    done = policy.episode()
    by_policy = np.abs(done.executed - libero_action(TOKENS, SUITE)).max(1) < 0.6e-3
    assert by_policy.tolist() == turns
    assert 0 < sum(turns) < 12
    expert = libero_action(actions.bin_tokens(done.bins), SUITE)[~by_policy]
    assert np.allclose(disturbed, expert)
    assert np.abs(done.executed[~by_policy, 0] - 0.25).max() < 0.01


def test_pictures_of_driven_states_can_be_made_again(
    simulator: Simulator, driven: tuple[Any, ...], tmp_path: Path
) -> None:
    episode, asked, _ = driven
    path = tmp_path / chunk_name(SUITE, 0, 90000000)
    save_chunk(path, Chunk(SUITE, 0, 1, (episode[::4],)))
    ((again, found),) = render_file(path, simulator, 48)
    for picture, (seen, _, _) in zip(again, asked[::4], strict=True):
        assert np.abs(picture.astype(int) - seen).mean() < 0.2
    points = np.concatenate([points for _, _, points in asked[::4]])
    assert np.nanmax(np.abs(found.keypoints - points)) < 0.5 / 112


def test_an_episode_ends_when_the_target_is_lost(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "_LOST", 10.0)
    policy = mixing(simulator, lambda *_: (TOKENS, 0.0), 0, 0.0)
    assert not practise(policy)
    assert len(policy.steps) == 1


def test_an_episode_ends_with_success(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expert alone; the picture is the whole one, in the size that the policy gets.

    Nobody looks at it, so the camera stays off.
    """
    seen: list[tuple[int, ...]] = []

    def ask(picture: NDArray[np.uint8], *_: object) -> tuple[NDArray[np.int64], float]:
        seen.append(picture.shape)
        return TOKENS, 0.0

    policy = mixing(simulator, ask, 0, 0.0)
    monkeypatch.setattr(policy.turns, "policy_acts", lambda: False)
    monkeypatch.setattr(simulator, "_show", lambda _: setattr(simulator._camera, "on", False))
    assert practise(policy)
    assert simulator.holds(("in", policy.layout.target, "basket_1_contain_region"))
    assert 40 < len(policy.steps) == len(seen) < 260
    assert set(seen) == {(224, 224, 3)}


# Workers


@pytest.mark.parametrize(("tasks", "workers"), [((0,), 1), ((0, 3, 7), 8), (range(10), 4)])
def test_every_file_is_given_out_once_and_evenly(
    tasks: tuple[int, ...], workers: int, tmp_path: Path
) -> None:
    """A task's files go to few workers, since each has to build a simulator for them."""
    suites = ("libero_10", "libero_goal")
    for suite in suites:
        for task in range(10):
            for number in range(5):
                file = tmp_path / chunk_name(suite, task, number)
                episode = made_up_episode((suite, task), "turn on the stove")
                save_chunk(file, Chunk(suite, task, 1, (episode,)))
    keys = tuple((suite, task) for suite in suites for task in tasks)
    specs = worker_specs(settings(tmp_path, tmp_path, tasks=keys, workers=workers))
    assert [spec.number for spec in specs] == list(range(workers))
    files = [file.name for spec in specs for file in spec.files]
    wanted = [chunk_name(*key, number) for key in keys for number in range(5)]
    assert files == wanted
    counts = [len(spec.files) for spec in specs]
    assert max(counts) - min(counts) <= 1
    for spec in specs:
        assert tuple(spec.tasks) == keys
        shown = {file.name.partition("_chunk")[0] for file in spec.files}
        assert len(shown) <= len(spec.files) // 5 + 2


def test_only_a_resumed_run_knows_what_was_practised_before(tmp_path: Path) -> None:
    demos = tmp_path / "demos"
    driven = tmp_path / "out" / "driven"
    for folder in (demos, driven):
        folder.mkdir(parents=True)
        episode = made_up_episode(TASK, "turn on the stove")
        save_chunk(folder / chunk_name(*TASK, 0), Chunk(*TASK, 1, (episode,)))
    config = settings(tmp_path / "out", demos)
    for resume, folders in ((False, [demos]), (True, [demos, driven])):
        (spec,) = worker_specs(config, resume)
        assert [path.parent for path in spec.files] == folders


def test_workers_take_turns_at_rendering(tmp_path: Path) -> None:
    """One semaphore for all of them: when a process has the last turn, no other gets one."""
    folder = tmp_path / "demos"
    folder.mkdir()
    episode = made_up_episode(TASK, "turn on the stove")
    for number in range(2):
        save_chunk(folder / chunk_name(*TASK, number), Chunk(*TASK, 1, (episode,)))
    config = settings(tmp_path / "out", folder, workers=2)
    assert [spec.turns for spec in worker_specs(config)] == [None, None]
    first, second = (spec.turns for spec in worker_specs(replace(config, render_turns=1)))
    assert first and second
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(first, there))
    process.start()
    assert here.recv() == "held"
    assert not second.acquire(timeout=0.1)  # type: ignore[attr-defined]
    here.send("enough")
    assert second.acquire(timeout=20)  # type: ignore[attr-defined]
    process.join()


def hold(turns: contextlib.AbstractContextManager[Any], connection: Connection) -> None:
    """Hold a turn until something is sent."""
    with turns:
        connection.send("held")
        connection.recv()


class InThread:
    """Stands for a worker process: runs in a thread, with an end of the pipe of its own."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> None:
        self.connection = Connection(os.dup(args[-1].fileno()))
        self.thread = threading.Thread(
            target=target, args=(*args[:-1], self.connection), daemon=daemon
        )
        self.start, self.join = self.thread.start, self.thread.join

    def kill(self) -> None:
        self.killed = self.thread.is_alive()


@contextlib.contextmanager
def working(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    work: Callable[..., None],
    *arguments: Any,
    workers: int = 1,
    practising: bool = True,
    **more: Any,
) -> Iterator[SimulatorPool]:
    """A pool whose workers run `work` in threads."""
    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=InThread)
    monkeypatch.setattr(simulator_pool, "mp", SimpleNamespace(get_context=lambda _: context))
    monkeypatch.setattr(simulator_pool, "run_worker", work)
    monkeypatch.setattr(simulator_pool, "shared_memory_folder", lambda: folder)
    specs = [WorkerSpec(number, TASKS) for number in range(workers)]
    pool = SimulatorPool(specs, *arguments, **more)
    # What the trainer sets while it fits.
    pool.beta = 0.25
    pool.practising = practising
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()
    assert not pool.is_alive()
    assert list(folder.glob("vla_pictures_*")) == []


def until(ready: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


class Grey:
    """InferenceCopy with the picture's grey level and prompt, so that a mix-up shows."""

    device = torch.device("cpu")

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts

    def __call__(self, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        grey = images[:, 0, 0, :1].long()
        return torch.cat([grey.expand(-1, 6), rows[:, None]], 1)


def asking(
    spec: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """Asks about pictures of its own grey until it is stopped; every second one shows fine work."""
    slot: NDArray[np.uint8] = np.memmap(slot_file, np.uint8, "r+", shape=shape)[spec.number]
    connection.send(RenderingDone())
    connection.send(Ready(None))
    scene, beta = connection.recv()
    assert beta == 0.25
    for k in range(1000):
        slot[0] = 10 * spec.number + k % 10
        one = replace(
            labels(2)[np.array([k % 2])],
            family=np.array([spec.number]),
            wording=np.array([0.99 * (k % 2)], np.float32),
        )
        connection.send(Question(one))
        if (answer := connection.recv()) is None:
            break
        bins, beta = answer
        # Three sentences a family: the first is published, the last has the highest wording.
        prompt = 3 * spec.number + 2 * (k % 2)
        assert bins.tolist() == [10 * spec.number + k % 10] * 6 + [prompt]
        assert beta == 0.25
        if k == 8:
            connection.send(replace(PRACTISED, scene=scene, success=scene == 0))
    else:
        raise AssertionError("not stopped")
    connection.close()


def test_more_pictures_than_there_is_room_for_leave_the_newest(tokenizer: Tokenizer) -> None:
    samples = Samples(4, tokenizer, "cpu")
    grey = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 224, 224, 3)
    six = replace(labels(6), bins=np.arange(42, dtype=np.uint8).reshape(6, 7))
    samples.append(grey, six, origin=10)
    pairs = sorted(
        zip(samples.images[:, 0, 0, 0].tolist(), samples.bins[:, 0].tolist(), strict=True)
    )
    assert pairs == [(2, 14), (3, 21), (4, 28), (5, 35)]
    assert sorted(samples._origin.tolist()) == [12, 13, 14, 15]
    assert samples.count == 4


def test_every_worker_gets_its_own_scene_and_answers_until_the_end(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = Samples(60, tokenizer, "cpu")
    schedule = Schedule(TASKS)
    arguments = (samples, Grey(samples.prompts), schedule)
    added: list[int] = []
    append = samples.append

    def noted(images: torch.Tensor, one: Any) -> None:
        added.append(len(one))
        append(images, one)

    monkeypatch.setattr(samples, "append", noted)
    with working(monkeypatch, tmp_path, asking, *arguments, workers=3, keep=0.0) as pool:
        until(lambda: pool.episodes == 3 and samples.count == 60)
        pool.check()
        assert (pool.alive, pool.rendering) == (3, 0)
        assert sorted(episode.scene for episode in schedule.recent()) == [0, 1, 2]
        assert schedule.success() == {SUITE: 1.0, "libero_goal": 0.0}
    assert not pool.error
    assert not any(process.killed for process in pool._processes)  # type: ignore[attr-defined]
    service = pool.service
    assert (service.steps, service.seconds, service.waiting) == (270, 4.5, 1.5)
    assert service.questions >= service.batches > 0
    # Each worker waits while pictures are added, so they are added together.
    assert max(added) > 3
    assert service.answering > 0
    assert service.summary()["ms_of_it_waiting"] == pytest.approx(1500 / 270)
    # keep = 0: fine work alone is kept.
    assert all(grey % 2 == 1 for grey in samples.images[:, 0, 0, 0].tolist())
    assert samples.bins[:, 0].unique().tolist() == [int(labels(2).bins[1, 0])]


def waiting(
    spec: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """Asks for a task and goes home if there is none."""
    connection.send(RenderingDone())
    connection.send(Ready(None))
    if connection.recv() is not None:
        connection.send(PRACTISED)
    connection.close()


@pytest.mark.parametrize("fits_alone", [True, False])
def test_workers_wait_while_the_fit_has_the_machine_to_itself(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fits_alone: bool
) -> None:
    """And are let go at the end if they never practised."""
    samples = Samples(10, tokenizer, "cpu")
    arguments = (samples, Grey(samples.prompts), Schedule(TASKS))
    threads = working(monkeypatch, tmp_path, waiting, *arguments, workers=2, practising=False)
    with threads as pool:
        until(lambda: len(pool._waiting) == 2)
        assert pool.episodes == 0
        if not fits_alone:
            pool.practising = True
            until(lambda: pool.episodes == 2)
    assert pool.episodes == (0 if fits_alone else 2)
    assert not pool.error
    assert not any(process.killed for process in pool._processes)  # type: ignore[attr-defined]


def rendering(
    spec: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """Hands over two blocks and ends; number 1 dies in between."""
    slot: NDArray[np.uint8] = np.memmap(slot_file, np.uint8, "r+", shape=shape)[spec.number]
    with connection, contextlib.suppress(EOFError, OSError):
        for k in range(2):
            slot[:4] = 10 * spec.number + k
            connection.send(Rendered(labels(4), 100 * spec.number + 4 * k))
            if spec.number == 1:
                return
            connection.recv()
        connection.send(RenderingDone())


def test_a_worker_that_dies_does_not_stop_the_others(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = Samples(60, tokenizer, "cpu")
    arguments = (samples, None, Schedule(TASKS))
    with working(monkeypatch, tmp_path, rendering, *arguments, workers=3) as pool:
        until(lambda: pool.alive == 0)
        pool.join(120)
        assert not pool.error
        assert (pool.rendering, pool.lost, samples.count) == (0, 1, 20)
        # But its files are missing.
        with pytest.raises(TutorialError, match="fewer --workers"):
            pool.check()
    with working(monkeypatch, tmp_path, rendering, *arguments) as pool:
        until(lambda: pool.rendering == 0 and pool.alive == 0)
        pool.check()


def dying(
    spec: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """Asks for a task. Number 0 dies where it is sent, 1 finds no layout and asks again."""
    with connection:
        connection.send(RenderingDone())
        connection.send(Ready(None))
        scene, _ = connection.recv()
        if spec.number == 0:
            return
        for _ in range(2):
            connection.send(Unbuildable(scene, "No free layout."))
        connection.send(Ready(scene))
        connection.recv()
        connection.send(Ready(scene))
        connection.recv()


def test_who_died_practises_no_more_and_tasks_without_layouts_are_named_once(
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = Samples(10, tokenizer, "cpu")
    schedule = Schedule(TASKS[:2])
    arguments = (samples, Grey(samples.prompts), schedule)
    with working(monkeypatch, tmp_path, dying, *arguments, workers=2) as pool:
        until(lambda: pool.alive == 0)
        pool.join(120)
    assert not pool.error
    assert schedule._at_work == [0, 0]
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "not practised any more. No free layout." in warning
    # Both are hopeless now.
    schedule.give_up(0)
    schedule.give_up(1)
    with pytest.raises(TutorialError, match="layout that can be built"):
        pool.check()


def test_an_error_while_serving_is_reported(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA went away")

    samples = Samples(60, tokenizer, "cpu")
    monkeypatch.setattr(samples, "append", broken)
    monkeypatch.setattr(SimulatorPool.stop, "__defaults__", (2.0,))
    arguments = (samples, None, Schedule(TASKS))
    with working(monkeypatch, tmp_path, rendering, *arguments) as pool:
        until(lambda: bool(pool.error))
        with pytest.raises(TutorialError, match="CUDA went away"):
            pool.check()


class Trained:
    """The trainer's end of a worker's pipe: names these scenes in turn, then stops the worker."""

    def __init__(self, *scenes: int) -> None:
        self.scenes = list(scenes)
        self.heard: list[Any] = []

    def send(self, message: Any) -> None:
        self.heard.append(message)

    def recv(self) -> tuple[int, float] | None:
        return (self.scenes.pop(0), 0.5) if self.scenes else None


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Tasks whose simulators were built, and the turns that each got; none is really built."""
    found: list[Any] = []

    class Built(contextlib.nullcontext["Built"]):
        def __init__(self, suite: str, task: int) -> None:
            super().__init__(self)
            found.append((suite, task))

        def take_turns(self, turns: object) -> None:
            found.append(turns)

    monkeypatch.setattr(simulator_worker, "Simulator", Built)
    return found


def test_a_worker_practises_where_it_is_sent_and_saves_what_it_did(
    built: list[TaskKey], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It asks again after `STAY` episodes, says where it is, and keeps its simulator if it stays."""
    trained = Trained(1, 1, 0)
    spec = WorkerSpec(7, TASKS, out=tmp_path)
    worker = simulator_worker._Worker(spec, np.zeros(1, np.uint8), trained)  # type: ignore[arg-type]

    def practise_once(*_: object) -> LabelledEpisode:
        worker.practised += 1
        if worker.practised == 2:
            raise TutorialError("No free layout of this task.")
        assert worker.scene is not None
        return made_up_episode(TASKS[worker.scene], "turn on the stove")

    monkeypatch.setattr(worker, "practise_once", practise_once)
    worker.practise()
    assert worker.scene == 0
    with pytest.raises(simulator_worker._Stopped):
        worker.practise()
    assert built == [GOAL, TASK]
    assert [message.scene for message in trained.heard] == [None, 1, 1, 0]
    assert worker.beta == 0.5
    # One layout could not be built: another one took its place.
    made = 2 * STAY + 1
    names = [chunk_name(*GOAL, 900_700_000 + made), chunk_name(*TASK, 900_700_000 + made + STAY)]
    assert [path.name for path in sorted(tmp_path.iterdir())] == names
    for name, key, count in zip(names, built, (2 * STAY, STAY), strict=True):
        chunk = load_chunk(tmp_path / name)
        assert (chunk.suite, chunk.task, len(chunk.episodes)) == (*key, count)
    # Practice of an earlier slice is not overwritten.
    worker.save(TASK, [made_up_episode(TASK, "turn on the stove")])
    assert len(list(tmp_path.iterdir())) == 3
    assert len(load_chunk(tmp_path / names[1]).episodes) == STAY


def test_a_task_whose_layouts_cannot_be_built_is_told_and_left(
    built: list[TaskKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained(1, 0)
    spec = WorkerSpec(7, TASKS)
    worker = simulator_worker._Worker(spec, np.zeros(1, np.uint8), trained)  # type: ignore[arg-type]
    tries = []

    def practise_once(*_: object) -> LabelledEpisode:
        tries.append(worker.scene)
        raise TutorialError("No free layout of this task.")

    monkeypatch.setattr(worker, "practise_once", practise_once)
    worker.practise()
    assert tries == [1] * simulator_worker.TRIES
    assert built == [GOAL]
    first, told, again = trained.heard
    assert (first.scene, again.scene, worker.scene) == (None, 1, 0)
    assert told == Unbuildable(1, "No free layout of this task.")


def test_a_worker_hands_the_turns_to_each_simulator(built: list[Any]) -> None:
    turns = contextlib.nullcontext()
    spec = WorkerSpec(0, TASKS, turns=turns)
    worker = simulator_worker._Worker(spec, np.zeros(1, np.uint8), Trained())  # type: ignore[arg-type]
    with worker.simulator_of(GOAL), worker.simulator_of(TASK):
        assert built == [GOAL, turns, TASK, turns]


def test_what_was_practised_is_told(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Questions hold the sentence's family and its wording; the published one in every second."""
    monkeypatch.setitem(labelling.FREE_STEPS, SUITE, 2)
    answers = [(np.full(7, 100), 0.5)] * 100
    trained = Trained()
    monkeypatch.setattr(trained, "recv", answers.pop)
    slot = np.zeros((1, 224, 224, 3), np.uint8)
    worker = simulator_worker._Worker(WorkerSpec(0, TASKS), slot, trained, scene=0)  # type: ignore[arg-type]
    wordings = []
    for _ in range(4):
        trained.heard.clear()
        episode = worker.practise_once(simulator, ExpertPolicy())
        *questions, told = trained.heard
        assert isinstance(told, Practised)
        assert (told.scene, told.success, told.steps) == (0, False, 2)
        assert told.instruction == episode.instruction
        family = family_number(episode.instruction)
        assert [question.labels.family.tolist() for question in questions] == [[family]] * 2
        assert np.array_equal(questions[0].labels.bins, episode.bins[:1])
        assert slot.std() > 10
        wordings.append(float(questions[0].labels.wording[0]))
    assert 0 < wordings.count(0.0) < 4
    assert worker.practised == 4


# InferenceCopy


def test_answers_are_the_models_own_and_follow_it(tokenizer: Tokenizer) -> None:
    prompts = Prompts(tokenizer, "cpu")
    first = initialise(OpenVLA(SMALL), 1).eval()
    second = initialise(OpenVLA(SMALL), 2).eval()
    # Fresh weights say the same to every picture.
    for parameter in (*first.parameters(), *second.parameters()):
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    answers = InferenceCopy(first, prompts, "cpu")
    images = random_pictures(6)
    rows = torch.tensor([0, 3, 70, 70, 120, 1])
    asked = [prompts.ids[row, : prompts.lengths[row]].tolist() for row in rows]
    said = []
    for model in (first, second):
        answers.refresh(model)
        tokens = model.generate(center_crop(images), asked, 7)
        said.append(answers(images, rows))
        assert torch.equal(said[-1], (SMALL.vocabulary - 1 - tokens).clamp(0, 255))
    assert said[0].shape == (6, 7)
    assert not torch.equal(*said)
    for mine, theirs in zip(answers.model.parameters(), second.parameters(), strict=True):
        assert mine.data_ptr() != theirs.data_ptr()


# Whole runs


@pytest.fixture(scope="module")
def demonstrations(driven: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small files of a task, one of another and one of another suite."""
    folder = tmp_path_factory.mktemp("demos")
    for suite, task, number, part in (
        (SUITE, 0, 0, slice(0, 6)),
        (SUITE, 0, 1, slice(6, 10)),
        (SUITE, 5, 0, slice(0, 10)),
        ("libero_goal", 0, 0, slice(0, 10)),
    ):
        path = folder / chunk_name(suite, task, number)
        save_chunk(path, Chunk(suite, task, 1, (driven[0][part],)))
    return folder


def settings(out: Path, demos: Path | None, **more: Any) -> RunConfig:
    given = {
        "train": replace(TRAIN, steps=8),
        "practise": False,
        "tasks": (TASK,),
        "workers": 1,
        "capacity": 200,
        "seed": 3,
    } | more
    return RunConfig(out, demos, device="cpu", model=SMALL, **given)


@pytest.fixture(scope="module")
def run_of_dagger(
    demonstrations: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Trainer, list[Path]]:
    """A small run with a simulator in a process.

    Its folder, what came out, and files that it left in shared memory.
    """
    out = tmp_path_factory.mktemp("run")
    memory = tmp_path_factory.mktemp("memory")
    config = settings(out, demonstrations, practise=True, enough=13, seconds=6.0)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"REFRESH_STEPS": 2, "LOG_STEPS": 5, "SAVE_SECONDS": 1.0}.items():
            patch.setattr(dagger, name, value)
        patch.setattr(simulator_pool, "shared_memory_folder", lambda: memory)
        fitting = dagger.train(config)
    return out, fitting, list(memory.iterdir())


def test_a_run_ends_and_leaves_a_policy(run_of_dagger: tuple[Any, ...]) -> None:
    out, fitting, left = run_of_dagger
    assert left == []
    assert multiprocessing.active_children() == []
    policy = load_model_policy("mini", out / "mini", device="cpu")
    assert tuple(policy.statistics) == (SUITE,)
    picture = np.zeros((224, 224, 3), np.uint8)
    prompt = Prompt(OPENVLA_TEMPLATE.format(instruction=published()[0]))
    assert policy.predict([PolicyInput(picture, prompt)]).shape == (1, 7)
    about = json.loads((out / "mini" / "config.json").read_text())["training"]
    assert about["optimiser_steps"] == fitting.step > 2
    # Ten of the demonstrations and some of the policy's own.
    assert about["pictures"] >= 13
    # No episode was over.
    assert json.loads((out / "recent.json").read_text()) == []
    last = strict(out / "curves.jsonl")[-1]
    assert (last["workers"], last[SUITE]) == (1, None)
    assert last["pictures"] >= 13
    assert run_files.read_state(out / run_files.STATE)["step"] == fitting.step
    assert run_files.read_progress(out) == 6.0


def test_a_run_can_begin_with_a_checkpoint(
    run_of_dagger: tuple[Any, ...], tokenizer: Tokenizer
) -> None:
    out, before, _ = run_of_dagger
    fitting = Trainer(initialise(OpenVLA(SMALL), 9), TRAIN, "cpu")
    run_files.begin_with(fitting, out / "mini", tokenizer)
    stored = weights(before.mean.model).bfloat16().float()
    for part in (fitting.learner, fitting.mean):
        torch.testing.assert_close(weights(part.model), stored)


def test_a_run_can_begin_with_a_smaller_model_of_other_words(tmp_path: Path) -> None:
    """Learner and mean are the same; what was known is answered alike at first."""
    words = train_tokenizer(published()[:30])
    smaller = initialise(OpenVLA(SMALL), 4)
    write_checkpoint(smaller, words, tmp_path, {}, (SUITE,))
    llama = replace(SMALL.llama, num_hidden_layers=3)
    larger = OpenVLA(replace(SMALL, llama=llama))
    fitting = Trainer(initialise(larger, 5), TRAIN, "cpu")
    tokenizer = train_tokenizer(published())
    run_files.begin_with(fitting, tmp_path, tokenizer)
    assert torch.equal(weights(fitting.learner), weights(fitting.mean))
    values = normalise(random_pictures(1))
    answers = []
    for model, known in ((smaller.bfloat16().float(), words), (larger, tokenizer)):
        ids = [known.token_to_id(text) for text in ("<s>", "Ġput", "Ġthe", "Ġbowl", "<empty>")]
        assert None not in ids
        with torch.no_grad():
            logits = model(values, torch.tensor([ids]))
        answers.append(logits[..., SMALL.vocabulary - actions.N_BINS :])
    torch.testing.assert_close(*answers, atol=1e-5, rtol=0)


def test_a_checkpoint_carries_the_statistics_of_the_runs_suites(tmp_path: Path) -> None:
    run = dagger._Run(settings(tmp_path, None, tasks=(GOAL, ("libero_10", 3), GOAL)))
    run.save(idle())
    policy = load_model_policy("mini", tmp_path / "mini", device="cpu")
    assert tuple(policy.statistics) == ("libero_goal", "libero_10")


def idle(*episodes: Practised) -> Any:
    """Stands for a pool in which nothing happens; the policy has had these episodes."""
    schedule = Schedule(TASKS)
    for episode in episodes:
        schedule.note(episode)
    return SimpleNamespace(
        rendering=0,
        check=lambda: None,
        episodes=len(episodes),
        alive=1,
        schedule=schedule,
        beta=0.0,
        practising=True,
        service=simulator_pool.Service(),
    )


@contextlib.contextmanager
def backwards(
    simulator: Simulator, config: RunConfig, _: object, samples: Samples, __: object
) -> Iterator[Any]:
    """Stands for a pool: renders here, last file first."""
    assert config.demos
    for path in sorted(config.demos.glob(f"{chunk_prefix(TASK)}*"), reverse=True):
        ((images, found),) = render_file(path, simulator, 48)
        origin = zlib.crc32(path.name.encode()) << 20
        samples.append(torch.from_numpy(images), found, origin)
    yield idle()


class Interrupted(Exception):
    """Ctrl-C, as a test sends it."""


def test_a_resumed_run_ends_where_an_undisturbed_one_does(
    simulator: Simulator, demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undisturbed one has a real worker; the others render here, in another order."""
    straight = dagger.train(settings(tmp_path / "straight", demonstrations))
    assert multiprocessing.active_children() == []
    monkeypatch.setattr(dagger, "_open_pool", lambda *arguments: backwards(simulator, *arguments))
    monkeypatch.setattr(trainer, "SAVE_STEPS", 3)
    step = Trainer.train_step

    def interrupted(self: Trainer, *arguments: Any) -> Any:
        if self.step == 5:
            raise Interrupted
        return step(self, *arguments)

    out = tmp_path / "resumed"
    out.mkdir()
    monkeypatch.setattr(Trainer, "train_step", interrupted)
    with pytest.raises(Interrupted):
        dagger.train(settings(out, demonstrations))
    assert run_files.read_state(out / run_files.STATE)["step"] == 3
    # What comes after the saved state is done anew.
    (out / "curves.jsonl").write_text('{"step": 2}\n{"step": 4}\n')
    monkeypatch.setattr(Trainer, "train_step", step)
    resumed = dagger.train(settings(out, demonstrations), resume=True)
    assert resumed.step == straight.step == 8
    torch.testing.assert_close(weights(resumed.learner), weights(straight.learner))
    torch.testing.assert_close(weights(resumed.mean), weights(straight.mean))
    assert [line["step"] for line in strict(out / "curves.jsonl")] == [2, 8]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool, float]]:
    """Optimiser steps take 1/8 s by a clock of their own, and there are no simulators.

    Of each step: how far the run is, whether simulators practise, and beta.
    """
    now = [0.0]
    seen: list[tuple[float, bool, float]] = []
    pool = idle()

    @contextlib.contextmanager
    def open_pool(_: RunConfig, specs: object, samples: Samples, __: object) -> Iterator[Any]:
        samples.append(random_pictures(8), labels(8))
        pool.practising = True
        yield pool

    def train_step(self: Trainer, _: Samples, chosen: torch.Tensor, progress: float) -> Any:
        assert len(chosen) == self.config.batch
        seen.append((progress, pool.practising, pool.beta))
        self.step += 1
        now[0] += 0.125
        return {"cross_entropy": torch.tensor(1.0)}

    monkeypatch.setattr(dagger, "_open_pool", open_pool)
    monkeypatch.setattr(dagger, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Trainer, "train_step", train_step)
    monkeypatch.setattr(Trainer, "warm_up", lambda *_: None)
    return seen


def test_a_run_by_the_clock_goes_on_in_slices(
    clock: list[tuple[float, bool, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first the fit has the machine to itself, then the expert leads less and less.

    The last slice has lost the optimiser's state and begins with the checkpoint.
    """
    specs = [WorkerSpec(0, TASKS, (Path("a file of demonstrations"),))]
    monkeypatch.setattr(dagger, "worker_specs", lambda *_: specs)
    monkeypatch.setattr(dagger, "LOG_STEPS", 8)
    config = settings(
        tmp_path,
        None,
        practise=True,
        seconds=10.0,
        slice=4.0,
        alone=0.2,
        lead=0.5,
        enough=1,
    )
    assert dagger.train(config).step == 32
    assert run_files.read_progress(tmp_path) == 4.0
    assert dagger.train(config, resume=True).step == 64
    (tmp_path / run_files.STATE).unlink()
    assert dagger.train(config, resume=True).step == 16
    assert run_files.read_progress(tmp_path) == 10.0
    progress, practising, beta = map(np.array, zip(*clock, strict=True))
    assert progress.tolist() == (np.arange(80) / 80).tolist()
    assert practising.tolist() == [False] * 16 + [True] * 64
    # From an eighth to half of what comes after that.
    assert (beta[:24] == 0).all()
    assert beta[36] == pytest.approx(0.5)
    assert beta[48:] == pytest.approx(1)
    last = strict(tmp_path / "curves.jsonl")[-1]
    assert (last["step"], last["ms_a_step"]) == (16, 125)


@pytest.mark.parametrize(
    ("alone", "demos", "practises"),
    [
        (1.0, True, [False] * 8),
        (0.0, True, [True] * 8),
        # There is nothing else to learn from.
        (0.5, False, [True] * 8),
    ],
)
def test_only_demonstrations_let_the_fit_be_alone(
    alone: float,
    demos: bool,
    practises: list[bool],
    clock: list[tuple[float, bool, float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = (Path("a file of demonstrations"),) if demos else ()
    monkeypatch.setattr(dagger, "worker_specs", lambda *_: [WorkerSpec(0, TASKS, files)])
    # More than there ever are: those who are held back bring no more.
    enough = 1000 if alone else 8
    config = settings(tmp_path, None, practise=True, seconds=1.0, alone=alone, enough=enough)
    if not demos:
        config = replace(config, enough=8)
    dagger.train(config)
    assert [practising for _, practising, _ in clock] == practises


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Nothing to resume"),
        (b"hello", "damaged"),
        (b"", "damaged"),
        ({"step": 3}, "not a saved state"),
        (3, "not a saved state"),
        ("wider", "not a saved state"),
    ],
    ids=["missing", "text", "empty", "other", "number", "another model's"],
)
def test_states_that_cannot_be_resumed_are_refused(
    content: Any, words: str, demonstrations: Path, tmp_path: Path
) -> None:
    if content == "wider":
        llama = replace(SMALL.llama, hidden_size=64)
        content = Trainer(OpenVLA(replace(SMALL, llama=llama)), TRAIN, "cpu").state()
    if isinstance(content, bytes):
        (tmp_path / run_files.STATE).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / run_files.STATE)
    with pytest.raises(TutorialError, match=words) as error:
        dagger.train(settings(tmp_path, demonstrations), resume=True)
    assert "without --resume" in str(error.value)


def test_a_state_with_code_in_it_is_refused(demonstrations: Path, tmp_path: Path) -> None:
    torch.save({"step": Path("x")}, tmp_path / run_files.STATE)
    with pytest.raises(TutorialError, match="damaged"):
        dagger.train(settings(tmp_path, demonstrations), resume=True)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("none", {}),
        ("empty", {}),
        ("none", {"practise": True}),
        ("others", {"tasks": ((SUITE, 1), ("libero_goal", 5), ("libero_10", 0))}),
    ],
)
def test_nothing_to_learn_from_is_refused(
    kind: str,
    more: dict[str, Any],
    demonstrations: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the policy could practise: whoever names a folder wants what is in it."""
    # It is refused before any worker starts.
    monkeypatch.setattr(dagger, "SimulatorPool", None)
    (tmp_path / "empty").mkdir()
    folder = demonstrations if kind == "others" else tmp_path / kind
    with pytest.raises(TutorialError, match=r"No demonstrations .*train demos --help"):
        dagger.train(settings(tmp_path / "out", folder, **more))


def test_a_start_that_is_no_checkpoint_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    config = settings(tmp_path / "out", None, practise=True, start=tmp_path)
    with pytest.raises(TutorialError, match=r"config\.json"):
        dagger.train(config)
    write_checkpoint(OpenVLA(SMALL), tokenizer, tmp_path, {}, (SUITE,))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TutorialError, match=r"no tokenizer\.json"):
        dagger.train(config)
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(TutorialError, match="safetensors"):
        dagger.train(config)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ((run_files, "write_checkpoint"), OSError(28, "No space left on device")),
        ((mini, "save_file"), SafetensorError("Error while serializing: No space left on device")),
        (
            (torch, "save"),
            RuntimeError("PytorchStreamWriter failed writing file: No space left on device"),
        ),
    ],
    ids=["Python", "safetensors", "PyTorch"],
)
def test_a_full_disk_is_reported_and_leaves_the_last_state(
    where: tuple[Any, str],
    error: Exception,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise error

    pool = idle(PRACTISED)
    run = dagger._Run(settings(tmp_path, None))
    run.save(pool)
    assert json.loads((tmp_path / "recent.json").read_text()) == [asdict(PRACTISED)]
    before = (tmp_path / run_files.STATE).read_bytes()
    monkeypatch.setattr(*where, full)
    with pytest.raises(TutorialError, match="No space left"):
        run.save(pool)
    assert (tmp_path / run_files.STATE).read_bytes() == before
    assert not (tmp_path / f".{run_files.STATE}").exists()


# The command line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fit_without_a_gpu_says_how_long_it_would_take(tmp_path: Path) -> None:
    arguments = ["train", "fit", "--demos", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    words = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "no CUDA GPU" in words
    assert "--device cpu" in words
    assert float(words.split("about ")[1].split(" hours")[0].replace(",", "")) > 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "hardware"), [("demos", "no GPU"), ("fit", "GPU"), ("dagger", "GPU")]
)
def test_help_says_how_long_on_what_and_gives_an_example(command: str, hardware: str) -> None:
    environment = {"COLUMNS": "200", "TERM": "dumb"}
    result = CliRunner().invoke(app, ["train", command, "--help"], env=environment)
    assert result.exit_code == 0
    assert hardware in result.output
    assert " minutes" in result.output
    assert f"Example: vla-tutorial train {command} --" in result.output
