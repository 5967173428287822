"""Clips for the player: one small folder an episode, for the published wiring, most conditions and a few pairs, and one index.

    <out>/manifest.js                     index: conditions, tasks, outcomes
    <out>/<task>_<init>/<name>/           name: published, a condition, or two joined with "+"
        episode.js                        series and outcome (`episode_data`), and which weights made it
        episode.mp4                       the camera, turned upright, 256×256, 20 frames a second
        poster.webp                       the first picture that the policy was given
        end.webp                          the camera at the end

Data are scripts and not JSON because a page that was opened from a disk may load scripts but may not fetch files.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_tutorial.conditions import CATALOGUE, PUBLISHED, apply, changed_settings
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.player.episode_data import FORMAT
from vla_tutorial.scene import Scene
from vla_tutorial.sim import check_task
from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
FILES = ("episode.js", "episode.mp4", "poster.webp", "end.webp")

PAIRS = (
    ("no_flip", "wrong_prompt"),
    ("no_flip", "wrong_unnorm_key"),
    ("wrong_unnorm_key", "gripper_inverted"),
)
"""Two faults at once: neither hides the other here, and the plot tells which boundary to look at first."""


@dataclass(frozen=True)
class Clip:
    """One episode to record: task, saved initial state, names of conditions in the catalogue's order."""

    task: int
    init: int
    conditions: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its folder below the clips' folder, with "/"."""
        return f"{self.task}_{self.init}/{'+'.join(self.conditions) or PUBLISHED}"

    def settings(self, wiring: Wiring = PUBLISHED_WIRING) -> tuple[Wiring, Scene]:
        """Wiring and scene with the conditions applied. Raises TutorialError if they contradict each other."""
        return apply(self.conditions, wiring, Scene(SUITE, self.task, self.init))


def plan(tasks: Iterable[int], init: int = 0, also: Iterable[Sequence[str]] = PAIRS) -> list[Clip]:
    """The clips of these tasks: published, every condition that wants a clip, and the combinations `also` where nothing contradicts.

    Raises:
        TutorialError: a task, the initial state or a condition does not exist.
    """
    order = list(CATALOGUE)
    for name in (name for names in also for name in names):
        apply(
            [name], PUBLISHED_WIRING, PUBLISHED_SCENE
        )  # an unknown name is an error; a contradiction below is only left out
    shown = [name for name, condition in CATALOGUE.items() if condition.clip]
    wanted = [
        (),
        *((name,) for name in shown),
        *(tuple(sorted(names, key=order.index)) for names in also),
    ]
    found = []
    for task in dict.fromkeys(tasks):
        check_task(SUITE, task, init)
        for names in dict.fromkeys(wanted):
            with contextlib.suppress(TutorialError):
                Clip(task, init, names).settings()
                found.append(Clip(task, init, names))
    return found


def read(path: Path) -> dict[str, Any]:
    """The JSON in a script of ours: `…={…};`. Raises TutorialError if it is not there or was cut."""
    try:
        _, equals, value = path.read_text(encoding="utf-8").partition('={"')
        found: dict[str, Any] = json.loads(equals[1:] + value.rstrip().removesuffix(";"))
    except (OSError, ValueError) as e:
        raise TutorialError(
            f"{path} is missing or broken. Make it again: vla-tutorial clips --out {path.parent}"
        ) from e
    return found


def script(target: str, value: object) -> str:
    """The content of a script that puts `value` where `read` and the player find it."""
    return f"{target}={json.dumps(value, separators=(',', ':'), ensure_ascii=False)};\n"


INDEXED = (
    "key",
    "task",
    "init",
    "instruction",
    "conditions",
    "success",
    "steps",
    "first_close",
    "caption",
    "changes",
)


def index(out: Path) -> dict[str, Any]:
    """What the player must know before anything is chosen: conditions, tasks and the outcome of every clip in `out`.

    Conditions are those that some clip in `out` shows: a switch that no clip answers to would only lead nowhere.
    """
    found = list(_episodes(out))
    shown = {name for data in found for name in data["conditions"]}
    conditions = [
        {
            "name": c.name,
            "boundary": c.boundary,
            "teaches": c.teaches,
            "settings": list(changed_settings(c, PUBLISHED_WIRING, PUBLISHED_SCENE)),
        }
        for c in CATALOGUE.values()
        if c.name in shown
    ]
    policies = sorted({f"{data['policy']['name']} ({data['weights']})" for data in found})
    episodes = [{key: data[key] for key in INDEXED} for data in found]
    return {
        "format": FORMAT,
        "suite": SUITE,
        "policies": policies,
        "conditions": conditions,
        "episodes": episodes,
    }


def _episodes(out: Path) -> Iterator[dict[str, Any]]:
    order = list(CATALOGUE)
    found = [read(path) for path in out.glob("[0-9]*_[0-9]*/*/episode.js")]
    known = [data for data in found if set(data["conditions"]) <= CATALOGUE.keys()]
    yield from sorted(
        known,
        key=lambda d: (
            d["task"],
            d["init"],
            len(d["conditions"]),
            [order.index(c) for c in d["conditions"]],
        ),
    )


def write_index(out: Path) -> None:
    """Write `out/manifest.js` from the clips that are there."""
    write_atomically(out / "manifest.js", script("globalThis.VLA_CLIPS", index(out)))
