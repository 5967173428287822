"""One share of a sweep that ran apart: its folder read whole and checked, while no sweep writes to it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_tutorial.episodes import is_whole, parse_episode, read_config
from vla_tutorial.errors import TutorialError
from vla_tutorial.sweep.plan import Job, Sweep

PLAN = {"tasks": int, "inits": int, "conditions": str}
"""Keys of `sweep.json` that shares may differ in, each a list of this; the joined sweep has the values of all."""


@dataclass(frozen=True)
class Shard:
    """One folder.

    Attributes:
        config: its `sweep.json`.
        lines: those of its `episodes.jsonl`, as they stand there.
    """

    folder: Path
    config: Mapping[str, Any]
    lines: Mapping[Job, bytes]


def plan_of(configs: Sequence[Mapping[str, Any]]) -> Sweep:
    """The episodes that any of them plans; what else a `Sweep` says is left at its default."""
    tasks, inits, conditions = (
        tuple(value for config in configs for value in config[key]) for key in PLAN
    )
    return Sweep(configs[0]["suite"], tasks, inits, conditions)


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[Shard]:
    """A share that stays as it is until the end of the block.

    Raises:
        TutorialError: the folder is no sweep's, a sweep writes to it, or a line is damaged, is there twice, or is of an episode not planned.
    """
    config, path = read_config(folder), folder / "episodes.jsonl"
    for key, kind in PLAN.items():
        if not isinstance(found := config.get(key), list) or not all(
            isinstance(value, kind) for value in found
        ):
            raise TutorialError(
                f"{folder / 'sweep.json'} has no list of {key}. Copy the share's folder again."
            )
    if not path.is_file():
        raise TutorialError(f"{folder} holds no episodes.jsonl. Copy the share's folder again.")
    with path.open("rb") as file:
        try:  # a shared lock: on a network's disk an exclusive one needs the right to write
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise TutorialError(
                f"A sweep is still writing to {folder}. Wait for its end, then give the same command again."
            ) from e
        yield Shard(folder, config, _lines(file.readlines(), path, config))


def _lines(texts: Sequence[bytes], path: Path, config: Mapping[str, Any]) -> dict[Job, bytes]:
    planned, found = set(plan_of([config]).jobs()), dict[Job, bytes]()
    for number, text in enumerate(texts, 1):
        where = f"{path}, line {number}"
        if number == len(texts) and not is_whole(text):
            raise TutorialError(
                f"{where} is cut off. Run that share's command again: it mends the file and runs that episode again."
            )
        episode = parse_episode(text, config["suite"], path, number)
        job = Job(episode.condition, episode.task, episode.init)
        if job in found:
            raise TutorialError(
                f"{where} tells of {job.folder} a second time. Delete one of the two lines."
            )
        if job not in planned:
            raise TutorialError(
                f"{where} tells of {job.folder}, which sweep.json does not plan: a file was edited. Copy both again."
            )
        found[job] = text
    return found
