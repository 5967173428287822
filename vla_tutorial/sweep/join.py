"""Joins the shards of one sweep that ran apart into one folder where the sweep can resume.

Shards have tasks, initial states, conditions or targets of their own; all else must be the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.episodes import EpisodeKey, EpisodesFile, read_config, read_episodes
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import check_writable, write_atomically
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.journal import config_differences, lock_episodes, write_config
from vla_tutorial.sweep.plan import SweepPlan, Targets, key_of

ORIGIN = ("command", "machine", "started", "joined")
"""What the joined `sweep.json` keeps of each shard's; "joined" where it was itself joined."""

Watch = Callable[[int, int], None]
"""Called with the number of records that have been copied, and of all."""


class EpisodeLists(msgspec.Struct):
    """The keys of `sweep.json` that shards may differ in. The joined sweep has all values."""

    tasks: list[int]
    inits: list[int]
    conditions: list[str]
    targets: Targets = {}


@dataclass(frozen=True)
class Shard:
    """One folder."""

    folder: Path
    config: Mapping[str, Any]  # its `sweep.json`
    lists: EpisodeLists
    lines: Mapping[EpisodeKey, bytes]  # of its `episodes.jsonl`, as they stand there
    notes: tuple[str, ...]  # what is to be known about them


@dataclass(frozen=True)
class Joined:
    """What `join_shards` made."""

    plan: SweepPlan  # the episodes of all shards
    ended: int  # how many of them have ended
    notes: tuple[str, ...]  # about the shards, for example that a line was cut off


def join_shards(
    folders: Sequence[Path], out: Path, command: str = "", watch: Watch = lambda done, total: None
) -> Joined:
    """Join sweeps' folders in `out`. All is checked before anything is written.

    Args:
        command: what `sweep.json` says made the folder.

    Raises:
        TutorialError: `out` holds something or cannot be written, a shard is no sweep's folder, is
            damaged or still written to, two have different settings, or two the same episode.
    """
    _check_folders(folders, out)
    # Locked until the records are copied, too: a sweep that resumed might replace some.
    with contextlib.ExitStack() as locks:
        shards = [locks.enter_context(_read_shard(folder)) for folder in folders]
        for shard in shards[1:]:
            _check_same(shards[0], shard)
        plan = _plan_of(shards[0].config, [shard.lists for shard in shards])
        owners = _owners(shards)
        sources = {key: owners[key] for key in map(key_of, plan.specs()) if key in owners}
        origins = [_origin(shard) for shard in shards]
        config = {**shards[0].config, **plan.lists(), "command": command, "joined": origins}
        _write(out, config, sources, watch)
    notes = chain.from_iterable(shard.notes for shard in shards)
    return Joined(plan, len(sources), tuple(notes))


def _check_folders(folders: Sequence[Path], out: Path) -> None:
    seen = set()
    for folder in folders:
        if folder.resolve() == out.resolve():
            what = f"{folder} is a shard and must not be the joined sweep's folder as well."
            raise TutorialError(f"{what} Choose another one with --out.")
        if folder.resolve() in seen:
            raise TutorialError(f"{folder} is named twice. Name every shard once.")
        seen.add(folder.resolve())
    if out.is_dir() and any(out.iterdir()):
        raise TutorialError(f"{out} is not empty. Choose a new folder with --out.")
    check_writable(out)


@contextlib.contextmanager
def _read_shard(folder: Path) -> Iterator[Shard]:
    """A shard that stays as it is until the end of the block."""
    config = read_config(folder)
    again = "Copy the shard's folder again."
    try:
        lists = msgspec.convert(config, EpisodeLists, str_keys=True)
    except msgspec.ValidationError as e:
        raise TutorialError(f"{folder / 'sweep.json'}: {e}. {again}") from e
    path = folder / "episodes.jsonl"
    if not path.is_file():
        raise TutorialError(f"{folder} holds no episodes.jsonl. {again}")
    with path.open("rb") as file:
        # A shared lock: on a network's disk an exclusive one needs the right to write.
        lock_episodes(file.fileno(), folder, fcntl.LOCK_SH)
        found = read_episodes(path, config["suite"])
        lines = _planned_lines(found, _plan_of(config, [lists]))
        yield Shard(folder, config, lists, lines, found.notes(config))


def _planned_lines(file: EpisodesFile, plan: SweepPlan) -> dict[EpisodeKey, bytes]:
    planned = set(map(key_of, plan.specs()))
    for number, episode in enumerate(file.episodes, 1):
        if episode.key not in planned:
            what = f"{file.path}, line {number} is of {episode.key}, which sweep.json does not plan"
            raise TutorialError(f"{what}: a file was edited. Copy both again.")
    return {episode.key: line for episode, line in zip(file.episodes, file.lines, strict=True)}


def _plan_of(config: Mapping[str, Any], shards: Sequence[EpisodeLists]) -> SweepPlan:
    """The episodes that any shard plans, with suite and starts from the `sweep.json` of one."""
    targets: Targets = {}
    for lists in shards:
        for task, names in lists.targets.items():
            targets[task] = tuple(dict.fromkeys((*targets.get(task, ()), *names)))
    return SweepPlan(
        EpisodeSpec(config["suite"]),
        tuple(chain.from_iterable(lists.tasks for lists in shards)),
        tuple(chain.from_iterable(lists.inits for lists in shards)),
        tuple(chain.from_iterable(lists.conditions for lists in shards)),
        targets=targets,
        starts=config.get("starts", "saved"),
    )


def _origin(shard: Shard) -> dict[str, Any]:
    return {key: shard.config[key] for key in ORIGIN if key in shard.config}


def _check_same(first: Shard, other: Shard) -> None:
    # Both ways round, since each comparison misses a key that its second shard lacks.
    for a, b in ((first, other), (other, first)):
        found = config_differences(_settings(a), _settings(b))
        if found:
            what = f"{b.folder} is not a shard of the sweep in {a.folder}: {'; '.join(found)}."
            raise TutorialError(f"{what} Join folders of the same settings.")


def _settings(shard: Shard) -> dict[str, Any]:
    free = (*EpisodeLists.__struct_fields__, "joined")
    settings = {key: value for key, value in shard.config.items() if key not in free}
    return settings | {"targets": "other objects" if shard.lists.targets else "the tasks' own"}


def _owners(shards: Sequence[Shard]) -> dict[EpisodeKey, Shard]:
    """Which shard each episode is of: the first, where the same line was copied into several."""
    owners: dict[EpisodeKey, Shard] = {}
    for shard in shards:
        for key, line in shard.lines.items():
            owner = owners.setdefault(key, shard)
            if owner.lines[key] != line:
                what = f"{owner.folder} and {shard.folder} both ran {key}"
                remedy = "Leave a folder out, or delete that line from one episodes.jsonl."
                raise TutorialError(f"{what}, and an episode counts once. {remedy}")
    return owners


def _write(
    out: Path, config: Mapping[str, Any], sources: Mapping[EpisodeKey, Shard], watch: Watch
) -> None:
    """Copy the records, then write the lines, then `sweep.json`. If that fails, nothing stays."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        _copy_records(out, sources, watch)
        lines = b"".join(shard.lines[key] for key, shard in sources.items())
        write_atomically(out / "episodes.jsonl", lines.decode("utf-8"))
        write_config(out, config)
    except BaseException as e:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(exist_ok=True)
        if isinstance(e, OSError):
            remedy = "Nothing of it was kept. Fix that and join again."
            raise TutorialError(f"{out} could not be written: {e}. {remedy}") from e
        raise


def _copy_records(out: Path, sources: Mapping[EpisodeKey, Shard], watch: Watch) -> None:
    records = [(shard.folder / key.folder, key.folder) for key, shard in sources.items()]
    present = [(source, name) for source, name in records if source.is_dir()]
    for done, (source, name) in enumerate(present, 1):
        shutil.copytree(source, out / name)
        watch(done, len(present))
