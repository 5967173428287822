"""`steps.jsonl` as arrays, after every line has been checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError
from vla_tutorial.record import read_steps

Array = NDArray[np.float64]

FIELDS = {"step": 0, "reward": 0, "img_mean": 0, "img_quarters": 4, "action": 7, "tokens": 7, "eef_pos": 3, "gripper_qpos": 2}
"""What a line must hold: key → how many numbers (0: one number that is no list)."""

SINCE_FORMAT_2 = {"img_channels": 3, "img_sharpness": 0}
"""What folders of format 1 lack; without it the order of colours, the crop and the JPEG round trip cannot be told."""


@dataclass(frozen=True)
class Log:
    """One episode's steps as columns; T control steps, all float64 but the tokens. `record.line` says what each is.

    Attributes:
        reward: (T,) after the action.
        quarters: (T, 4) grey levels: top left, top right, bottom left, bottom right.
        channels: (T, 3) grey levels of red, green, blue; None for a folder of format 1.
        sharpness: (T,) grey levels; None for a folder of format 1.
        actions: (T, 7) as LIBERO got them.
        tokens: (T, 7) int64.
        eef_pos: (T, 3) metres, before the action.
        fingers: (T,) millimetres between the fingers, before the action.
    """

    reward: Array
    quarters: Array
    channels: Array | None
    sharpness: Array | None
    actions: Array
    tokens: NDArray[np.int64]
    eef_pos: Array
    fingers: Array

    def __len__(self) -> int:
        return len(self.reward)


def read_log(folder: Path) -> Log:
    """The log of the episode in `folder`. Nothing but `steps.jsonl` is read.

    Raises:
        TutorialError: there is none, it is empty, or a line is cut, edited or lacks a field; the line is named.
    """
    return parse(read_steps(folder), str(folder / "steps.jsonl"))


def parse(lines: Sequence[Mapping[str, Any]], where: str = "the log") -> Log:
    """Lines of a `steps.jsonl` → columns. `where`: named in errors, which are those of `read_log`."""
    if not lines:
        raise TutorialError(f"{where} holds no step: the episode was stopped before its first action. Run it again.")
    wanted = dict(FIELDS)
    if isinstance(lines[0], Mapping):
        wanted |= {key: n for key, n in SINCE_FORMAT_2.items() if key in lines[0]}
    columns = {key: _column(lines, key, n, where) for key, n in wanted.items()}
    if wrong := np.flatnonzero(columns["step"] != np.arange(len(lines))).tolist():
        k = wrong[0]
        raise TutorialError(
            f"{where}, line {k + 1} is step {columns['step'][k]:g}, expected {k}: lines were removed or moved. Run the episode again."
        )
    qpos = columns["gripper_qpos"]
    return Log(
        reward=columns["reward"],
        quarters=columns["img_quarters"],
        channels=columns.get("img_channels"),
        sharpness=columns.get("img_sharpness"),
        actions=columns["action"],
        tokens=columns["tokens"].astype(np.int64),
        eef_pos=columns["eef_pos"],
        fingers=1000 * (qpos[:, 0] - qpos[:, 1]),
    )


def _column(lines: Sequence[Mapping[str, Any]], key: str, numbers: int, where: str) -> Array:
    try:
        column = np.array([entry[key] for entry in lines], np.float64)
    except (KeyError, TypeError, ValueError):
        column = np.zeros(0)
    if column.shape == (len(lines), *([numbers] if numbers else [])) and np.isfinite(column).all():
        return column
    return np.array([_value(entry, key, numbers, f"{where}, line {k}") for k, entry in enumerate(lines, 1)])  # some line is wrong: which?


def _value(entry: Mapping[str, Any], key: str, numbers: int, where: str) -> Array:
    if not isinstance(entry, Mapping):
        raise TutorialError(f"{where} is {type(entry).__name__}, expected an object with {', '.join(FIELDS)}.")
    if missing := [name for name in dict.fromkeys((*FIELDS, key)) if name not in entry]:
        raise TutorialError(
            f"{where} lacks {', '.join(missing)}. A log with less than `vla-tutorial rollout` records cannot be diagnosed; run the episode again."
        )
    try:
        value = np.array(entry[key], np.float64)
    except (TypeError, ValueError):
        value = np.full(1, np.nan)
    if value.shape != ((numbers,) if numbers else ()) or not np.isfinite(value).all():
        expected = f"{numbers} finite numbers" if numbers else "one finite number"
        raise TutorialError(f"{where}: {key} is {entry[key]!r}, expected {expected}. The file was edited; run the episode again.")
    return value
