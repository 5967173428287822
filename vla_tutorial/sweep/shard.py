"""One shard of a sweep that ran apart: its folder, read and checked while no sweep writes to it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.episodes import EpisodeKey, EpisodesFile, read_config, read_episodes
from vla_tutorial.errors import TutorialError
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.plan import SweepPlan, key_of


class EpisodeLists(msgspec.Struct):
    """The keys of `sweep.json` that shards may differ in.

    The joined sweep has the values of all; `targets` are by task.
    """

    tasks: list[int]
    inits: list[int]
    conditions: list[str]
    targets: dict[int, list[str]] = {}


@dataclass(frozen=True)
class Shard:
    """One folder.

    Attributes:
        config: its `sweep.json`.
        lines: of its `episodes.jsonl`, as they stand there.
        notes: what is to be known about them.
    """

    folder: Path
    config: Mapping[str, Any]
    lists: EpisodeLists
    lines: Mapping[EpisodeKey, bytes]
    notes: tuple[str, ...]


def plan_of(config: Mapping[str, Any], shards: Sequence[EpisodeLists]) -> SweepPlan:
    """The episodes that any shard plans.

    Args:
        config: `sweep.json` of one of them, for suite and starts; what else it says is left out.
    """
    joined = EpisodeLists([], [], [], {})
    for lists in shards:
        joined.tasks += lists.tasks
        joined.inits += lists.inits
        joined.conditions += lists.conditions
        for task, names in lists.targets.items():
            joined.targets.setdefault(task, []).extend(names)
    return SweepPlan(
        EpisodeSpec(config["suite"]),
        tuple(joined.tasks),
        tuple(joined.inits),
        tuple(joined.conditions),
        targets={task: tuple(dict.fromkeys(names)) for task, names in joined.targets.items()},
        starts=config.get("starts", "saved"),
    )


@contextlib.contextmanager
def read_shard(folder: Path) -> Iterator[Shard]:
    """A shard that stays as it is until the end of the block.

    Raises:
        TutorialError: the folder is no sweep's, a sweep writes to it, a line is damaged
            (`episodes.read_episodes`), or an episode is not planned.
    """
    config = read_config(folder)
    try:
        lists = msgspec.convert(config, EpisodeLists, str_keys=True)
    except msgspec.ValidationError as e:
        raise TutorialError(f"{folder / 'sweep.json'}: {e}. Copy the shard's folder again.") from e
    path = folder / "episodes.jsonl"
    if not path.is_file():
        raise TutorialError(f"{folder} holds no episodes.jsonl. Copy the shard's folder again.")
    with path.open("rb") as file:
        try:
            # A shared lock: on a network's disk an exclusive one needs the right to write.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise TutorialError(
                f"A sweep is still writing to {folder}. "
                "Wait for its end, then give the same command again."
            ) from e
        found = read_episodes(path, config["suite"])
        lines = _planned_lines(found, plan_of(config, [lists]))
        yield Shard(folder, config, lists, lines, found.notes(config))


def _planned_lines(file: EpisodesFile, plan: SweepPlan) -> dict[EpisodeKey, bytes]:
    planned = set(map(key_of, plan.specs()))
    found: dict[EpisodeKey, bytes] = {}
    for episode, line in zip(file.episodes, file.lines, strict=True):
        if episode.key not in planned:
            raise TutorialError(
                f"{file.path}, line {len(found) + 1} is of {episode.key}, which sweep.json does "
                "not plan: a file was edited. Copy both again."
            )
        found[episode.key] = line
    return found
