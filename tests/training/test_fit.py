"""Trainer in the small: targets, resuming, the crop, and a checkpoint that loads."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import SMALL, TRAIN, labels, published, random_pictures, strict, weights

from vla_tutorial import pixels
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.model import OpenVLA, normalise
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.model import load_model_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.training import augment
from vla_tutorial.training import trainer as trainer_module
from vla_tutorial.training.captured_step import CapturedStep
from vla_tutorial.training.losses import (
    keypoint_loss,
    keypoint_targets,
    soft_targets,
    teacher_ids,
)
from vla_tutorial.training.mini import (
    CONFIG,
    N_BINS,
    PADDING,
    grow,
    initialise,
    train_tokenizer,
    write_checkpoint,
)
from vla_tutorial.training.samples import Prompts, Samples
from vla_tutorial.training.trainer import (
    TrainConfig,
    Trainer,
    fit,
    learning_rate,
    write_curves,
)
from vla_tutorial.wiring import OPENVLA_TEMPLATE


@pytest.fixture(scope="module")
def samples(tokenizer):
    samples = Samples(8, tokenizer, "cpu")
    samples.append(random_pictures(8), labels(8))
    return samples


def begin(config):
    torch.manual_seed(0)
    return Trainer(initialise(OpenVLA(SMALL)), config, "cpu")


@pytest.mark.parametrize(
    "augmentation", [augment.NO_AUGMENTATION, augment.Augmentation()], ids=["plain", "augmented"]
)
def test_resuming_gives_the_same_weights(samples, tmp_path, augmentation, monkeypatch):
    config = replace(TRAIN, augmentation=augmentation)
    straight, first = begin(config), begin(config)
    fit(straight, samples, tmp_path / "a.jsonl")
    monkeypatch.setattr(trainer_module, "SAVE_STEPS", 3)

    def save_and_stop():
        torch.save(first.state(), tmp_path / "state.pt")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(first, samples, tmp_path / "b.jsonl", save=save_and_stop)
    assert first.step == 3
    second = Trainer(initialise(OpenVLA(SMALL), seed=5), config, "cpu")
    second.load(torch.load(tmp_path / "state.pt", weights_only=True))
    fit(second, samples, tmp_path / "b.jsonl")
    torch.testing.assert_close(weights(second.learner), weights(straight.learner))
    torch.testing.assert_close(weights(second.mean), weights(straight.mean))
    assert (weights(second.mean) - weights(second.learner)).abs().max() > 0


def test_it_saves_now_and_then(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "SAVE_STEPS", 2)
    saved, fitting = [], begin(TRAIN)
    fit(fitting, samples, tmp_path / "log.jsonl", save=lambda: saved.append(fitting.step))
    assert saved == [2, 4, 6]
    assert json.loads((tmp_path / "log.jsonl").read_text())["step"] == 6


def test_it_learns_what_it_sees(samples, tmp_path):
    fitting = begin(
        TrainConfig(
            steps=60, batch=8, warmup=5, learning_rate=5e-3, augmentation=augment.NO_AUGMENTATION
        )
    )
    before = fitting.loss(samples, torch.arange(8))[1]["cross_entropy"].item()
    fit(fitting, samples, tmp_path / "log.jsonl")
    assert fitting.loss(samples, torch.arange(8))[1]["cross_entropy"].item() < 0.7 * before


def test_warming_up_teaches_nothing(samples):
    fitting = begin(TRAIN)
    before = weights(fitting.learner).clone()
    fitting.warm_up(samples)
    assert torch.equal(weights(fitting.learner), before) and fitting.step == 0
    # Nor does it disturb a run that goes on, whose optimiser remembers.
    other = begin(TRAIN)
    for one in (fitting, other):
        steps(one, samples, 2)
    fitting.warm_up(samples)
    for one in (fitting, other):
        steps(one, samples, 2)
    assert torch.equal(weights(fitting.learner), weights(other.learner))
    assert torch.equal(weights(fitting.mean), weights(other.mean))


def steps(fitting, samples, count):
    """Optimiser steps whose samples and augmentation depend on their number alone."""
    logged = {}
    for _ in range(count):
        torch.manual_seed(fitting.step)
        chosen = torch.arange(4, device=fitting.device) + fitting.step % 4
        logged = fitting.train_step(samples, chosen, fitting.step / 8)
    return logged


def test_a_captured_step_is_the_step_itself(samples):
    """What a graph would replay runs here on its fixed input; the rate changes under it."""
    straight, captured = begin(TRAIN), begin(TRAIN)
    fixed = torch.zeros(4, dtype=torch.int64)
    outputs = {}
    step = captured._fit_batch

    def replay():
        outputs.update(step(samples, fixed))

    captured._captured = CapturedStep(replay, fixed, outputs)
    captured._fit_batch = None
    logged = [steps(one, samples, 5) for one in (straight, captured)]
    assert torch.equal(weights(straight.learner), weights(captured.learner))
    assert logged[0] == logged[1]
    assert captured.step == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_of_a_step_learns_as_the_step_does(tokenizer, monkeypatch):
    """Also with another thread at work on the GPU while it is captured."""
    found = []
    monkeypatch.setattr(Prompts, "draw", lambda self, family, deaf: self.rows(family, 0.0 * family))
    for graph in (True, False):
        samples = Samples(8, tokenizer, "cuda")
        samples.append(random_pictures(8), labels(8))
        torch.manual_seed(0)
        config = replace(TRAIN, augmentation=augment.NO_AUGMENTATION, graph=graph)
        fitting = Trainer(initialise(OpenVLA(SMALL)), config, "cuda")
        before = weights(fitting.learner).clone()
        adding = threading.Thread(target=keep_adding, args=(samples, stopped := threading.Event()))
        adding.start()
        fitting.warm_up(samples)
        stopped.set()
        adding.join()
        assert torch.equal(weights(fitting.learner), before)
        assert bool(fitting._captured) is graph
        # A plain forward is captured where the compiled one cannot be: slower by half.
        assert fitting._forward is not fitting.learner
        steps(fitting, samples, 8)
        found.append(weights(fitting.learner).cpu())
    assert (found[0] - before.cpu()).abs().max() > 2e-3
    torch.testing.assert_close(*found, atol=5e-4, rtol=0)


def keep_adding(samples, stopped):
    """As the thread that serves simulators does: the same pictures again and again."""
    with torch.cuda.stream(torch.cuda.Stream()):
        while not stopped.is_set():
            samples.append(random_pictures(8), labels(8))


@pytest.mark.parametrize("value", [0.25, float("nan"), float("inf")])
def test_curves_are_strict_json(tmp_path, value):
    write_curves(tmp_path / "log.jsonl", 3, 1.26, {"loss": torch.tensor(value), "success": value})
    assert strict(tmp_path / "log.jsonl")[0]["loss"] in (0.25, None)


def test_checkpoint_loads_and_answers_in_openvlas_vocabulary(tokenizer, tmp_path):
    """It carries the statistics of the suites that it has learned, and no others."""
    suites = ("libero_goal", "libero_10")
    model = initialise(OpenVLA(SMALL))
    write_checkpoint(model, tokenizer, tmp_path, {"about": "a test"}, suites)
    policy = load_model_policy("mini", tmp_path, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    prompts = [Prompt(OPENVLA_TEMPLATE.format(instruction=text)) for text in published()[:10]]
    tokens = policy.predict([PolicyInput(picture, prompt) for prompt in prompts])
    assert tokens.shape == (10, 7)
    assert tuple(policy.statistics) == suites
    assert max(p.stat().st_size for p in tmp_path.glob("*.safetensors")) < 15e6


def larger(layers, seed=2, **more):
    """A model like SMALL with so many Llama layers."""
    llama = replace(SMALL.llama, num_hidden_layers=layers, **more)
    return initialise(OpenVLA(replace(SMALL, llama=llama)), seed)


@torch.no_grad()
def logits(model):
    ids = torch.tensor([[1, 20, 300, 599, 3, 900], [1, 40, 7, 3, 0, 0]])
    return model(normalise(random_pictures(2)), ids)


def test_further_layers_change_nothing_at_first(tokenizer):
    small = initialise(OpenVLA(SMALL), 1)
    large = larger(5)
    assert (logits(large) - logits(small)).abs().max() > 1e-2
    assert grow(large, tokenizer, small, tokenizer) is large
    torch.testing.assert_close(logits(large), logits(small), atol=1e-5, rtol=0)
    # But they learn.
    logits_of = large(normalise(random_pictures(2)), torch.tensor([[1, 20, 3]] * 2))
    logits_of.square().mean().backward()
    fresh = large.language_model.model.layers[4]
    assert fresh.mlp.down_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("fewer", [0, 192], ids=["equally many rows", "fewer rows"])
def test_words_keep_their_rows_whatever_their_number(tokenizer, fewer):
    words = train_tokenizer(["put the zebra on the plate", "the plate and the moka pot"])
    small = larger(2, 1, vocab_size=SMALL.llama.vocab_size - fewer)
    large = larger(3)
    before = {name: rows.clone() for name, rows in large.state_dict().items()}
    grow(large, tokenizer, small, words)
    mine = tokenizer.get_vocab()
    theirs = words.get_vocab()
    shared = mine.keys() & theirs.keys()
    assert any(mine[text] != theirs[text] for text in shared)
    assert {"Ġplate", "<s>", "<empty>"} <= shared and "Ġmicrowave" not in theirs
    for name in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):
        rows = large.state_dict()[name]
        old = small.state_dict()[name]
        for text in shared:
            assert torch.equal(rows[mine[text]], old[theirs[text]])
        new = mine["Ġmicrowave"]
        assert torch.equal(rows[new], before[name][new])
        last = N_BINS + PADDING
        assert torch.equal(rows[-last:], old[-last:])
        # Which the words do not reach.
        assert max(mine.values()) < len(rows) - last


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 64}, r"is \(.*64.*\) in the checkpoint and \(.*32.*\) in the model"),
        ({"intermediate_size": 96}, "mlp"),
        ({"num_hidden_layers": 4}, "the model has no .*layers.3"),
    ],
    ids=["width", "feed-forward", "more layers"],
)
def test_what_differs_in_more_cannot_be_grown(tokenizer, config, message):
    llama = replace(SMALL.llama, **config)
    other = OpenVLA(replace(SMALL, llama=llama))
    with pytest.raises(TutorialError, match=message) as error:
        grow(larger(3), tokenizer, other, tokenizer)
    assert "more Llama layers and other words" in str(error.value)


def test_mini_stays_under_its_size():
    assert sum(p.numel() for p in OpenVLA(CONFIG).parameters()) * 2 < 60e6


def test_any_words_have_ids(tokenizer):
    ids = tokenizer.encode("Zebra, 水?\n").ids
    assert ids[0] == 1
    assert 0 not in ids


def test_teacher_sees_six_actions_after_each_prompt():
    ids = teacher_ids(
        torch.tensor([[1, 5, 9], [1, 5, 0]]),
        torch.tensor([3, 2]),
        torch.arange(100, 114).view(2, 7),
    )
    assert ids.tolist() == [
        [1, 5, 9, 100, 101, 102, 103, 104, 105, 0],
        [1, 5, 107, 108, 109, 110, 111, 112, 0, 0],
    ]


def test_soft_targets_are_soft_but_for_the_gripper():
    targets = soft_targets(torch.tensor([[10, 0, 128, 254, 3, 3, 254]]), 1.5, 256)
    torch.testing.assert_close(targets.sum(-1), torch.ones(1, 7))
    assert targets.argmax(-1).tolist() == [[10, 0, 128, 254, 3, 3, 254]]
    assert targets[0, 6, 254] == 1
    assert targets[0, 0, 10] < 0.5


def test_rate_warms_up_stays_and_falls():
    config = TrainConfig(steps=100, warmup=10, learning_rate=1.0, decay_from=0.6)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 10, 0.1) == learning_rate(config, 59, 0.59) == 1.0
    assert learning_rate(config, 80, 0.8) == pytest.approx(0.5)
    assert learning_rate(config, 100, 1.0) == pytest.approx(0.01)


def test_places_divide_among_the_patches_around_them():
    side = 14
    points = torch.rand(64, 12, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points *= 1 - 1 / side  # between the outer patches' middles
    points[0, 0], points[0, 1], points[0, 2], points[0, 3] = (
        torch.tensor(p) for p in ((float("nan"),) * 2, (1.2, 0.0), (0.0, -1.01), (0.99, -0.99))
    )
    targets, inside = keypoint_targets(points, side)
    assert targets.shape == (64, side**2, 12)
    torch.testing.assert_close(targets.sum(1), torch.ones(64, 12))
    assert (targets > 0).sum(1).max() <= 4
    assert not inside[0, :3].any() and inside[0, 3] and inside[1:].all()
    middles = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(middles, middles, indexing="ij")  # patches go row by row
    back = torch.einsum("npk,pc->nkc", targets, torch.stack([x.flatten(), y.flatten()], 1))
    torch.testing.assert_close(back[1:], points[1:])
    torch.testing.assert_close(
        back[0, 3], torch.tensor([1 - 1 / side, 1 / side - 1])
    )  # the corner's patch


def test_what_is_not_in_the_picture_costs_nothing():
    found = torch.randn(2, 16, 3, requires_grad=True)
    nowhere = torch.full((2, 3, 2), float("nan"))
    assert keypoint_loss(found, nowhere) == 0
    one = nowhere.clone()
    one[0, 1] = torch.tensor([0.1, 0.2])
    loss = keypoint_loss(found, one)
    loss.backward()
    assert loss > 0 and found.grad[0, :, 1].abs().min() > 0
    assert found.grad[1].abs().max() == found.grad[0, :, [0, 2]].abs().max() == 0


def test_plain_crop_is_evaluations_crop():
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    smooth = np.stack([pixels.resize_lanczos3(image[0, ::8, ::8])])
    theirs = pixels.center_crop(smooth[0])
    ours = augment.center_crop(torch.from_numpy(smooth))
    assert np.abs(ours[0].numpy().astype(int) - theirs).max() <= 1
    plain, _ = augment.augmented(
        torch.from_numpy(smooth), torch.zeros(1, 1, 2), augment.NO_AUGMENTATION
    )
    assert torch.equal(plain, normalise(ours))


def test_a_bright_dot_stays_where_augmentation_says():
    rng, n = np.random.default_rng(0), 16
    at = rng.uniform(-0.7, 0.7, (n, 2)).astype(np.float32)
    row = (np.arange(224, dtype=np.float32) + 0.5) / 112 - 1
    blob = np.exp(
        -((row - at[:, :1])[:, None, :] ** 2 + (row - at[:, 1:])[:, :, None] ** 2) / 0.03**2
    )
    images = torch.from_numpy((255 * blob[..., None]).round().astype(np.uint8)).expand(
        -1, -1, -1, 3
    )
    torch.manual_seed(0)
    out, places = augment.augmented(
        images,
        torch.from_numpy(at[:, None]),
        augment.Augmentation(shift=0.03, zoom=0.05, light=0.0, noise=0.0),
    )
    assert out.shape == (n, 6, 224, 224) and places.shape == (n, 1, 2)
    light = (out[:, 3] + 1).double()  # SigLIP's channels are −1 … 1
    x, y = (
        (light.sum(axis) @ torch.from_numpy(row).double()) / light.sum((1, 2)) for axis in (1, 2)
    )
    assert (torch.stack([x, y], 1) - places[:, 0]).abs().max() < 0.5 / 112
    assert (places[:, 0] - torch.from_numpy(at)).abs().max() > 5 / 112  # the window did move
