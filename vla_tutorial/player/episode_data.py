"""What the player shows of one recorded episode: series, changed settings, and a caption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Floats
from vla_tutorial.conditions import CATALOGUE, changed_settings
from vla_tutorial.decoding import Count, Name, is_file, read_object
from vla_tutorial.episodes import Init
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import Log, read_log
from vla_tutorial.scene import Scene
from vla_tutorial.sim import base_suite
from vla_tutorial.spec import PUBLISHED_WIRING

CLIP_FORMAT = 1
"""Version of what the player reads."""

FIRST_BIN = actions.VOCABULARY - actions.N_BINS
"""Token of the highest action bin, 31744. `tokens` in the series counts from here."""

STILL_M = 0.12
"""An arm hardly moves if it stays within this of where it began (metres). A success needs 0.2."""

DIPS_M = 0.03
"""A hand comes down if it gets lower than its starting height by more than this (metres)."""

DESCRIBED = ("task", "init", "instruction", "conditions", "success", "steps", "first_close")
COPIED = ("suite", *DESCRIBED, "warnings", "policy", "versions")
"""Keys of `episode.json` that the player gets as they are."""


class PolicyName(msgspec.Struct):
    """What is read of a policy in a record; the rest is copied."""

    name: Name


class Record(msgspec.Struct):
    """What an `episode.json` must hold to be shown: `COPIED`, and `wiring`."""

    suite: Name
    task: Count
    init: Init
    instruction: str
    conditions: list[Name]
    success: bool | None
    steps: Count
    first_close: Count | None
    warnings: list[str]
    policy: PolicyName
    versions: dict[Name, Name]
    wiring: dict[str, Any]


def read_record(folder: Path) -> dict[str, Any]:
    """All that the `episode.json` of an episode's folder holds; what `Record` has is of its types.

    Raises:
        TutorialError: there is none, or it is damaged; then the error names the key and its value.
    """
    path = folder / "episode.json"
    if not is_file(path):
        raise TutorialError(
            f"{folder} holds no episode.json. "
            "Expected an episode folder as `vla-tutorial rollout` writes it."
        )
    return read_object(path, Record, "The file was cut or edited. Run the episode again.")


def episode_data(folder: Path) -> dict[str, Any]:
    """All that the player needs: `COPIED` and format · caption · changes · series.

    Raises:
        TutorialError: the folder holds no episode, or one without a single step, or one of its two
            files is damaged (`read_record`, `log.read_log`).
    """
    entry = read_record(folder)
    log = read_log(folder)
    return {
        "format": CLIP_FORMAT,
        **{key: entry[key] for key in COPIED},
        "caption": caption(log, entry["success"]),
        "changes": changes(entry),
        "series": series(log),
    }


def series(log: Log) -> dict[str, Any]:
    """Series over control steps, rounded to what a plot can show.

    Keys: gripper (command, −1 open, +1 close) · height (end-effector, cm above the floor) ·
    motion (length of the commanded translation, a share of full speed) · image_mean (0–255) ·
    tokens (hexadecimal, two digits a token and seven tokens a step, counted from `FIRST_BIN`).
    """
    tokens = np.clip(log.tokens - FIRST_BIN, 0, actions.N_BINS - 1)
    return {
        "gripper": _rounded(log.gripper, 2),
        "height": _rounded(100 * log.height, 1),
        "motion": _rounded(log.motion, 3),
        "image_mean": _rounded(log.image_mean, 1),
        "tokens": tokens.astype(np.uint8).tobytes().hex(),
    }


def _rounded(values: Floats, digits: int) -> list[float]:
    # Python's `round` is exact in decimals. NumPy's scales by a power of ten and may differ.
    return [round(float(value), digits) for value in values]


def changes(entry: Mapping[str, Any]) -> dict[str, list[Any]]:
    """How an episode differs from the published protocol: setting → [published, here].

    Args:
        entry: as in `episode.json`. Its suite, task, init, conditions and wiring are read.

    Returns:
        Plain values of JSON; what JSON lacks, such as a path, is text.
    """
    published = replace(PUBLISHED_WIRING, unnorm_key=base_suite(entry["suite"]))
    scene = Scene(entry["suite"], entry["task"], entry["init"])
    before = asdict(published)
    here = before | entry["wiring"]
    found = {setting: (value, here[setting]) for setting, value in before.items()}
    for name in entry["conditions"]:
        # An episode may be older than the catalogue and name a condition that is gone.
        if name in CATALOGUE:
            found |= changed_settings(CATALOGUE[name], published, scene)
    differing = {setting: pair for setting, pair in found.items() if pair[0] != pair[1]}
    # Through JSON, so that it equals what a clip's script holds: tuples become lists.
    plain: dict[str, list[Any]] = json.loads(json.dumps(differing, default=str))
    return plain


def caption(log: Log, success: bool | None) -> str:
    """What is seen, in three sentences: the hand, the gripper, the end.

    Args:
        success: how it ended; None says that it was stopped.
    """
    return f"{_hand(log)} {_gripper(log)} {_end(len(log), success)}"


def _hand(log: Log) -> str:
    path = log.eef_pos
    farthest = np.linalg.norm(path - path[0], axis=1).max()
    if farthest < STILL_M:
        return (
            f"The arm hardly moves: the hand gets no more than {100 * farthest:.0f} cm "
            "from where it began."
        )
    travelled = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    lowest = log.height.min()
    came_down = lowest < log.height[0] - DIPS_M
    ending = "comes down to" if came_down else "never gets lower than"
    return f"The hand travels {100 * travelled:.0f} cm and {ending} {100 * lowest:.0f} cm."


def _gripper(log: Log) -> str:
    if log.first_close is None:
        return "The gripper never closes."
    if log.closing.all():
        return "The gripper is told to close at every step."
    when = "is told to close from the start"
    if log.first_close > 0:
        height = 100 * log.height[log.first_close]
        when = f"first closes at step {log.first_close}, {height:.0f} cm up"
    often = f", and closes {log.closes} times in all" if log.closes > 1 else ""
    return f"The gripper {when}{often}."


def _end(steps: int, success: bool | None) -> str:
    if success is None:
        return f"The episode was stopped after {steps} steps."
    if success:
        return f"The task is done after {steps} steps."
    return f"No success within {steps} steps."
