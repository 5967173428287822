"""When a policy is asked, and what the arm does until it has answered."""

from dataclasses import replace

import numpy as np
import pytest
from sweep_fakes import Fake

from vla_tutorial.actions import embedded_statistics
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import step_line
from vla_tutorial.loop import rollout
from vla_tutorial.policies import PolicyInput
from vla_tutorial.policies.timing import REST, Timing
from vla_tutorial.prompt import Prompt
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

WIRING = Wiring("libero_object")
STATISTICS = embedded_statistics()["libero_object"]


class Counting:
    """Its kth answer is all 31800 + k, or a chunk whose actions count up from 31800 + 10 k."""

    name, privileged, statistics = "counting", False, {}

    def __init__(self, chunk=1, **provenance):
        self.chunk = chunk
        self.provenance = {"chunk": chunk, **provenance}
        self.asked = []

    def predict(self, batch):
        k = len(self.asked)
        self.asked.append(batch[0].prompt.text)
        if self.chunk == 1:
            return np.full((1, 7), 31800 + k)
        numbers = 31800 + 10 * k + np.arange(self.chunk)
        return np.repeat(numbers[None, :, None], 7, axis=2)


def turns(policy, steps, clock=lambda: 0.0, **settings):
    """The first number of each answer minus 31800 (None for rest), and whether it waited."""
    timing = Timing(policy, replace(WIRING, **settings), STATISTICS, clock)
    found = []
    for step in range(steps):
        turn = timing.turn(PolicyInput(np.zeros((2, 2, 3), np.uint8), Prompt(str(step))))
        resting = np.issubdtype(turn.answer.dtype, np.floating)
        found.append((None if resting else int(turn.answer[0]) - 31800, turn.waiting))
    return found, [int(text) for text in policy.asked]


def test_the_simulator_waits_as_published():
    found, asked = turns(Counting(), 4)
    assert found == [(0, False), (1, False), (2, False), (3, False)]
    assert asked == [0, 1, 2, 3]


def test_a_late_answer_is_executed_when_it_is_there():
    found, asked = turns(Counting(), 7, latency=2)
    late = [(None, True), (None, True), (0, False), (0, True), (0, True), (1, False), (1, True)]
    assert found == late
    assert asked == [0, 3, 6]


def test_the_arm_may_rest_while_it_waits():
    policy = Counting()
    timing = Timing(policy, replace(WIRING, latency=1, while_waiting="zero"), STATISTICS)
    item = PolicyInput(np.zeros((2, 2, 3), np.uint8), Prompt(""))
    answers = [timing.turn(item).answer for _ in range(4)]
    assert np.array_equal(answers[0], REST)
    assert answers[1].tolist() == [31800] * 7
    assert answers[2][:6].tolist() == [0] * 6
    # 31800 is bin 199 of 0 … 254, more than half open, and stays so.
    assert answers[2][6] == pytest.approx(199 * 2 / 255 - 1 + 1 / 255)
    assert np.issubdtype(answers[3].dtype, np.integer)


def test_live_mode_counts_the_steps_that_thinking_takes():
    times = iter([0.0, 0.049, 1.0, 1.12, 2.0, 2.01, 3.0, 3.01])
    found, asked = turns(Counting(), 5, clock=lambda: next(times), realtime=20.0)
    assert found == [(0, False), (0, True), (0, True), (1, False), (2, False)]
    assert asked == [0, 1, 4]


@pytest.mark.parametrize(
    ("policy", "settings", "expected"),
    [
        (Counting(3), {}, [0, 1, 2, 10, 11, 12, 20, 21]),
        (Counting(3, replan_steps=2), {}, [0, 1, 10, 11, 20, 21, 30, 31]),
        (Counting(3), {"replan_steps": 1}, [0, 10, 20, 30, 40, 50, 60, 70]),
        (Counting(3), {"replan_steps": 10}, [0, 1, 2, 10, 11, 12, 20, 21]),
        (Counting(3), {"stale_chunks": 1}, [0, 1, 2, 0, 1, 2, 10, 11]),
        (Counting(3, replan_steps=1), {"latency": 1}, [None, 0, 1, 10, 11, 20, 21, 30]),
    ],
)
def test_chunks(policy, settings, expected):
    found, _ = turns(policy, 8, **settings)
    assert [number for number, _ in found] == expected


def test_the_log_says_where_the_policy_was_thinking():
    wiring = replace(WIRING, latency=1, max_steps=3)
    steps = list(
        rollout(Counting(), Fake("libero_object", 0, 256), wiring, Scene("libero_object", 0, 0))
    )
    assert [step.waiting for step in steps] == [True, False, True]
    assert steps[0].action.tolist() == [0, 0, 0, 0, 0, 0, -1]
    assert np.array_equal(steps[2].action, steps[1].action)
    assert steps[2].tokens.tolist() == steps[1].tokens.tolist() == [31800] * 7
    lines = [step_line(step) for step in steps]
    assert [line.get("waiting") for line in lines] == [True, None, True]


@pytest.mark.parametrize(
    "settings",
    [
        {"latency": -1},
        {"replan_steps": 0},
        {"stale_chunks": -1},
        {"realtime": 0.0},
        {"realtime": float("inf")},
    ],
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(TutorialError, match=next(iter(settings))):
        Wiring("libero_object", **settings)
