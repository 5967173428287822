"""How far episodes came on tasks whose goal has several predicates, and in what order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vla_tutorial.episodes import Episode


@dataclass(frozen=True)
class StageCount:
    """Episodes of one task in which the same predicates came to hold, in the same order."""

    task: int  # number within the suite
    held: tuple[str, ...]  # predicates in the order in which they first held; () for none
    episodes: int
    successes: int  # a predicate may cease to hold again, so that all is not yet success


def stage_counts(episodes: Sequence[Episode]) -> tuple[StageCount, ...]:
    """The ways that episodes went, by task and then the most frequent first.

    Episodes without `stages` (one predicate, an error, or an older sweep) are left out.
    """
    known = [episode for episode in episodes if episode.stages is not None]
    ways = Counter((e.task, tuple(name for name, _ in e.stages or ())) for e in known)
    won = Counter((e.task, tuple(name for name, _ in e.stages or ())) for e in known if e.success)
    counts = [StageCount(*way, number, won[way]) for way, number in ways.items()]
    return tuple(sorted(counts, key=lambda count: (count.task, -count.episodes, count.held)))
