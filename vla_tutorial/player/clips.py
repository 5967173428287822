"""Clips for the player: one small folder an episode, and one index.

    <out>/manifest.js               index: conditions, tasks, outcomes
    <out>/<task>_<init>/<name>/     name: published, a condition, or two joined with "+"
        episode.js                  series and outcome (`episode_data`), and the weights' hash
        episode.mp4                 the camera, turned upright, 256×256, 20 frames a second
        poster.webp                 the first picture that the policy was given
        end.webp                    the camera at the end

Data are scripts and not JSON, because a page that was opened from a disk may load scripts but
may not fetch files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vla_tutorial.conditions import CATALOGUE, Condition, changed_settings, find_condition
from vla_tutorial.errors import TutorialError
from vla_tutorial.player.clip_script import read_clip_script, write_clip_script
from vla_tutorial.player.episode_data import CLIP_FORMAT, DESCRIBED
from vla_tutorial.sim import check_task
from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING, EpisodeSpec

SUITE = "libero_object"
CLIP_FILES = ("episode.js", "episode.mp4", "poster.webp", "end.webp")

PAIRS = (
    ("no_flip", "wrong_prompt"),
    ("no_flip", "wrong_unnorm_key"),
    ("wrong_unnorm_key", "gripper_inverted"),
)
"""Two faults at once. Neither hides the other; the plot tells which boundary comes first."""

TASKS = (0,)
"""Tasks with every condition that wants a clip. The live page runs what no clip shows."""

FEW_TASKS = (3, 7)
"""Tasks with the published wiring and `FEW` alone."""

FEW = (
    "no_flip",
    "flip_only",
    "wrong_prompt",
    "upper_case",
    "wrong_unnorm_key",
    "gripper_inverted",
    "gripper_not_binarised",
    "actions_too_large",
    "paraphrase_1",
)
"""Conditions of the lab's clips: its choices, and what looks like one of them."""

FAILING_STARTS = (("second_can", 0, 27),)
"""Condition, task and initial state of a failure where the clips' usual start succeeds."""

INDEXED = ("key", *DESCRIBED, "caption", "changes")


def clip_key(clip: EpisodeSpec) -> str:
    """A clip's folder below the folder of all clips, with "/"."""
    return f"{clip.task}_{clip.init}/{clip.condition}"


def in_catalogue_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the catalogue's order, as a clip's folder joins them. Unknown ones are an error."""
    for name in names:
        find_condition(name)
    return tuple(sorted(names, key=list(CATALOGUE).index))


def plan_clips(
    tasks: Iterable[int] = TASKS,
    init: int = 0,
    also: Iterable[Sequence[str]] = PAIRS,
    policy: str = "mini",
    few: Iterable[int] = (),
) -> list[EpisodeSpec]:
    """The clips of these tasks of libero_object: published, and every condition that wants a clip.

    Args:
        init: number of the saved initial state.
        also: combinations of conditions. One that contradicts itself is left out.
        policy: a key of `policies.POLICIES`.
        few: tasks with the published wiring and the conditions of `FEW` alone.

    Returns:
        The clips, each once. After those of `init` come the `FAILING_STARTS` of `tasks`, each
        with the published run from the same start.

    Raises:
        TutorialError: a task, the initial state or a condition does not exist.
    """
    tasks = list(dict.fromkeys(tasks))
    every = [(), *((name,) for name, condition in CATALOGUE.items() if condition.clip)]
    every += [in_catalogue_order(names) for names in also]
    found = []
    for task in tasks:
        found += _consistent(task, init, policy, every)
    for task in few:
        found += _consistent(task, init, policy, [(), *((name,) for name in FEW)])
    for name, task, start in FAILING_STARTS:
        if task in tasks:
            found += _consistent(task, start, policy, [(), (name,)])
    return list(dict.fromkeys(found))


def _consistent(
    task: int, init: int, policy: str, wanted: Iterable[tuple[str, ...]]
) -> list[EpisodeSpec]:
    """A clip for each combination of conditions that does not contradict itself."""
    check_task(SUITE, task, init)
    found = []
    for names in wanted:
        clip = EpisodeSpec(SUITE, task, init, policy, conditions=names)
        # All names are known here, so an error is a contradiction.
        with contextlib.suppress(TutorialError):
            clip.settings()
            found.append(clip)
    return found


def clip_index(out: Path) -> dict[str, Any]:
    """What the player must know before anything is chosen.

    Keys: format · suite · policies · conditions · episodes (`INDEXED` of every clip in `out`).
    Conditions are those that some clip shows: a switch without a clip would lead nowhere.

    Raises:
        TutorialError: a clip's `episode.js` is damaged.
    """
    found = _read_clips(out)
    shown = set().union(*(data["conditions"] for data in found))
    policies = {f"{data['policy']['name']} ({data['weights']})" for data in found}
    return {
        "format": CLIP_FORMAT,
        "suite": SUITE,
        "policies": sorted(policies),
        "conditions": [_describe(c) for c in CATALOGUE.values() if c.name in shown],
        "episodes": [index_entry(data) for data in found],
    }


def write_clip_index(out: Path) -> None:
    """Write `out/manifest.js` from the clips that are there. Raises as `clip_index` does."""
    write_clip_script(out / "manifest.js", "globalThis.VLA_CLIPS", clip_index(out))


def index_entry(data: dict[str, Any]) -> dict[str, Any]:
    """What the index repeats of a clip's data."""
    return {key: data[key] for key in INDEXED}


def _describe(condition: Condition) -> dict[str, Any]:
    return {
        "name": condition.name,
        "boundary": condition.boundary,
        "teaches": condition.teaches,
        "settings": list(changed_settings(condition, PUBLISHED_WIRING, PUBLISHED_SCENE)),
    }


def _read_clips(out: Path) -> list[dict[str, Any]]:
    """Data of the clips in `out` whose conditions still exist, in the order of the index."""
    order = list(CATALOGUE)

    def place(data: dict[str, Any]) -> tuple[object, ...]:
        names = data["conditions"]
        return data["task"], data["init"], len(names), [order.index(name) for name in names]

    found = [read_clip_script(path) for path in out.glob("[0-9]*_[0-9]*/*/episode.js")]
    known = [data for data in found if CATALOGUE.keys() >= set(data["conditions"])]
    return sorted(known, key=place)
