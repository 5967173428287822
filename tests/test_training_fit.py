"""Fitting in the small: targets, resuming, the crop, and a checkpoint that loads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_tutorial import pixels
from vla_tutorial.openvla.config import LlamaConfig, OpenVLAConfig, VisionConfig, ViTConfig
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.model import load_model_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.training import augment
from vla_tutorial.training.fit import Fitting, Recipe, Samples, fit, rate, soft_targets, teacher_ids
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer, write_checkpoint
from vla_tutorial.training.samples import prompt_ids
from vla_tutorial.wiring import OPENVLA_TEMPLATE

INSTRUCTIONS = ["pick up the milk and place it in the basket", "pick up the butter and place it in the basket"]
VIT = ViTConfig(dim=32, depth=2, heads=2, mlp_hidden=64, registers=0, output_block=-1)
SMALL = OpenVLAConfig(
    VisionConfig(224, 56, VIT, VIT),
    LlamaConfig(32, 64, 2, 2, vocab_size=CONFIG.llama.vocab_size, max_position_embeddings=128),
    CONFIG.padding,
    CONFIG.empty_token_id,
)
RECIPE = Recipe(steps=6, batch=4, warmup=2)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(INSTRUCTIONS)


@pytest.fixture(scope="module")
def samples(tokenizer):
    generator = torch.Generator().manual_seed(0)
    prompts, lengths = prompt_ids(INSTRUCTIONS, tokenizer)
    return Samples(
        torch.randint(0, 256, (8, 224, 224, 3), dtype=torch.uint8, generator=generator),
        prompts,
        lengths,
        torch.arange(8) % 2,
        torch.randint(31745, 32000, (8, 7), generator=generator),
        torch.randn(8, 11, generator=generator),
    )


def weights(fitting):
    return torch.cat([p.flatten() for p in fitting.learner.parameters()])


def test_resuming_gives_the_same_weights_and_log(samples, tmp_path):
    torch.manual_seed(0)
    straight = Fitting(initialise(OpenVLA(SMALL)), replace(RECIPE, augmentation=augment.NONE), 11, "cpu")
    start = {k: {n: t.clone() for n, t in v.items()} if k in ("learner", "mean") else v for k, v in straight.state().items()}
    first = Fitting(initialise(OpenVLA(SMALL)), replace(RECIPE, augmentation=augment.NONE), 11, "cpu")
    first.learner.load_state_dict(start["learner"])
    first.mean.load_state_dict(start["mean"])
    fit(straight, samples, tmp_path / "a.jsonl")
    fit(first, samples, tmp_path / "b.jsonl", until=3)
    torch.save(first.state(), tmp_path / "state.pt")
    second = Fitting(initialise(OpenVLA(SMALL), seed=5), replace(RECIPE, augmentation=augment.NONE), 11, "cpu")
    second.load(torch.load(tmp_path / "state.pt", weights_only=True))
    fit(second, samples, tmp_path / "b.jsonl")
    torch.testing.assert_close(weights(second), weights(straight))


def test_it_learns_what_it_sees(samples, tmp_path):
    fitting = Fitting(
        initialise(OpenVLA(SMALL)), Recipe(steps=60, batch=8, warmup=5, learning_rate=5e-3, augmentation=augment.NONE), 11, "cpu"
    )
    before = fitting.loss(samples, torch.arange(8))[1]["cross_entropy"].item()
    fit(fitting, samples, tmp_path / "log.jsonl")
    assert fitting.loss(samples, torch.arange(8))[1]["cross_entropy"].item() < 0.7 * before


def test_checkpoint_loads_and_answers_in_openvlas_vocabulary(tokenizer, tmp_path):
    write_checkpoint(initialise(OpenVLA(SMALL)), tokenizer, tmp_path, {"about": "a test"})
    policy = load_model_policy("mini", tmp_path, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    tokens = policy.predict([PolicyInput(picture, Prompt(OPENVLA_TEMPLATE.format(instruction=text))) for text in INSTRUCTIONS])
    assert tokens.shape == (2, 7)
    assert set(policy.statistics) == {"libero_object"}
    assert max(p.stat().st_size for p in tmp_path.glob("*.safetensors")) < 15e6


def test_mini_stays_under_its_size():
    assert sum(p.numel() for p in OpenVLA(CONFIG).parameters()) * 2 < 60e6


def test_any_words_have_ids(tokenizer):
    ids = tokenizer.encode("Zebra, 水?\n").ids
    assert ids[0] == 1
    assert 0 not in ids


def test_teacher_sees_six_actions_after_each_prompt():
    ids = teacher_ids(torch.tensor([[1, 5, 9], [1, 5, 0]]), torch.tensor([3, 2]), torch.arange(100, 114).view(2, 7))
    assert ids.tolist() == [[1, 5, 9, 100, 101, 102, 103, 104, 105, 0], [1, 5, 107, 108, 109, 110, 111, 112, 0, 0]]


def test_soft_targets_are_soft_but_for_the_gripper():
    targets = soft_targets(torch.tensor([[10, 0, 128, 254, 3, 3, 254]]), 1.5, 256)
    torch.testing.assert_close(targets.sum(-1), torch.ones(1, 7))
    assert targets.argmax(-1).tolist() == [[10, 0, 128, 254, 3, 3, 254]]
    assert targets[0, 6, 254] == 1
    assert targets[0, 0, 10] < 0.5


def test_rate_warms_up_and_falls():
    recipe = Recipe(steps=100, warmup=10, learning_rate=1.0)
    assert rate(recipe, 0) == pytest.approx(0.1)
    assert rate(recipe, 10) == pytest.approx(1.0)
    assert rate(recipe, 100) == pytest.approx(0.01)


def test_plain_crop_is_evaluations_crop():
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    smooth = np.stack([pixels.resize_lanczos3(image[0, ::8, ::8])])
    ours = augment.crop(torch.from_numpy(smooth), augment.NONE)[0].numpy().astype(int)
    assert np.abs(ours - pixels.center_crop(smooth[0])).max() <= 1
