"""Joins the shares of one sweep that ran apart, each with tasks, inits or conditions of its own, into one folder where the sweep can go on."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.sweep.journal import check, differences
from vla_tutorial.sweep.plan import Job, Sweep
from vla_tutorial.sweep.shard import PLAN, Shard, plan_of, reading

ORIGIN = ("command", "machine", "started", "joined")
"""What the joined `sweep.json` keeps of each share's; "joined" where a share was itself joined."""

Watch = Callable[[int, int], None]
"""Called with the number of records that have been copied, and of all."""


def join(
    folders: Sequence[Path], out: Path, command: str = "", watch: Watch = lambda done, total: None
) -> tuple[Sweep, int]:
    """Join sweeps' folders in `out` → (the plan of all, how many episodes have ended). All is checked before anything is written.

    Args:
        command: what `sweep.json` says made the folder.

    Raises:
        TutorialError: `out` holds something or cannot be written, a share cannot be read (`share.reading` says when), two are of different
            settings, or two hold the same episode.
    """
    _check_places(folders, out)
    with (
        contextlib.ExitStack() as locks
    ):  # until the records are copied, too: a sweep that went on might replace some
        shares = [locks.enter_context(reading(folder)) for folder in folders]
        for share in shares[1:]:
            _check_same(shares[0], share)
        plan, owners = plan_of([share.config for share in shares]), _owners(shares)
        jobs = {job: owners[job] for job in plan.jobs() if job in owners}
        joined = [
            {key: share.config[key] for key in ORIGIN if key in share.config} for share in shares
        ]
        parts = {key: list(getattr(plan, key)) for key in PLAN}
        _write(
            out, {**shares[0].config, **parts, "command": command, "joined": joined}, jobs, watch
        )
    return plan, len(jobs)


def _check_places(folders: Sequence[Path], out: Path) -> None:
    places = [folder.resolve() for folder in folders]
    for k, (folder, place) in enumerate(zip(folders, places, strict=True)):
        if place == out.resolve():
            raise TutorialError(
                f"{folder} is a share and cannot be the joined sweep's folder as well. Choose another one with --out."
            )
        if place in places[:k]:
            raise TutorialError(f"{folder} is named twice. Name every share once.")
    if out.is_dir() and any(out.iterdir()):
        raise TutorialError(f"{out} is not empty. Choose a new folder with --out.")
    check(out, {})  # whether it may be written to


def _check_same(first: Shard, other: Shard) -> None:
    old, new = (
        {key: value for key, value in share.config.items() if key not in (*PLAN, "joined")}
        for share in (first, other)
    )
    for a, b, found in (
        (first, other, differences(old, new)),
        (other, first, differences(new, old)),
    ):  # each misses a key that `b` lacks
        if found:
            raise TutorialError(
                f"{b.folder} is no share of the sweep in {a.folder}: {'; '.join(found)}. Join what ran alike."
            )


def _owners(shares: Sequence[Shard]) -> dict[Job, Shard]:
    """Which share each episode is of: the first, where the same line was copied into several."""
    owners = dict[Job, Shard]()
    for share in shares:
        for job, line in share.lines.items():
            owner = owners.setdefault(job, share)
            if owner.lines[job] != line:
                raise TutorialError(
                    f"{owner.folder} and {share.folder} both ran {job.condition}, task {job.task}, init {job.init}, and an episode counts "
                    "once. Leave one of the folders out, or delete that line from one episodes.jsonl."
                )
    return owners


def _write(out: Path, config: Mapping[str, Any], jobs: Mapping[Job, Shard], watch: Watch) -> None:
    """Copy the records, then write the lines, then `sweep.json`, which makes the folder a sweep; if that fails, nothing stays."""
    records = [
        (share.folder, job.folder)
        for job, share in jobs.items()
        if (share.folder / job.folder).is_dir()
    ]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for done, (folder, name) in enumerate(records, 1):
            shutil.copytree(folder / name, out / name)
            watch(done, len(records))
        write_atomically(
            out / "episodes.jsonl",
            b"".join(share.lines[job] for job, share in jobs.items()).decode("utf-8"),
        )
        write_atomically(
            out / "sweep.json", json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        )
    except BaseException as e:
        for path in out.iterdir() if out.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if isinstance(e, OSError):
            raise TutorialError(
                f"{out} could not be written: {e}. Nothing of it was kept. Mend that and join again."
            ) from e
        raise
