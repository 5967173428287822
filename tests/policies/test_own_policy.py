"""Policies of the user's own: the book's example, the checks of their answers, and what does not apply to them."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sweep_fakes import Fake

from vla_tutorial import actions
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import read_log
from vla_tutorial.loop import rollout
from vla_tutorial.pixels import SIZE
from vla_tutorial.policies import PolicyInput, check_name, load_policy
from vla_tutorial.policies.base import check_applies
from vla_tutorial.prompt import Prompt
from vla_tutorial.record import record_episode
from vla_tutorial.spec import EpisodeSpec

PAGE = Path(__file__).parents[2] / "book" / "own_policy.md"

MADE = """
import numpy as np

class Acting:
    provenance = {"checkpoint": "none"}
    def __init__(self, answer=None, **given):
        self.answer, self.given, self.closed = answer, given, False
    def act(self, batch):
        return [[0.1, 0, 0, 0, 0, 0, 1.0 if k % 2 else -1.0] for k in range(len(batch))] if self.answer is None else self.answer
    def close(self):
        self.closed = True

class Tokens:
    def predict(self, batch):
        return np.full((len(batch), 7), 31872, np.int32)

class Wrong(Tokens):
    def predict(self, batch):
        return np.zeros((len(batch), 7))

nothing = lambda: None
number = 3
def made_for(): return Acting()
made_for.wiring = {"jpeg": False, "prompt_template": "{instruction}"}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "mine_here.py").write_text(MADE)
    yield tmp_path
    for name in ("mine_here", "my_policy"):
        sys.modules.pop(name, None)


def an_input(text="pick up the milk"):
    return PolicyInput(np.zeros((SIZE, SIZE, 3), np.uint8), Prompt(text))


def test_the_books_example_runs(folder):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len(code.splitlines()) <= 32
    (folder / "my_policy.py").write_text(code, encoding="utf-8")
    policy = load_policy("my_policy:make_policy")
    mini = load_policy("mini")
    batch = [an_input(), an_input("pick up the butter")]
    answer = policy.predict(batch)
    assert answer.shape == (2, 2, 7)
    wanted = actions.decode(mini.predict(batch), actions.embedded_statistics()["libero_object"])
    sent = actions.to_libero(answer)
    assert np.allclose(sent[:, 0], actions.to_libero(wanted)) and np.array_equal(
        sent[:, 0], sent[:, 1]
    )
    spec = EpisodeSpec(policy="my_policy:make_policy", max_steps=6)
    result = record_episode(policy, Fake("libero_object", 0, 256), *spec.settings(), folder / "e")
    assert result.steps >= 3 and len(read_log(folder / "e")) == result.steps


def test_actions_reach_libero_as_they_are(folder):
    policy = load_policy("mine_here:Acting", checkpoint="x", device="cpu")
    assert policy._made.given == {"checkpoint": "x", "device": "cpu"}
    wiring, scene = EpisodeSpec(policy="mine_here:made_for", max_steps=2).settings()
    step = next(rollout(policy, Fake("libero_object", 0, 256), wiring, scene))
    assert step.action.tolist() == [0.1, 0, 0, 0, 0, 0, -1]
    statistics = actions.embedded_statistics()["libero_object"]
    assert np.allclose(actions.decode(step.tokens, statistics)[:6], step.action[:6], atol=0.01)
    policy.close()
    assert policy._made.closed


def test_faults_of_the_gripper_act_on_actions():
    policy = load_policy("mine_here:Acting")
    spec = EpisodeSpec(conditions=("gripper_inverted", "actions_too_large"), max_steps=2)
    step = next(rollout(policy, Fake("libero_object", 0, 256), *spec.settings()))
    assert step.action.tolist() == [0.4, 0, 0, 0, 0, 0, 1]


def test_what_does_not_apply_says_so(folder):
    policy = load_policy("mine_here:Acting")
    with pytest.raises(TutorialError, match=r"wrong_unnorm_key.*answers with actions.*not apply"):
        check_applies(policy, ["no_flip", "wrong_unnorm_key"])
    wiring, scene = EpisodeSpec(conditions=("stale_chunk",)).settings()
    with pytest.raises(TutorialError, match=r"stale_chunk.*chunk of actions.*not apply"):
        record_episode(policy, None, wiring, scene, folder / "x", ("stale_chunk",))
    assert not (folder / "x").exists()
    check_applies(load_policy("mine_here:Tokens"), ["wrong_unnorm_key"])


def test_wiring_that_a_policy_was_made_for():
    wiring, _ = EpisodeSpec(policy="mine_here:made_for").settings()
    assert (wiring.jpeg, wiring.prompt_template) == (False, "{instruction}")
    assert wiring.unnorm_key == "libero_object"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere_at_all:make", "no module 'nowhere_at_all'"),
        ("mine_here:absent", "no function 'absent'"),
        ("mine_here:number", "no function 'number'"),
        ("mine_here:nothing", "returned a NoneType"),
        (":x", "does not name a policy"),
        ("minni", r"mini.*my_module:make_policy"),
    ],
)
def test_a_name_that_is_no_policy(name, words):
    with pytest.raises(TutorialError, match=words):
        load_policy(name)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros((1, 6)), r"shape \(1, 6\); expected \(1, 7\)"),
        (np.zeros((1, 3, 7)), r"attribute chunk"),
        (np.full((1, 7), np.nan), "NaN"),
    ],
)
def test_answers_are_checked(answer, words):
    with pytest.raises(TutorialError, match=words):
        load_policy("mine_here:Acting", answer=answer).predict([an_input()])


def test_numbers_that_are_no_tokens_are_refused():
    with pytest.raises(TutorialError, match="name the method act"):
        load_policy("mine_here:Wrong").predict([an_input()])
    check_name("mine_here:Wrong")


def test_proprioception_goes_to_those_that_read_it():
    seen = []

    class Reading:
        name, privileged, statistics = "reading", False, {}
        provenance = {"inputs": ("proprioception", "wrist")}  # noqa: RUF012

        def predict(self, batch):
            seen.extend(batch)
            return np.full((1, 7), 31872)

    simulator = Fake("libero_object", 0, 256)
    simulator.wrist_picture = lambda: np.full((256, 256, 3), 200, np.uint8)
    wiring, scene = EpisodeSpec(max_steps=1).settings()
    list(rollout(Reading(), simulator, wiring, scene))
    assert seen[0].proprioception.shape == (8,) and seen[0].wrist.shape == (SIZE, SIZE, 3)
    other = SimpleNamespace(**{**vars(Reading), "provenance": {}, "predict": Reading().predict})
    list(rollout(other, simulator, wiring, scene))
    assert seen[1].proprioception is None and seen[1].wrist is None
