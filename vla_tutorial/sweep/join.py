"""Joins the shards of one sweep that ran apart into one folder where the sweep can resume.

Shards have tasks, initial states, conditions or targets of their own; all else must be the same.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_tutorial.episodes import EpisodeKey
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.sweep.config import check_sweep_folder, config_differences, config_text
from vla_tutorial.sweep.plan import SweepPlan, key_of
from vla_tutorial.sweep.shard import EpisodeLists, Shard, plan_of, read_shard

ORIGIN = ("command", "machine", "started", "joined")
"""What the joined `sweep.json` keeps of each shard's; "joined" where it was itself joined."""

Watch = Callable[[int, int], None]
"""Called with the number of records that have been copied, and of all."""


@dataclass(frozen=True)
class Joined:
    """What `join_shards` made: the episodes of all shards, and how many of them have ended.

    `notes` say what is to be known about the shards, for example that a line was cut off.
    """

    plan: SweepPlan
    ended: int
    notes: tuple[str, ...] = ()


def join_shards(
    folders: Sequence[Path], out: Path, command: str = "", watch: Watch = lambda done, total: None
) -> Joined:
    """Join sweeps' folders in `out`. All is checked before anything is written.

    Args:
        command: what `sweep.json` says made the folder.

    Raises:
        TutorialError: `out` holds something or cannot be written, a shard cannot be read
            (`shard.read_shard`), two have different settings, or two hold the same episode.
    """
    _check_folders(folders, out)
    # Locked until the records are copied, too: a sweep that resumed might replace some.
    with contextlib.ExitStack() as locks:
        shards = [locks.enter_context(read_shard(folder)) for folder in folders]
        for shard in shards[1:]:
            _check_same(shards[0], shard)
        plan = plan_of(shards[0].config, [shard.lists for shard in shards])
        owners = _owners(shards)
        sources = {key: owners[key] for key in map(key_of, plan.specs()) if key in owners}
        config = {
            **shards[0].config,
            **plan.lists(),
            "command": command,
            "joined": [_origin(shard) for shard in shards],
        }
        _write(out, config, sources, watch)
        notes = [note for shard in shards for note in shard.notes]
    return Joined(plan, len(sources), tuple(notes))


def _origin(shard: Shard) -> dict[str, Any]:
    return {key: shard.config[key] for key in ORIGIN if key in shard.config}


def _check_folders(folders: Sequence[Path], out: Path) -> None:
    seen = set()
    for folder in folders:
        place = folder.resolve()
        if place == out.resolve():
            raise TutorialError(
                f"{folder} is a shard and must not be the joined sweep's folder as well. "
                "Choose another one with --out."
            )
        if place in seen:
            raise TutorialError(f"{folder} is named twice. Name every shard once.")
        seen.add(place)
    if out.is_dir() and any(out.iterdir()):
        raise TutorialError(f"{out} is not empty. Choose a new folder with --out.")
    check_sweep_folder(out, {})


def _check_same(first: Shard, other: Shard) -> None:
    # Both ways round, since each comparison misses a key that its second shard lacks.
    for a, b in ((first, other), (other, first)):
        found = config_differences(_settings(a), _settings(b))
        if found:
            raise TutorialError(
                f"{b.folder} is no shard of the sweep in {a.folder}: {'; '.join(found)}. "
                "Join folders of the same settings."
            )


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
                raise TutorialError(
                    f"{owner.folder} and {shard.folder} both ran {key}, and an episode counts "
                    "once. Leave one of the folders out, or delete that line from one "
                    "episodes.jsonl."
                )
    return owners


def _write(
    out: Path, config: Mapping[str, Any], sources: Mapping[EpisodeKey, Shard], watch: Watch
) -> None:
    """Copy the records, then write the lines, then `sweep.json`, which makes the folder a sweep.

    If that fails, nothing stays.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _copy_records(out, sources, watch)
        lines = b"".join(shard.lines[key] for key, shard in sources.items())
        write_atomically(out / "episodes.jsonl", lines.decode("utf-8"))
        write_atomically(out / "sweep.json", config_text(config))
    except BaseException as e:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(exist_ok=True)
        if isinstance(e, OSError):
            raise TutorialError(
                f"{out} could not be written: {e}. Nothing of it was kept. Fix that and join again."
            ) from e
        raise


def _copy_records(out: Path, sources: Mapping[EpisodeKey, Shard], watch: Watch) -> None:
    records = [(shard.folder / key.folder, key.folder) for key, shard in sources.items()]
    present = [(source, name) for source, name in records if source.is_dir()]
    for done, (source, name) in enumerate(present, 1):
        shutil.copytree(source, out / name)
        watch(done, len(present))
