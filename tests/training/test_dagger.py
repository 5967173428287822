"""Training while simulators drive: what is where in a picture, who drives, who is answered what, and whole runs, stopped and resumed."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
import time
from collections import deque
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
from test_fit import SMALL, TRAIN, labels, strict, weights
from typer.testing import CliRunner

from vla_tutorial import actions, pixels
from vla_tutorial.cli.app import app
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.policies.model import load_model_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import pose_column
from vla_tutorial.training import dagger, labelling, mini, run_files, simulator_pool, trainer
from vla_tutorial.training.augment import center_crop
from vla_tutorial.training.chunks import Chunk, LabelledEpisode, save_chunk
from vla_tutorial.training.dagger import RunConfig, worker_specs
from vla_tutorial.training.inference_copy import InferenceCopy
from vla_tutorial.training.labelling import (
    AS_TRAINED,
    MixingPolicy,
    Turns,
    layout_seed,
    libero_action,
    practise,
)
from vla_tutorial.training.labels import (
    INSTRUCTIONS,
    KEYPOINTS,
    OBJECTS,
    Labels,
    instruction_number,
    keypoints,
)
from vla_tutorial.training.mini import initialise, train_tokenizer
from vla_tutorial.training.noise import Noise
from vla_tutorial.training.samples import Samples
from vla_tutorial.training.simulator_pool import SimulatorPool
from vla_tutorial.training.simulator_worker import (
    Practised,
    Question,
    Rendered,
    RenderingDone,
    WorkerSpec,
    render_file,
)
from vla_tutorial.training.trainer import Trainer
from vla_tutorial.wiring import OPENVLA_TEMPLATE

TOKENS = np.full(7, 31900)
PRACTISED = Practised(task=0, free=True, own=True, wide=False, success=True, steps=90, seconds=1.5)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another are many times slower on a busy machine than one thread is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(INSTRUCTIONS)


def pictures(n: int, first: int = 0) -> torch.Tensor:
    """(n, 224, 224, 3) uint8, all of one grey: `first`, `first` + 1 …"""
    return torch.arange(first, first + n, dtype=torch.uint8)[:, None, None, None].expand(
        -1, 224, 224, 3
    )


# Where things are


@pytest.fixture(scope="module")
def scene(
    simulator: Simulator,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float32]]:
    """A scene's positions (nq,), its picture as the policy sees it, and where things are in it, in pixels (12, 2)."""
    simulator.reset(simulator.placement, 10)
    pose = simulator.data.qpos.copy()
    picture = pixels.prepare(simulator.view(pose), AS_TRAINED).astype(int)
    return pose, picture, (keypoints(simulator) + 1) * 112 - 0.5


def changed(
    simulator: Simulator, scene: tuple[Any, ...], columns: slice, to: object
) -> NDArray[np.int64]:
    """Pixels (M, 2; x, y) of the scene that differ when some positions are other ones."""
    pose, before, _ = scene
    moved = pose.copy()
    moved[columns] = to
    now = pixels.prepare(simulator.view(moved), AS_TRAINED).astype(int)
    return np.argwhere(np.abs(now - before).max(2) > 12)[:, ::-1]


@pytest.mark.parametrize(
    "thing", ["alphabet_soup", "salad_dressing", "cream_cheese", "milk", "tomato_sauce", "butter"]
)
def test_a_thing_is_where_it_is_said_to_be(
    simulator: Simulator, scene: tuple[Any, ...], thing: str
) -> None:
    """Taken away, the picture changes there, around the middle of its body, and nowhere else."""
    at, column = scene[2][KEYPOINTS.index(thing)], pose_column(simulator, f"{thing}_1")
    where = changed(simulator, scene, slice(column, column + 3), (0, 0, -5))
    assert len(where) > 80
    assert np.abs(where.mean(0) - at).max() < 3
    assert np.abs(where - at).max() < 25


def test_the_hand_and_the_basket_too(simulator: Simulator, scene: tuple[Any, ...]) -> None:
    fingers = changed(simulator, scene, slice(7, 9), 0.0)
    assert (
        len(fingers) > 80 and np.abs(fingers.mean(0) - scene[2][KEYPOINTS.index("hand")]).max() < 5
    )
    column = pose_column(simulator, "basket_1")
    basket = changed(simulator, scene, slice(column, column + 3), (0, 0, -5))
    assert (basket.min(0) < scene[2][KEYPOINTS.index("basket")]).all() and (
        basket.max(0) > scene[2][KEYPOINTS.index("basket")]
    ).all()


def test_what_a_scene_lacks_is_nowhere(simulator: Simulator, scene: tuple[Any, ...]) -> None:
    there = {name[:-2] for name in simulator.bodies} | {"hand"}
    assert {KEYPOINTS[k] for k in np.flatnonzero(~np.isnan(scene[2]).any(1))} == there
    assert len(there) == 8 and np.isnan(scene[2][KEYPOINTS.index("ketchup")]).all()


def test_a_thing_out_of_the_picture_is_outside(
    simulator: Simulator, scene: tuple[Any, ...]
) -> None:
    column = pose_column(simulator, "milk_1")
    pose = scene[0].copy()
    pose[column : column + 3] = (0.0, 3.0, 0.1)
    simulator.view(pose)
    assert np.abs(keypoints(simulator)[KEYPOINTS.index("milk")]).max() > 1


def test_every_object_has_its_instruction() -> None:
    assert [instruction_number(f"{name}_1") for name in OBJECTS] == list(range(10))
    assert (
        INSTRUCTIONS[instruction_number("milk_1")] == "pick up the milk and place it in the basket"
    )


# Samples


def test_what_has_no_room_is_left_out(tokenizer: Any) -> None:
    samples, first, second = Samples(6, tokenizer, "cpu"), labels(4), labels(4, seed=1)
    samples.append(pictures(4), first)
    assert not samples.full and samples.count == 4
    samples.append(pictures(4, 100), second)
    samples.append(pictures(4, 200), second)
    assert samples.full and samples.count == 6
    assert samples.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 100, 101]
    assert np.array_equal(samples.bins.numpy(), np.concatenate([first.bins, second.bins[:2]]))
    assert np.array_equal(
        samples.keypoints.numpy(),
        np.concatenate([first.keypoints, second.keypoints[:2]]),
        equal_nan=True,
    )
    drawn = samples.draw(64, 1.0, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 3, 5}  # the fine ones among the six


def test_a_share_is_drawn_from_fine_work(tokenizer: Any) -> None:
    samples, few = Samples(200, tokenizer, "cpu"), replace(labels(200), fine=np.arange(200) >= 196)
    generator = torch.Generator().manual_seed(0)
    samples.append(pictures(196), few[np.arange(196)])
    assert (samples.draw(512, 0.25, generator) < 196).all()  # none yet: from everything
    samples.append(pictures(4), few[np.arange(196, 200)])
    chosen = samples.draw(512, 0.25, generator)
    assert chosen.shape == (512,) and set(chosen[:128].tolist()) == {196, 197, 198, 199}
    assert (
        0.1 < (chosen[128:] < 40).float().mean() < 0.3 and (chosen[128:] < 196).float().mean() > 0.9
    )


def test_settling_forgets_the_order_of_arrival(tokenizer: Any) -> None:
    blocks = [
        (pictures(5, 10 * k), labels(5, seed=k), origin)
        for k, origin in enumerate([7 << 20, 3 << 20, 5 << 20])
    ]
    drawn = []
    for order in ([0, 1, 2], [2, 0, 1]):
        samples = Samples(20, tokenizer, "cpu")
        for k in order:
            samples.append(*blocks[k])
        samples.settle()
        chosen = samples.draw(256, 0.3, torch.Generator().manual_seed(3))
        drawn.append(
            (samples.images[chosen, 0, 0, 0], samples.bins[chosen], samples.instruction[chosen])
        )
    for mine, theirs in zip(*drawn, strict=True):
        assert torch.equal(mine, theirs)
    assert len(set(drawn[0][0].tolist())) == 15


# Who drives


def run(beta: float, seed: int, steps: int = 150) -> tuple[Turns, NDArray[np.bool_]]:
    """Turns, and for each step whether the policy acts."""
    turns = Turns(np.random.default_rng(seed), beta)
    return turns, np.array([turns.policy_acts() for _ in range(steps)])


def test_a_young_policy_is_led_by_the_expert_and_a_mature_one_drives() -> None:
    shares = {}
    for beta in (0.0, 1.0):
        runs = [run(beta, seed) for seed in range(200)]
        shares[beta] = np.mean([by_policy for turns, by_policy in runs if not turns.free])
        assert np.mean([turns.free for turns, _ in runs]) == pytest.approx(0.4 * beta, abs=0.1)
        assert all(by_policy.all() for turns, by_policy in runs if turns.free)  # it is on its own
    assert shares[0.0] < 0.3 < 0.7 < shares[1.0]


def test_they_take_turns_in_stretches() -> None:
    runs = [run(0.5, seed, 300) for seed in range(20)]
    for turns, by_policy in runs:
        if not turns.free:
            assert 3 < np.count_nonzero(np.diff(by_policy)) < 100


def test_beta_ramps() -> None:
    assert [dagger.beta(p) for p in (0.0, 0.08, 0.19, 0.3, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])


Driven = tuple[LabelledEpisode, list[tuple[NDArray[np.uint8], Labels]], MixingPolicy]


def mixing(simulator: Simulator, ask: Any, seed: int, beta: float) -> MixingPolicy:
    rng = np.random.default_rng(seed)
    start = layout_seed(0, 0, 10**6, seed)
    return MixingPolicy(simulator, start, ExpertPolicy(), ask, rng, beta)


@pytest.fixture(scope="module")
def driven(simulator: Simulator) -> Driven:
    """Twelve steps by both, what the policy was asked, and the mixing policy."""
    asked: list[tuple[NDArray[np.uint8], Labels]] = []

    def ask(picture: NDArray[np.uint8], one: Labels) -> tuple[NDArray[np.int64], float]:
        asked.append((picture, one))
        return TOKENS, 0.7

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelling, "MIXED_STEPS", 12)
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
    assert np.array_equal(np.concatenate([one.bins for _, one in asked]), episode.bins)
    assert {INSTRUCTIONS[k] for _, one in asked for k in one.instruction} == {episode.instruction}
    policy = libero_action(np.array([TOKENS] * 12))
    expert = libero_action(actions.bin_tokens(episode.bins))
    by_policy, by_expert = (
        np.abs(episode.executed - said).max(1) < 0.6e-3 for said in (policy, expert)
    )
    assert by_policy[:4].all() and by_expert[4] and (by_policy | by_expert).all()
    assert np.abs(episode.executed - np.round(episode.executed, 3)).max() < 1e-6
    assert mixed.turns.beta == 0.7  # as the trainer last said


def test_only_the_expert_is_disturbed(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy's tokens are executed as they are."""
    disturbed: list[NDArray[np.float64]] = []

    def disturb(action: NDArray[np.float64]) -> NDArray[np.float64]:
        disturbed.append(action)
        return np.array([0.25, 0, 0, 0, 0, 0, -1.0])

    monkeypatch.setattr(labelling, "MIXED_STEPS", 12)
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
    by_policy = np.abs(done.executed - libero_action(TOKENS)).max(1) < 0.6e-3
    assert by_policy.tolist() == turns and 0 < sum(turns) < 12
    expert = libero_action(actions.bin_tokens(done.bins))[~by_policy]
    assert np.allclose(disturbed, expert)
    assert np.abs(done.executed[~by_policy, 0] - 0.25).max() < 0.01


def test_pictures_of_driven_states_can_be_made_again(
    simulator: Simulator, driven: tuple[Any, ...], tmp_path: Path
) -> None:
    episode, asked, _ = driven
    path = tmp_path / "task00_chunk90000000.npz"
    save_chunk(path, Chunk(0, 1, (episode[::4],)))
    ((again, found),) = render_file(path, simulator, 48)
    for picture, (seen, _) in zip(again, asked[::4], strict=True):
        assert np.abs(picture.astype(int) - seen).mean() < 0.2
    assert (
        np.nanmax(
            np.abs(found.keypoints - np.concatenate([one.keypoints for _, one in asked[::4]]))
        )
        < 0.5 / 112
    )


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
    """The expert alone; the picture is the whole one, in the size that the policy gets."""
    seen: list[tuple[int, ...]] = []

    def ask(picture: NDArray[np.uint8], one: Labels) -> tuple[NDArray[np.int64], float]:
        seen.append(picture.shape)
        return TOKENS, 0.0

    policy = mixing(simulator, ask, 0, 0.0)
    monkeypatch.setattr(policy.turns, "policy_acts", lambda: False)
    assert practise(policy)
    assert simulator.holds(("in", policy.layout.target, "basket_1_contain_region"))
    assert 40 < len(policy.steps) == len(seen) < 260
    assert set(seen) == {(224, 224, 3)}


# Workers


@pytest.mark.parametrize(
    ("tasks", "workers"), [((0,), 1), ((0, 3, 7), 8), (tuple(range(10)), 4), ((9, 1), 2)]
)
def test_every_file_is_given_out_once_to_a_worker_of_its_task(
    tasks: tuple[int, ...], workers: int, tmp_path: Path
) -> None:
    files = [tmp_path / f"task{task:02d}_chunk{k:04d}.npz" for task in range(10) for k in range(5)]
    for file in files:
        file.touch()
    jobs = worker_specs(settings(tmp_path, tmp_path, tasks=tasks, workers=workers))
    assert {job.task for job in jobs} == set(tasks)
    assert [job.number for job in jobs] == list(range(max(workers, len(tasks))))
    assert sorted(f for job in jobs for f in job.files) == [
        f for f in files if int(f.name[4:6]) in tasks
    ]
    assert all(f.name.startswith(f"task{job.task:02d}") for job in jobs for f in job.files)
    per_task = [sum(job.task == task for job in jobs) for task in tasks]
    assert max(per_task) - min(per_task) <= 1


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
) -> Iterator[SimulatorPool]:
    """A pool whose workers run `work` in threads."""
    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=InThread)
    monkeypatch.setattr(simulator_pool, "mp", SimpleNamespace(get_context=lambda _: context))
    monkeypatch.setattr(simulator_pool, "run_worker", work)
    monkeypatch.setattr(simulator_pool, "shared_memory_folder", lambda: folder)
    pool = SimulatorPool([WorkerSpec(0, k) for k in range(workers)], *arguments)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()
    assert not pool.is_alive() and list(folder.glob("vla_pictures_*")) == []


def until(ready: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


class Grey:
    """InferenceCopy with the picture's grey level, so that a mix-up shows."""

    device = torch.device("cpu")

    def __call__(self, images: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, :1].long().expand(-1, 7)


def asking(
    job: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """Asks about pictures of its own grey until it is stopped; every second one shows fine work."""
    slot: NDArray[np.uint8] = np.memmap(slot_file, np.uint8, "r+", shape=shape)[job.number]
    connection.send(RenderingDone())
    for k in range(1000):
        slot[0] = 10 * job.number + k % 10
        connection.send(Question(labels(2)[np.array([k % 2])]))
        if (answer := connection.recv()) is None:
            break
        bins, beta = answer
        assert (bins == 10 * job.number + k % 10).all() and beta == 0.25
        if k == 8:
            connection.send(replace(PRACTISED, success=job.number == 0))
    else:
        raise AssertionError("not stopped")
    connection.close()


def test_every_worker_gets_its_own_answers_until_the_end(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = Samples(60, tokenizer, "cpu")
    monkeypatch.setattr(
        SimulatorPool,
        "start",
        lambda pool: (setattr(pool, "beta", 0.25), threading.Thread.start(pool)),
    )
    with working(monkeypatch, tmp_path, asking, samples, Grey(), 0.0, workers=3) as pool:
        assert np.isnan(pool.success())
        until(lambda: pool.episodes == 3 and samples.full)
        pool.check()
        assert pool.alive == 3 and pool.rendering == 0 and pool.success() == pytest.approx(1 / 3)
    assert not pool.error and not any(process.killed for process in pool._processes)  # type: ignore[attr-defined]
    assert all(
        grey % 2 == 1 for grey in samples.images[:, 0, 0, 0].tolist()
    )  # keep = 0: fine work alone is kept
    assert samples.bins[:, 0].unique().tolist() == [int(labels(2).bins[1, 0])]


def rendering(
    job: WorkerSpec, slot_file: Path, shape: tuple[int, ...], connection: Connection
) -> None:
    """Hands over two blocks and ends; number 1 dies in between."""
    slot: NDArray[np.uint8] = np.memmap(slot_file, np.uint8, "r+", shape=shape)[job.number]
    with connection, contextlib.suppress(EOFError, OSError):
        for k in range(2):
            slot[:4] = 10 * job.number + k
            connection.send(Rendered(labels(4), 100 * job.number + 4 * k))
            if job.number == 1:
                return
            connection.recv()
        connection.send(RenderingDone())


def test_a_worker_that_dies_does_not_stop_the_others(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = Samples(60, tokenizer, "cpu")
    with working(monkeypatch, tmp_path, rendering, samples, None, workers=3) as pool:
        until(lambda: pool.alive == 0)
        pool.join(10)
        assert not pool.error and pool.rendering == 1 and samples.count == 20
        with pytest.raises(TutorialError, match="fewer --workers"):  # but its files are missing
            pool.check()
    with working(monkeypatch, tmp_path, rendering, samples, None) as pool:
        until(lambda: pool.rendering == 0 and pool.alive == 0)
        pool.check()


def test_an_error_while_serving_is_reported(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA went away")

    samples = Samples(60, tokenizer, "cpu")
    monkeypatch.setattr(samples, "append", broken)
    monkeypatch.setattr(SimulatorPool.stop, "__defaults__", (2.0,))
    with working(monkeypatch, tmp_path, rendering, samples, None) as pool:
        until(lambda: bool(pool.error))
        with pytest.raises(TutorialError, match="CUDA went away"):
            pool.check()


# InferenceCopy


def test_answers_are_the_models_own_and_follow_it(tokenizer: Any) -> None:
    samples = Samples(1, tokenizer, "cpu")
    first, second = initialise(OpenVLA(SMALL), 1).eval(), initialise(OpenVLA(SMALL), 2).eval()
    for model in (first, second):  # fresh weights say the same to every picture
        for p in model.parameters():
            p.data.mul_(4) if p.ndim > 1 else None
    answers = InferenceCopy(first, samples, "cpu")
    images = torch.randint(
        0, 256, (6, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    instruction = torch.tensor([0, 3, 7, 7, 9, 1])
    prompts = [samples.prompts[k, : samples.lengths[k]].tolist() for k in instruction]
    said = []
    for model in (first, second):
        answers.refresh(model)
        tokens = model.generate(center_crop(images), prompts, 7)
        said.append(answers(images, instruction))
        assert torch.equal(said[-1], (SMALL.vocabulary - 1 - tokens).clamp(0, 255))
    assert said[0].shape == (6, 7) and not torch.equal(*said)
    assert all(
        p.data_ptr() != q.data_ptr()
        for p, q in zip(answers.model.parameters(), second.parameters(), strict=True)
    )


# Whole runs


@pytest.fixture(scope="module")
def demonstrations(driven: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small files of task 0 and one of another task."""
    folder = tmp_path_factory.mktemp("demos")
    for name, part in (
        ("task00_chunk0000", slice(0, 6)),
        ("task00_chunk0001", slice(6, 10)),
        ("task05_chunk0000", slice(0, 10)),
    ):
        save_chunk(folder / f"{name}.npz", Chunk(int(name[4:6]), 1, (driven[0][part],)))
    return folder


def settings(out: Path, demos: Path | None, **more: Any) -> RunConfig:
    given = {
        "train": replace(TRAIN, steps=8),
        "practise": False,
        "tasks": (0,),
        "workers": 1,
        "capacity": 200,
        "seed": 3,
    } | more
    return RunConfig(out, demos, device="cpu", model=SMALL, **given)


@pytest.fixture(scope="module")
def run_of_dagger(
    demonstrations: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Trainer, list[Path]]:
    """A small run with a simulator in a process: its folder, what came out, and files that it left in shared memory."""
    out, memory = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"REFRESH_STEPS": 2, "LOG_STEPS": 5, "SAVE_SECONDS": 1.0}.items():
            patch.setattr(dagger, name, value)
        patch.setattr(simulator_pool, "shared_memory_folder", lambda: memory)
        fitting = dagger.train(settings(out, demonstrations, practise=True, enough=13, seconds=4.0))
    return out, fitting, list(memory.iterdir())


def test_a_run_ends_and_leaves_a_policy(run_of_dagger: tuple[Any, ...]) -> None:
    out, fitting, left = run_of_dagger
    assert left == [] and multiprocessing.active_children() == []
    policy = load_model_policy("mini", out / "mini", device="cpu")
    picture = np.zeros((224, 224, 3), np.uint8)
    assert policy.predict(
        [PolicyInput(picture, Prompt(OPENVLA_TEMPLATE.format(instruction=INSTRUCTIONS[0])))]
    ).shape == (1, 7)
    about = json.loads((out / "mini" / "config.json").read_text())["training"]
    assert about["optimiser_steps"] == fitting.step > 5
    assert about["pictures"] >= 13  # ten of the demonstrations and some of the policy's own
    assert json.loads((out / "recent.json").read_text()) == []  # no episode was over
    curves = strict(out / "curves.jsonl")
    assert (
        curves[-1]["workers"] == 1
        and curves[-1]["success"] is None
        and curves[-1]["pictures"] >= 13
    )
    torch.testing.assert_close(run_files.read_state(out / run_files.STATE)["step"], fitting.step)


def test_a_run_can_begin_with_a_checkpoint(run_of_dagger: tuple[Any, ...]) -> None:
    out, before, _ = run_of_dagger
    fitting = Trainer(initialise(OpenVLA(SMALL), 9), TRAIN, "cpu")
    run_files.begin_with(fitting, out / "mini")
    for part in (fitting.learner, fitting.mean):
        torch.testing.assert_close(
            weights(part.model), weights(before.mean.model).bfloat16().float()
        )


@contextlib.contextmanager
def backwards(
    simulator: Simulator, s: RunConfig, samples: Samples, _: InferenceCopy | None
) -> Iterator[Any]:
    """Stands for a pool: renders here, last file first."""
    import zlib

    assert s.demos
    for path in sorted(s.demos.glob("task00*"), reverse=True):
        ((images, found),) = render_file(path, simulator, 48)
        samples.append(torch.from_numpy(images), found, zlib.crc32(path.name.encode()) << 20)
    yield SimpleNamespace(rendering=0, check=lambda: None, episodes=0, recent=deque())


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

    (out := tmp_path / "resumed").mkdir()
    monkeypatch.setattr(Trainer, "train_step", interrupted)
    with pytest.raises(Interrupted):
        dagger.train(settings(out, demonstrations))
    assert run_files.read_state(out / run_files.STATE)["step"] == 3
    (out / "curves.jsonl").write_text(
        '{"step": 2}\n{"step": 4}\n'
    )  # what comes after the saved state is done anew
    monkeypatch.setattr(Trainer, "train_step", step)
    resumed = dagger.train(settings(out, demonstrations), resume=True)
    assert resumed.step == straight.step == 8
    torch.testing.assert_close(weights(resumed.learner), weights(straight.learner))
    torch.testing.assert_close(weights(resumed.mean), weights(straight.mean))
    assert [line["step"] for line in strict(out / "curves.jsonl")] == [2, 8]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Nothing to resume"),
        (b"hello", "damaged"),
        (b"", "damaged"),
        ({"step": 3}, "no saved state"),
        (3, "no saved state"),
        ("wider", "no saved state"),
    ],
    ids=["missing", "text", "empty", "other", "number", "another model's"],
)
def test_states_that_cannot_be_resumed_are_refused(
    content: Any, words: str, demonstrations: Path, tmp_path: Path
) -> None:
    if content == "wider":
        content = Trainer(
            OpenVLA(replace(SMALL, llama=replace(SMALL.llama, hidden_size=64))), TRAIN, "cpu"
        ).state()
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
    [("none", {}), ("empty", {}), ("none", {"practise": True}), ("others", {"tasks": (1, 2)})],
)
def test_nothing_to_learn_from_is_refused(
    kind: str,
    more: dict[str, Any],
    demonstrations: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the policy could drive: whoever names a folder wants what is in it."""
    monkeypatch.setattr(dagger, "SimulatorPool", None)  # it is refused before any worker starts
    (tmp_path / "empty").mkdir()
    folder = demonstrations if kind == "others" else tmp_path / kind
    with pytest.raises(TutorialError, match=r"No demonstrations .*train demos --help"):
        dagger.train(settings(tmp_path / "out", folder, **more))


def test_a_start_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TutorialError, match="safetensors"):
        dagger.train(settings(tmp_path / "out", None, practise=True, start=tmp_path))


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

    pool: Any = SimpleNamespace(episodes=0, recent=deque([PRACTISED]))
    run = dagger._Run(settings(tmp_path, None))
    run.save(pool)
    assert json.loads((tmp_path / "recent.json").read_text()) == [asdict(PRACTISED)]
    before = (tmp_path / run_files.STATE).read_bytes()
    monkeypatch.setattr(*where, full)
    with pytest.raises(TutorialError, match="No space left"):
        run.save(pool)
    assert (tmp_path / run_files.STATE).read_bytes() == before and not (
        tmp_path / f".{run_files.STATE}"
    ).exists()


# The command line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fit_without_a_gpu_says_how_long_it_would_take(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["train", "fit", "--demos", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    words = " ".join(result.output.split())
    assert result.exit_code == 2 and "no CUDA GPU" in words and "--device cpu" in words
    assert float(words.split("about ")[1].split(" hours")[0].replace(",", "")) > 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "hardware"), [("demos", "No GPU needed"), ("fit", "GPU"), ("dagger", "GPU")]
)
def test_help_says_how_long_on_what_and_gives_an_example(command: str, hardware: str) -> None:
    result = CliRunner().invoke(
        app, ["train", command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}
    )
    assert result.exit_code == 0
    assert hardware in result.output and " minutes" in result.output
    assert f"Example: vla-tutorial train {command} --" in result.output
