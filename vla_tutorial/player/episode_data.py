"""What the player shows of one recorded episode: its series, what changed, and one caption made from what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial import actions
from vla_tutorial.conditions import CATALOGUE, changed_settings
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import Log, read_log
from vla_tutorial.scene import Scene
from vla_tutorial.sim import base_suite
from vla_tutorial.wiring import Wiring

FORMAT = 1
"""Version of what the player reads."""

FIRST_BIN = actions.VOCABULARY - 256
"""Token of the lowest action bin, 31744; `tokens` in the series counts from here."""

STILL_M = 0.12
"""An arm that stays within this of where it began (metres) is said to hardly move; a successful episode goes 20 cm and more."""

DIPS_M = 0.03
"""Less than this below the starting height (metres) is not said to be coming down."""


def episode_data(folder: Path) -> dict[str, Any]:
    """Everything of a recorded episode that the player needs, as JSON.

    Keys: format · suite · task · init · instruction · conditions · success · steps · first_close · caption · changes (setting → [published,
    here]) · warnings · policy · versions · series (see `series`).

    Raises:
        TutorialError: the folder holds no episode, or one without a single step.
    """
    path = folder / "episode.json"
    if not path.is_file():
        raise TutorialError(
            f"{folder} holds no episode.json; expected an episode folder as `vla-tutorial rollout` writes it."
        )
    entry = json.loads(path.read_text(encoding="utf-8"))
    log = read_log(folder)
    kept = (
        "suite",
        "task",
        "init",
        "instruction",
        "conditions",
        "success",
        "steps",
        "first_close",
        "warnings",
        "policy",
        "versions",
    )
    return {
        "format": FORMAT,
        **{key: entry[key] for key in kept},
        "caption": caption(log, entry["success"]),
        "changes": changes(entry),
        "series": series(log),
    }


def series(log: Log) -> dict[str, Any]:
    """Series over control steps, rounded to what a plot can show.

    Keys: gripper (command, −1 open, +1 close) · height (end-effector, cm above the floor) · motion (length of the commanded translation, a
    share of full speed) · image_mean (0–255) · tokens (hexadecimal, two digits a token and seven tokens a step, counted from 31744).
    """
    tokens = np.clip(log.tokens - FIRST_BIN, 0, 255)
    return {
        "gripper": [round(float(command), 2) for command in log.gripper],
        "height": [round(100 * float(height), 1) for height in log.height],
        "motion": [round(float(length), 3) for length in log.motion],
        "image_mean": [round(float(mean), 1) for mean in log.image_mean],
        "tokens": tokens.astype(np.uint8).tobytes().hex(),
    }


def changes(entry: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What differs from the published protocol in the episode that `episode.json` describes: setting → [published, here]."""
    suite = str(entry["suite"])
    published = Wiring(unnorm_key=base_suite(suite))
    scene = Scene(suite, entry["task"], entry["init"])
    found = {
        key: (value, entry["wiring"].get(key, value)) for key, value in asdict(published).items()
    }
    for name in entry["conditions"]:
        if name in CATALOGUE:  # an episode may be older than a change of the catalogue
            found |= changed_settings(CATALOGUE[name], published, scene)
    plain: dict[str, list[Any]] = json.loads(
        json.dumps({k: list(pair) for k, pair in found.items() if pair[0] != pair[1]}, default=str)
    )
    return plain


def caption(log: Log, success: bool | None) -> str:
    """What is seen, in three sentences: the hand, the gripper, the end."""
    return f"{_hand(log)} {_gripper(log)} {_end(len(log), success)}"


def _hand(log: Log) -> str:
    path = log.eef_pos
    farthest = float(np.linalg.norm(path - path[0], axis=1).max())
    if farthest < STILL_M:
        return (
            f"The arm hardly moves: the hand gets no more than {100 * farthest:.0f} cm "
            "from where it began."
        )
    travelled = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    lowest = float(log.height.min())
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
    return (
        f"The task is done after {steps} steps." if success else f"No success within {steps} steps."
    )
