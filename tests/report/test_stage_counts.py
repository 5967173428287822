"""How far episodes came on tasks whose goal has several predicates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vla_tutorial.episodes import Episode
from vla_tutorial.errors import TutorialError
from vla_tutorial.report import tables
from vla_tutorial.report.build import ConditionReport, FirstClose
from vla_tutorial.report.stages import StageCount, goal_sizes, stage_counts, stage_credit

SOUP = "in alphabet_soup_1 basket_1_contain_region"
SAUCE = "in tomato_sauce_1 basket_1_contain_region"


def episode(init: int, *stages: tuple[str, int], task: int = 0) -> Episode:
    done = len(stages) == 2
    outcome = "success" if done else "failure"
    return Episode("libero_10", task, init, "published", done, outcome, stages=stages)


def test_ways_are_counted_by_task_and_order() -> None:
    episodes = [
        episode(0, (SOUP, 100), (SAUCE, 200)),
        episode(1, (SAUCE, 90), (SOUP, 210)),
        episode(2, (SOUP, 120)),
        episode(3, (SOUP, 130)),
        episode(4),
        episode(5, (SOUP, 10), task=7),
        replace(episode(6), stages=None),
        replace(episode(7), success=None, outcome="error", stages=None),
    ]
    assert stage_counts(episodes) == (
        StageCount(0, (SOUP,), 2, 0),
        StageCount(0, (), 1, 0),
        StageCount(0, (SOUP, SAUCE), 1, 1),
        StageCount(0, (SAUCE, SOUP), 1, 1),
        StageCount(7, (SOUP,), 1, 0),
    )


def test_a_predicate_that_ceased_to_hold_is_no_success() -> None:
    lost = replace(episode(0, (SOUP, 1), (SAUCE, 2)), success=False, outcome="failure")
    assert stage_counts([lost]) == (StageCount(0, (SOUP, SAUCE), 1, 0),)


def test_stages_survive_the_file() -> None:
    there = episode(3, (SOUP, 100))
    assert Episode.from_line(there.to_line().encode(), "here") == there
    assert "stages" not in replace(there, stages=None).to_line()
    bad = there.to_line().replace("100", "-1")
    with pytest.raises(TutorialError, match="stages"):
        Episode.from_line(bad.encode(), "here")


def test_the_table_says_none_and_the_order() -> None:
    never = FirstClose(None, 0)
    counts = stage_counts([episode(0, (SOUP, 1), (SAUCE, 2)), episode(1)])
    condition = ConditionReport("all", "published", 0, None, None, (), never, never, None, counts)
    rows = tables.stage_table(condition).rows
    assert rows[0] == ("0", "none", "1", "0")
    way = "in alphabet_soup_1 → in tomato_sauce_1"
    assert rows[1] == ("0", way, "1", "1")


def test_credit_beside_success() -> None:
    """Task 0: 2 of 2, 1 of 2, 0 of 2 and 1 of 2; task 7: 1 of 2 from one episode."""
    episodes = [
        episode(0, (SOUP, 100), (SAUCE, 200)),
        episode(1, (SAUCE, 90)),
        episode(2),
        episode(3, (SOUP, 130)),
        episode(4, (SOUP, 10), task=7),
    ]
    counts = stage_counts(episodes)
    found = stage_credit(counts, {0: 2, 7: 2})
    assert found is not None
    assert [task.held for task in found.tasks] == [(1, 2, 1), (0, 1, 0)]
    assert [task.successes for task in found.tasks] == [1, 0]
    assert [task.credit for task in found.tasks] == [0.5, 0.5]
    assert found.mean == 0.5
    assert found.interval is None, "two tasks are too few"
    wide = [replace(e, task=task) for task in range(6) for e in episodes[:4]]
    over = stage_credit(stage_counts(wide), dict.fromkeys(range(6), 2))
    assert over is not None and over.interval is not None
    assert over.interval.low < 0.5 < over.interval.high


def test_a_goal_s_size_is_a_success_s_or_libero_s() -> None:
    """libero_10's task 2 turns the stove on and puts the moka pot on it."""
    won = stage_counts([episode(0, (SOUP, 1), (SAUCE, 2), task=1)])
    assert goal_sizes(won, "no_such_suite") == {1: 2}
    lost = stage_counts([episode(0, (SOUP, 1), task=2)])
    assert goal_sizes(lost, "libero_10") == {2: 2}
    assert goal_sizes(lost, "no_such_suite") == {}
    assert stage_credit(lost, {}) is None


def test_the_table_of_credit() -> None:
    never = FirstClose(None, 0)
    counts = stage_counts([episode(0, (SOUP, 1), (SAUCE, 2)), episode(1), episode(2, (SOUP, 5))])
    credit = stage_credit(counts, {0: 2})
    condition = ConditionReport(
        "all", "published", 0, None, None, (), never, never, None, counts, credit
    )
    table = tables.credit_table(condition)
    assert table.columns[3:6] == ("held 0", "held 1", "held 2")
    assert table.rows[0] == ("0", "3", "1", "1", "1", "1", "50.0", "–")
    assert table.rows[1] == ("mean", "–", "–", "–", "–", "–", "50.0", "–")
    with pytest.raises(ValueError, match="no stages"):
        tables.credit_table(replace(condition, credit=None))
