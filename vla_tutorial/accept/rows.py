"""What is kept of an episode: its line of the sweep, and numbers from its log."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from vla_tutorial.actions import BIN_CENTERS, token_bins
from vla_tutorial.decoding import Count, Name, Seconds, is_file
from vla_tutorial.diagnose.compute import compute
from vla_tutorial.diagnose.reference import load_reference
from vla_tutorial.episodes import Episode, Sweep
from vla_tutorial.log import Log, read_log

NEAR_BINS = 16
"""A gripper's bin is at the threshold within so many bins, as in `benchmarks/chapter_claims.py`."""

LAST_STEPS = 50
"""Control steps at the end of an episode in which an arm that stalls hardly moves: 2.5 s."""

THRESHOLD = int(np.searchsorted(BIN_CENTERS, 0.5))
"""Bin of the gripper at which the command changes."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One episode. What a claim asks of its log is None where no log was kept.

    Attributes:
        stage: of `stages.STAGES`.
        success: None for an episode that broke.
        steps, first_close, closes, seconds, travel: as `Episode` has them.
        held: predicates of the goal that held at some time; None where it has only one.
        jaggedness, centred, saturated: as `diagnose.signatures.Signatures` has them.
        reached: whether the hand came as low as an object's top.
        changes: of the gripper's command.
        near: changes at which the bin before or after lies within `NEAR_BINS` of the threshold.
        end_path: metres that the hand moved in its last `LAST_STEPS` control steps.
    """

    stage: Name
    suite: Name
    condition: Name
    task: Count
    init: Count
    success: bool | None
    steps: Count | None = None
    first_close: Count | None = None
    closes: Count | None = None
    seconds: Seconds | None = None
    travel: float | None = None
    held: Count | None = None
    jaggedness: float | None = None
    centred: float | None = None
    saturated: float | None = None
    reached: bool | None = None
    changes: Count | None = None
    near: Count | None = None
    end_path: float | None = None


def rows_of(stage: str, sweep: Sweep) -> list[Row]:
    """The episodes of a finished round."""
    return [_row(stage, sweep, episode) for episode in sweep.episodes]


def _row(stage: str, sweep: Sweep, e: Episode) -> Row:
    row = Row(
        stage,
        e.suite,
        e.condition,
        e.task,
        e.init,
        e.success,
        steps=e.steps,
        first_close=e.first_close,
        closes=e.closes,
        seconds=e.seconds,
        travel=e.travel,
        held=None if e.stages is None else len(e.stages),
    )
    folder = sweep.folder / e.folder if e.folder else None
    if e.success is None or folder is None or not is_file(folder / "steps.jsonl"):
        return row
    return _with_log(row, folder)


def _with_log(row: Row, folder: Path) -> Row:
    log = read_log(folder)
    # None of the signatures below depends on the reference.
    found = compute(log, load_reference())
    changes = np.flatnonzero(np.diff(log.closing))
    last = np.diff(log.eef_pos[-LAST_STEPS:], axis=0)
    return msgspec.structs.replace(
        row,
        jaggedness=round(found.jaggedness, 4),
        centred=round(found.centred, 4),
        saturated=round(found.saturated, 4),
        reached=found.progress.reached is not None,
        changes=len(changes),
        near=_near(log, changes),
        end_path=round(float(np.linalg.norm(last, axis=1).sum()), 4),
    )


def _near(log: Log, changes: np.ndarray) -> int:
    bins = token_bins(log.tokens)[:, 6]
    close = np.abs(bins - THRESHOLD) <= NEAR_BINS
    return int(np.count_nonzero(close[changes] | close[changes + 1]))
