"""The policy as an ONNX graph: the tokens of this package's engine, for `mini` and for other sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("onnxruntime", reason="the extra `book` is not installed")

from vla_tutorial.errors import TutorialError
from vla_tutorial.live import policy_export
from vla_tutorial.live.graph import policy_file
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.openvla.sizes import LlamaConfig, OpenVLAConfig, VisionConfig, ViTConfig
from vla_tutorial.policies import PolicyInput, load_policy
from vla_tutorial.policies.base import Policy
from vla_tutorial.prompt import Prompt, build
from vla_tutorial.spec import PUBLISHED_WIRING

FRAMES = Path(__file__).parents[1] / "data" / "frames"
PLAIN = ViTConfig(32, 2, 2, 48, False, False, 0, False, -1)
CONFIGS = {
    "six layers": OpenVLAConfig(
        VisionConfig(32, 16, ViTConfig(48, 3, 3, 64, True, True, 2, False, -2), PLAIN),
        LlamaConfig(64, 96, 6, 4, 4, 384, 128),
        64,
        3,
    ),
    "shared keys": OpenVLAConfig(
        VisionConfig(112, 28, PLAIN, ViTConfig(32, 1, 2, 48, True, True, 0, False, -1)),
        LlamaConfig(96, 64, 1, 6, 2, 320, 128, rope_theta=500.0, rms_norm_eps=1e-5),
        0,
        3,
    ),
    "224 pixels": OpenVLAConfig(
        VisionConfig(224, 56, PLAIN, PLAIN), LlamaConfig(32, 64, 2, 1, 1, 300, 96), 4, 3
    ),
}


def random_model(config):
    """Random weights that bfloat16 holds, large enough that answers differ."""
    torch.manual_seed(0)
    model = OpenVLA(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = (parameter.data + 0.1 * torch.randn_like(parameter)).bfloat16().float()
    return model


def random_inputs(config, count):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        picture = np.kron(rng.integers(0, 256, (7, 7, 3)), np.ones((32, 32, 1))).astype(np.uint8)
        length = rng.integers(1, 40)
        ids = [1, *rng.integers(4, config.llama.vocab_size, length).tolist()]
        found.append((picture, ids))
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_other_sizes(name):
    model = random_model(CONFIGS[name])
    content = policy_export.build_graph(model).SerializeToString(deterministic=True)
    inputs = random_inputs(model.config, 12)
    found = policy_export.run_graph(content, model, inputs)
    # The engine reads the stacked weights, so it is built after the graph.
    engine = Engine(model)
    offset = 32000 - model.config.vocabulary
    answers = set()
    for (picture, ids), row in zip(inputs, found, strict=True):
        expected = engine.generate(torch.from_numpy(picture[None]), [ids], 7)[0].tolist()
        if model.config.llama.eos_token_id in expected:
            continue
        assert (row - offset).tolist() == expected
        answers.add(tuple(expected))
    assert len(answers) > 6, "pictures and prompts matter"


@pytest.fixture(scope="module")
def mini() -> Policy:
    return load_policy("mini", device="cpu")


@pytest.fixture(scope="module")
def content(mini):
    return policy_export.build_graph(mini.model).SerializeToString(deterministic=True)


def examples():
    rng = np.random.default_rng(0)
    pictures = []
    for path in sorted(FRAMES.glob("*.png")):
        picture = np.asarray(Image.open(path).convert("RGB").resize((224, 224)))
        pictures += [picture, np.ascontiguousarray(picture[::-1])]
    pictures.append(rng.integers(0, 256, (224, 224, 3)).astype(np.uint8))
    sentences = ["pick up the milk and place it in the basket", "", "turn on the stove", "x " * 60]
    prompts = [build(PUBLISHED_WIRING, sentence) for sentence in sentences]
    return [PolicyInput(p, prompts[i % len(prompts)]) for i, p in enumerate(pictures)]


def test_mini_gives_the_engines_tokens(mini, content):
    policy_export.check_tokens(mini, content, examples())


def test_the_graph_is_the_same_each_time_and_holds_two_bytes_a_weight(mini, content):
    assert policy_export.build_graph(mini.model).SerializeToString(deterministic=True) == content
    assert 2 * mini.model.size < len(content) < 2.1 * mini.model.size


def test_the_packed_file_is_the_graph_and_smaller(mini, content):
    packed, runs = policy_file.pack(policy_export.build_graph(mini.model))
    assert policy_file.unpack(packed, runs) == content
    assert len(packed) < 0.72 * len(content)


def test_other_weights_are_noticed(mini, content):
    """One changed weight in a late layer, and the exporter refuses the graph."""
    weight = mini.model.language_model.lm_head.weight
    before = weight.data.clone()
    try:
        weight.data[[40, 41, 500, 600, 700]] += 50.0
        other = policy_export.build_graph(mini.model).SerializeToString(deterministic=True)
    finally:
        weight.data.copy_(before)
    assert other != content
    with pytest.raises(TutorialError, match=r"other tokens than the policy for \d of"):
        policy_export.check_tokens(mini, other, examples())


def test_weights_that_two_bytes_do_not_hold_stay_whole():
    model = random_model(CONFIGS["224 pixels"])
    small = policy_export.build_graph(model).ByteSize()
    for parameter in model.parameters():
        parameter.data *= 1.001
    whole = policy_export.build_graph(model)
    assert whole.ByteSize() > 1.5 * small
    inputs = random_inputs(model.config, 3)
    found = policy_export.run_graph(whole.SerializeToString(), model, inputs)
    assert found.shape == (3, 7)


def test_a_policy_without_a_model_is_refused(tmp_path):
    with pytest.raises(TutorialError, match="expert is a script"):
        policy_export.export(tmp_path, "expert")


def test_a_policy_is_refused_where_python_refuses_it():
    assert policy_export._refusal("mini", "libero_10") == ""
    assert policy_export._refusal("mini-narrow", "libero_object") == ""
    assert "would say nothing" in policy_export._refusal("mini-narrow", "libero_10")


def test_prompt_of_any_length(mini, content):
    """The graph takes as many ids as `longest_prompt` says, and the engine no more."""
    picture = np.zeros((224, 224, 3), np.uint8)
    words = Prompt("a " * 173)
    assert len(mini.ids(words)) == 176
    policy_export.check_tokens(mini, content, [PolicyInput(picture, words)])
    with pytest.raises(TutorialError, match="177 ids"):
        mini.predict([PolicyInput(picture, Prompt("a " * 174))])
