"""Why episodes of a sweep ended in errors, counted by cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vla_tutorial.decoding import printable
from vla_tutorial.episodes import Episode


@dataclass(frozen=True)
class ErrorCause:
    """Episodes of one sweep that ended in an error for the same cause."""

    cause: str  # `Episode.cause`
    episodes: int
    conditions: tuple[str, ...]  # under which it came up, in the order of the episodes
    first: str  # the first of these episodes, in words


def error_causes(episodes: Sequence[Episode]) -> tuple[ErrorCause, ...]:
    """The causes of those that ended in an error, the most frequent one first."""
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        if episode.success is None:
            found.setdefault(printable(episode.cause), []).append(episode)
    # Python's sort keeps the order of equals, which is that of the sweep.
    common = sorted(found.items(), key=lambda item: -len(item[1]))
    return tuple(_cause(cause, own) for cause, own in common)


def _cause(cause: str, episodes: Sequence[Episode]) -> ErrorCause:
    conditions = dict.fromkeys(episode.condition for episode in episodes)
    return ErrorCause(
        cause,
        len(episodes),
        tuple(conditions),
        str(episodes[0].key),
    )
