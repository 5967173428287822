"""The packaged checkpoint: it is whole and small, never sees the simulator's state, looks, reads, and does its task."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import edit_json

from vla_tutorial import pixels, prompt
from vla_tutorial.conditions import apply
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import rollout
from vla_tutorial.openvla.cpu import PlainRunner
from vla_tutorial.policies import Policy, PolicyInput, load_policy
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.training.losses import ModelWithAuxHeads
from vla_tutorial.wiring import Wiring

WIRING, SCENE = Wiring(unnorm_key="libero_object"), Scene("libero_object", 0, 0)
FOLDER = Path(str(resources.files("vla_tutorial") / "weights" / "mini"))


@pytest.fixture(scope="module")
def mini() -> Policy:
    return load_policy("mini", device="cpu")


@pytest.fixture(scope="module")
def simulator():
    with Simulator("libero_object", 0) as found:
        yield found


class Watched:
    """The policy, and what it was given."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.given = policy, []
        self.name, self.privileged, self.statistics, self.provenance = (
            "watched",
            policy.privileged,
            policy.statistics,
            policy.provenance,
        )

    def predict(self, batch):
        self.given += batch
        return self.policy.predict(batch)


def test_the_checkpoint_is_small_and_in_small_files() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(sizes.values()) < 60e6
    assert max(sizes.values()) < 15e6
    assert set(json.loads((FOLDER / "dataset_statistics.json").read_text())) == {"libero_object"}


def test_it_does_its_task_with_pictures_and_a_prompt_alone(
    mini: Policy, simulator: Simulator
) -> None:
    watched = Watched(mini)
    steps = list(rollout(watched, simulator, WIRING, SCENE))
    assert steps[-1].done
    assert len(steps) < 200
    assert not mini.privileged
    assert all(one.state is None for one in watched.given)
    assert {one.pixels.shape for one in watched.given} == {(224, 224, 3)}
    commands = np.array([step.action[6] for step in steps])
    assert commands[0] == -1 and commands.max() == 1 and commands[-1] == -1


def test_the_auxiliary_heads_stay_behind(mini) -> None:
    """What they learnt from the simulator's state must not travel with the policy."""
    heads = {
        name
        for name, _ in ModelWithAuxHeads(mini.model).named_parameters()
        if not name.startswith("model.")
    }
    assert heads == {"positions.weight", "positions.bias", "keypoints.weight", "keypoints.bias"}
    index = json.loads((FOLDER / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(mini.model.state_dict())


@pytest.mark.parametrize("condition", ["no_flip", "wrong_prompt", "wrong_unnorm_key"])
def test_a_silent_failure_really_fails(mini: Policy, simulator: Simulator, condition: str) -> None:
    """Not for 40 steps does the hand come down to the object, which takes 42 when all is right."""
    wiring, scene = apply([condition], replace(WIRING, max_steps=40), SCENE)
    steps = list(rollout(mini, simulator, wiring, scene))
    target = simulator.data.xpos[simulator.bodies[simulator.targets[0]]]
    assert np.linalg.norm(steps[-1].observation.eef_pos - target) > 0.10


def test_other_words_and_other_pictures_give_other_actions(
    mini: Policy, simulator: Simulator
) -> None:
    picture = pixels.prepare(simulator.reset(0, 10).image, WIRING)
    soup, milk = (
        prompt.build(WIRING, f"pick up the {name} and place it in the basket")
        for name in ("alphabet soup", "milk")
    )
    here, there, dark = mini.predict(
        [PolicyInput(picture, soup), PolicyInput(picture, milk), PolicyInput(picture // 2, soup)]
    )
    assert np.abs(here - there)[:3].max() > 10
    assert not np.array_equal(here, dark)


def test_the_engine_says_what_the_eager_model_says(mini, simulator: Simulator) -> None:
    """Tokens may differ where two bins are nearly tied; no more than one bin, and seldom."""
    picture = torch.from_numpy(pixels.prepare(simulator.reset(0, 10).image, WIRING))[None].expand(
        2, -1, -1, -1
    )
    ids = [
        mini.ids(prompt.build(WIRING, f"pick up the {name} and place it in the basket"))
        for name in ("alphabet soup", "milk")
    ]
    eager = mini.model.generate(picture, ids, 7)
    fast = mini.engine.generate(picture, ids, 7)
    mini.engine.runner, kept = PlainRunner(mini.model.language_model), mini.engine.runner
    plain = mini.engine.generate(picture, ids, 7)
    mini.engine.runner = kept
    assert (fast - eager).abs().max() <= 1
    assert (plain - eager).abs().max() <= 1


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the checkpoint, to break."""
    return Path(shutil.copytree(FOLDER, tmp_path / "mini"))


def refusal(folder: Path) -> str:
    with pytest.raises(TutorialError) as e:
        load_policy("mini", str(folder), device="cpu")
    return str(e.value)


def test_a_shard_that_is_cut(copy: Path) -> None:
    shard = copy / "model-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000])
    assert "model-00001.safetensors" in refusal(copy)


def test_another_models_config(copy: Path) -> None:
    edit_json(copy / "config.json", lambda config: config["text_config"].update(hidden_size=320))
    assert "config.json that came with these weights" in refusal(copy)


@pytest.mark.parametrize("padding", [-64, 0, 1, 32, 63, 65, 66, 128, 500])
def test_padding_that_would_move_every_action(copy: Path, padding: int) -> None:
    """Nothing in config.json tells that it is wrong: from 1 on the weights or the tokenizer do."""
    edit_json(copy / "config.json", lambda config: config.update(pad_to_multiple_of=padding))
    text = refusal(copy)
    assert "config.json" in text or "tokenizer.json" in text
    assert "pad" in text


def test_quantiles_that_are_exchanged(copy: Path) -> None:
    def exchange(found):
        action = found["libero_object"]["action"]
        action["q01"], action["q99"] = action["q99"], action["q01"]

    edit_json(copy / "dataset_statistics.json", exchange)
    assert "libero_object: action holds q01[0]" in refusal(copy)


def test_a_mask_of_strings(copy: Path) -> None:
    def spell(found):
        found["libero_object"]["action"]["mask"] = ["true"] * 6 + ["false"]

    edit_json(copy / "dataset_statistics.json", spell)
    assert "action holds mask[0] 'true'" in refusal(copy)


def test_angles_as_transformers_5_saves_them(copy: Path, mini: Policy) -> None:
    def rename(config):
        theta = config["text_config"].pop("rope_theta")
        given = {"rope_type": "default", "rope_theta": theta}
        config["text_config"]["rope_parameters"] = given

    edit_json(copy / "config.json", rename)
    same = load_policy("mini", str(copy), device="cpu")
    assert same.model.config == mini.model.config
    change = {"rope_theta": 500000.0}
    edit_json(
        copy / "config.json", lambda config: config["text_config"]["rope_parameters"].update(change)
    )
    other = load_policy("mini", str(copy), device="cpu")
    assert other.model.config.llama.rope_theta == 500000.0
    prompts = [mini.ids(prompt.build(WIRING, "pick up the milk"))]
    picture = torch.full((1, 224, 224, 3), 99, dtype=torch.uint8)
    said = [policy.model.embed_image(picture) for policy in (mini, other)]
    logits = [
        policy.model.sequence_logits(image, torch.tensor(prompts))
        for policy, image in zip((mini, other), said, strict=True)
    ]
    assert not torch.allclose(*logits)


def test_openvla_oft_under_another_policys_name(copy: Path) -> None:
    (copy / "action_head--150000_checkpoint.pt").write_bytes(b"")
    with pytest.raises(TutorialError, match="OpenVLA-OFT"):
        load_policy("openvla", str(copy), device="cpu")
