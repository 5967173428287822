"""What the player shows of one recorded episode: its series, what changed, and one caption made from what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial import actions, plots
from vla_tutorial.conditions import CATALOGUE, changed_settings
from vla_tutorial.errors import TutorialError
from vla_tutorial.record import read_steps
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
        raise TutorialError(f"{folder} holds no episode.json; expected an episode folder as `vla-tutorial rollout` writes it.")
    entry, lines = json.loads(path.read_text(encoding="utf-8")), read_steps(folder)
    if not lines:
        raise TutorialError(f"The episode in {folder} was stopped before its first step; run it again.")
    kept = ("suite", "task", "init", "instruction", "conditions", "success", "steps", "first_close", "warnings", "policy", "versions")
    return {
        "format": FORMAT,
        **{key: entry[key] for key in kept},
        "caption": caption(lines, entry["success"]),
        "changes": changes(entry),
        "series": series(lines),
    }


def series(lines: plots.Lines) -> dict[str, Any]:
    """Series over control steps, rounded to what a plot can show.

    Keys: gripper (command, −1 open, +1 close) · height (end-effector, cm above the floor) · motion (length of the commanded translation, a
    share of full speed) · image_mean (0–255) · tokens (hexadecimal, two digits a token and seven tokens a step, counted from 31744).
    """
    tokens = np.array([entry["tokens"] for entry in lines]) - FIRST_BIN
    return {
        "gripper": [round(entry["action"][6], 2) for entry in lines],
        "height": [round(100 * entry["eef_pos"][2], 1) for entry in lines],
        "motion": [round(float(m), 3) for m in plots.motion(lines)],
        "image_mean": [round(entry["img_mean"], 1) for entry in lines],
        "tokens": np.clip(tokens, 0, 255).astype(np.uint8).tobytes().hex(),
    }


def changes(entry: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What differs from the published protocol in the episode that `episode.json` describes: setting → [published, here]."""
    suite = str(entry["suite"])
    published = Wiring(unnorm_key=base_suite(suite))
    scene = Scene(suite, entry["task"], entry["init"])
    found = {key: (value, entry["wiring"].get(key, value)) for key, value in asdict(published).items()}
    for name in entry["conditions"]:
        if name in CATALOGUE:  # an episode may be older than a change of the catalogue
            found |= changed_settings(CATALOGUE[name], published, scene)
    plain: dict[str, list[Any]] = json.loads(json.dumps({k: list(pair) for k, pair in found.items() if pair[0] != pair[1]}, default=str))
    return plain


def caption(lines: Sequence[Mapping[str, Any]], success: bool | None) -> str:
    """What is seen, in three sentences: the hand, the gripper, the end."""
    return " ".join((_hand(lines), _gripper(lines), _end(lines, success)))


def _hand(lines: Sequence[Mapping[str, Any]]) -> str:
    path = np.array([entry["eef_pos"] for entry in lines])
    farthest = float(np.linalg.norm(path - path[0], axis=1).max())
    if farthest < STILL_M:
        return f"The arm hardly moves: the hand gets no more than {100 * farthest:.0f} cm from where it began."
    travelled, lowest = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()), float(path[:, 2].min())
    ending = "comes down to" if lowest < path[0, 2] - DIPS_M else "never gets lower than"
    return f"The hand travels {100 * travelled:.0f} cm and {ending} {100 * lowest:.0f} cm."


def _gripper(lines: Sequence[Mapping[str, Any]]) -> str:
    closed = np.array([entry["action"][6] > 0 for entry in lines])
    if not closed.any():
        return "The gripper never closes."
    if closed.all():
        return "The gripper is told to close at every step."
    first, times = int(closed.argmax()), int(np.count_nonzero(np.diff(closed.astype(int), prepend=0) > 0))
    often = "" if times == 1 else f", and closes {times} times in all"
    when = (
        "is told to close from the start" if first == 0 else f"first closes at step {first}, {100 * lines[first]['eef_pos'][2]:.0f} cm up"
    )
    return f"The gripper {when}{often}."


def _end(lines: Sequence[Mapping[str, Any]], success: bool | None) -> str:
    ends = {True: "The task is done after {} steps.", False: "No success within {} steps.", None: "The episode was stopped after {} steps."}
    return ends[success].format(len(lines))
