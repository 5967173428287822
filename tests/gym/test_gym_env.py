"""Gymnasium's own checker passes, and an episode is the loop's, step by step."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import vla_tutorial.gym  # noqa: F401
from vla_tutorial import actions
from vla_tutorial.errors import TutorialError
from vla_tutorial.gym import TASKS
from vla_tutorial.loop import rollout
from vla_tutorial.sim import Simulator, count_tasks
from vla_tutorial.spec import EpisodeSpec

ID = "vla_tutorial/libero_object-task0-v0"


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make(ID, render_mode="rgb_array")
    yield made
    made.close()


def test_gymnasiums_checker_passes(env):
    check_env(env.unwrapped, skip_render_check=True)


def test_render_is_upright_and_of_the_rendered_size(env):
    env.reset(seed=3)
    picture = env.render()
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8


def test_the_same_seed_gives_the_same_episode(env):
    first, info = env.reset(seed=7)
    again, same = env.reset(seed=7)
    assert info == same and np.array_equal(first["pixels"], again["pixels"])
    assert {env.reset(seed=seed)[1]["init"] for seed in range(3)} != {info["init"]}


class Recorded:
    """Answers with random tokens, and keeps what it saw."""

    name, privileged, statistics, provenance = "recorded", False, {}, {}

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.seen = []
        self.tokens = []

    def predict(self, batch):
        self.seen.append(batch[0])
        self.tokens.append(self.rng.integers(31745, 32000, 7))
        return self.tokens[-1][None]


@pytest.mark.parametrize("conditions", [(), ("stale_frame", "gripper_inverted", "bgr")])
def test_an_episode_is_the_loops(conditions):
    policy = Recorded()
    wiring, scene = EpisodeSpec(init=3, conditions=conditions, max_steps=4).settings()
    with Simulator("libero_object", 0) as simulator:
        steps = list(rollout(policy, simulator, wiring, scene))
        after = simulator.state()
    made = gymnasium.make(
        ID,
        conditions=conditions,
        action_form="tokens",
        wiring={"max_steps": 4},
        disable_env_checker=True,
    )
    seen, info = made.reset(options={"init": 3})
    assert info["prompt"] == policy.seen[0].prompt.text
    for k, step in enumerate(steps):
        assert np.array_equal(seen["pixels"], step.pixels), k
        assert np.array_equal(seen["proprioception"], step.observation.proprioception)
        seen, reward, terminated, truncated, _ = made.step(actions.token_bins(step.tokens))
        assert (reward, terminated) == (step.reward, step.done)
    assert truncated
    assert np.array_equal(made.unwrapped._simulator.state(), after)
    made.close()


def test_every_task_of_libero_has_an_environment():
    assert {suite: count_tasks(suite) for suite in TASKS} == TASKS
    assert sum(name.startswith("vla_tutorial/libero") for name in gymnasium.registry) == 130


def test_refusals():
    with pytest.raises(TutorialError, match="no_flap"):
        gymnasium.make(ID, conditions=["no_flap"])
    with pytest.raises(TutorialError, match="the loop is yours"):
        gymnasium.make(ID, conditions=["latency_2"])
    made = gymnasium.make(ID).unwrapped
    with pytest.raises(TutorialError, match="reset"):
        made.step(np.zeros(7))
