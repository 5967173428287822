"""What a worker notes of a goal with several predicates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from vla_tutorial.sweep.worker import _Watch

SOUP = ("in", "alphabet_soup_1", "basket_1_contain_region")
SAUCE = ("in", "tomato_sauce_1", "basket_1_contain_region")


class Scripted:
    """A simulator whose predicates hold at the steps that are given."""

    def __init__(self, **steps: Any) -> None:
        self.asked = (SOUP, SAUCE)
        self.step = 0
        self._steps = steps

    def holds(self, predicate: tuple[str, ...]) -> bool:
        return self.step in self._steps[predicate[1]]


def watch(simulator: Any, steps: int) -> list[tuple[str, int]]:
    looking = _Watch(lambda _: None, simulator)
    for step in range(steps):
        simulator.step = step
        observation = SimpleNamespace(eef_pos=np.zeros(3))
        looking(SimpleNamespace(step=step, observation=observation))  # type: ignore[arg-type]
    return looking.stages


def test_the_first_time_counts_and_the_order_is_theirs() -> None:
    simulator = Scripted(alphabet_soup_1=range(7, 20), tomato_sauce_1=(3, 4, 9))
    assert watch(simulator, 15) == [(" ".join(SAUCE), 3), (" ".join(SOUP), 7)]


def test_what_never_holds_is_not_there() -> None:
    assert watch(Scripted(alphabet_soup_1=(2,), tomato_sauce_1=()), 9) == [(" ".join(SOUP), 2)]


def test_a_goal_of_one_predicate_has_no_stages() -> None:
    simulator = Scripted(alphabet_soup_1=range(9))
    simulator.asked = (SOUP,)
    assert watch(simulator, 5) == []
