"""How far episodes came on tasks whose goal has several predicates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vla_tutorial.episodes import Episode
from vla_tutorial.errors import TutorialError
from vla_tutorial.report import tables
from vla_tutorial.report.build import ConditionReport, FirstClose
from vla_tutorial.report.stages import StageCount, stage_counts

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
