"""Which task is practised next."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from vla_tutorial.training.schedule import LEAST_NEED, OVERDUE, RECENT, Schedule
from vla_tutorial.training.simulator_worker import Practised

TASKS = (("libero_goal", 0), ("libero_goal", 7), ("libero_10", 3), ("libero_10", 5))


def practised(scene: int, success: bool, free: bool = True, midway: bool = False) -> Practised:
    return Practised(
        scene=scene,
        instruction="turn on the stove",
        free=free,
        own=True,
        wide=False,
        midway=midway,
        success=success,
        steps=90,
        seconds=1.5,
        waiting=0.5,
    )


def schedule(*successes: int, tasks: int = 4) -> Schedule:
    """So many of the last `RECENT` episodes of each task were successes."""
    found = Schedule(TASKS[:tasks])
    for scene, count in enumerate(successes):
        for number in range(RECENT):
            found.note(practised(scene, number < count))
    return found


def test_tasks_that_fail_get_more_simulators() -> None:
    """In proportion to what they need: 0.15, 1, 0.15 and 0.5."""
    found = schedule(RECENT, 0, RECENT, RECENT // 2)
    got = Counter(found.next_scene(None) for _ in range(36))
    for scene, need in enumerate([LEAST_NEED, 1.0, LEAST_NEED, 0.5]):
        assert got[scene] == pytest.approx(36 * need / 1.8, abs=1)


def test_before_anything_is_known_they_are_divided_evenly() -> None:
    found = schedule()
    assert Counter(found.next_scene(None) for _ in range(8)) == {0: 2, 1: 2, 2: 2, 3: 2}


@pytest.mark.parametrize(("successes", "goes"), [(5, False), (4, True)])
def test_a_simulator_stays_unless_another_task_is_needier_by_half(
    successes: int, goes: bool
) -> None:
    """Its own needs 0.5; the other, which has as many simulators as its own without it, 0.69."""
    found = schedule(8, successes, tasks=2)
    assert found.next_scene(None) == 1
    assert found.next_scene(None) == 0
    assert found.next_scene(1) == 1
    found = schedule(8, successes, tasks=2)
    found._at_work[0] = 1
    assert found.next_scene(0) == int(goes)


def test_where_it_is_counts_for_a_simulator_itself() -> None:
    """It would not leave a task and come back at once."""
    found = schedule(8, 8, tasks=2)
    places = [found.next_scene(None) for _ in range(5)]
    for _ in range(50):
        places = [found.next_scene(place) for place in places]
    assert sorted(Counter(places).values()) == [2, 3]


def test_a_mastered_task_is_practised_now_and_then_whatever_fails() -> None:
    """Twenty others fail, and 40 simulators never leave them for what it needs."""
    tasks = [("libero_goal", k) for k in range(10)] + [("libero_10", k) for k in range(10)]
    found = Schedule([*tasks, ("libero_object", 0)])
    for scene in range(21):
        for _ in range(RECENT):
            found.note(practised(scene, scene == 20))
    places = [found.next_scene(None) for _ in range(40)]
    seen = []
    rng = random.Random(0)
    for _ in range(10 * OVERDUE * 21):
        worker = rng.randrange(40)
        places[worker] = found.next_scene(places[worker])
        seen.append(places[worker])
    assert 5 <= seen.count(20) <= 40


def test_a_simulator_that_died_counts_no_more() -> None:
    found = schedule(tasks=2)
    assert [found.next_scene(None) for _ in range(2)] == [0, 1]
    found.leave(0)
    found.leave(None)
    assert found._at_work == [0, 1]
    assert found.next_scene(None) == 0


def test_a_task_without_layouts_is_given_up() -> None:
    found = schedule(RECENT, RECENT, tasks=3)
    assert found.next_scene(None) == 2
    assert found.give_up(2)
    assert not found.give_up(2)
    places = [found.next_scene(2)] + [found.next_scene(None) for _ in range(20)]
    assert set(places) == {0, 1}
    assert not found.hopeless
    assert found.give_up(0) and found.give_up(1) and found.hopeless


def test_counts_stay_right() -> None:
    rng = random.Random(0)
    found = schedule()
    places = [found.next_scene(None) for _ in range(40)]
    moves = 0
    for _ in range(2000):
        worker = rng.randrange(40)
        before = places[worker]
        found.note(practised(before, rng.random() < before / 3))
        places[worker] = found.next_scene(before)
        moves += places[worker] != before
        assert found._at_work == [places.count(scene) for scene in range(4)]
    assert 10 < moves < 200
    assert places.count(0) > places.count(3) > 0


def test_only_the_policys_own_last_episodes_tell_how_it_does() -> None:
    found = schedule(tasks=3)
    assert math.isnan(found.success_of(1))
    found.note(practised(1, success=True, free=False))
    assert math.isnan(found.success_of(1))
    for _ in range(100):
        found.note(practised(1, success=False))
    for _ in range(RECENT // 2):
        found.note(practised(1, success=True))
    assert found.success_of(1) == 0.5
    assert [episode.scene for episode in found.recent()] == [1] * RECENT
    found.note(practised(0, success=True))
    assert [episode.scene for episode in found.recent()] == [0] + [1] * RECENT
    # Starts in the middle of a task are easier.
    found.note(practised(0, success=False, midway=True))
    assert (found.success_of(0), found.success_of(0, midway=True)) == (1.0, 0.0)
    assert found.recent()[-1].midway
    assert found.success(midway=True)["libero_goal"] == 0.0
    means = found.success()
    assert list(means) == ["libero_goal", "libero_10"]
    assert means["libero_goal"] == 0.75
    assert math.isnan(means["libero_10"])
