"""The packaged checkpoint: it is whole and small, never sees the simulator's state, looks, reads, and does its task."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "cut":
        shard = tmp_path / "model-00001.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1000])
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        config["text_config"]["hidden_size"] = 320
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TutorialError):
        load_policy("mini", str(tmp_path), device="cpu")
