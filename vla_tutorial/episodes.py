"""Read a sweep's folder: `sweep.json` says what was run, `episodes.jsonl` how each episode ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.errors import TutorialError, unknown

FORMAT = 1
"""Version of the sweep's folder."""

Outcome = Literal["success", "failure", "error"]


@dataclass(frozen=True)
class Episode:
    """One line of `episodes.jsonl`.

    Attributes:
        condition: "published", or names joined with "+".
        success: None exactly where `outcome` is "error": something broke, so the episode says nothing about the policy.
        steps: control steps taken.
        first_close: control step of the first closing gripper command, or None where there is none.
        closes: how often the command changed to close.
        seconds: wall time.
        attempt: 1, or 2 where the first was lost with its worker.
        folder: of the episode's records, below the sweep's folder.
        error: what broke.
    """

    suite: str
    task: int
    init: int
    condition: str
    success: bool | None
    outcome: Outcome
    steps: int | None = None
    first_close: int | None = None
    closes: int | None = None
    seconds: float | None = None
    attempt: int | None = None
    folder: str | None = None
    error: str | None = None


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("task", "init"), (int,)),
    **dict.fromkeys(("steps", "first_close", "closes", "attempt"), (int, type(None))),
    **dict.fromkeys(("suite", "condition", "outcome"), (str,)),
    **dict.fromkeys(("folder", "error"), (str, type(None))),
    "success": (bool, type(None)),
    "seconds": (int, float, type(None)),
}
_NEEDED = ("suite", "task", "init", "condition", "success", "outcome")
_SUCCESS: dict[str, bool | None] = {"success": True, "failure": False, "error": None}


@dataclass(frozen=True)
class Sweep:
    """A sweep as its folder tells it.

    Attributes:
        config: `sweep.json`.
        episodes: in the order in which they ended.
        notes: what a reader of the figures should know about the folder.
    """

    folder: Path
    config: Mapping[str, Any]
    episodes: tuple[Episode, ...]
    notes: tuple[str, ...]

    @property
    def suite(self) -> str:
        """The LIBERO suite."""
        return str(self.config["suite"])

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that have episodes: the published one first, then as configured."""
        found = {e.condition for e in self.episodes}
        order = dict.fromkeys(
            [PUBLISHED, *self.config.get("conditions", ()), *(e.condition for e in self.episodes)]
        )
        return tuple(name for name in order if name in found)

    def of(self, condition: str) -> tuple[Episode, ...]:
        """The episodes of one condition, by task and initial state.

        Raises:
            TutorialError: the sweep has none of it.
        """
        if condition not in self.conditions:
            raise unknown(
                "condition",
                condition,
                self.conditions,
                f"These are the ones that {self.folder} has episodes of.",
            )
        return tuple(
            sorted(
                (e for e in self.episodes if e.condition == condition),
                key=lambda e: (e.task, e.init),
            )
        )


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder; one that is still running is read as far as it is.

    A last line that is cut off, as a crash while writing leaves it, is left out and noted.

    Raises:
        TutorialError: no sweep is there or it has no episode, its format is another one, a line is malformed (file and number are named), or
            an episode stands there twice.
    """
    config = read_config(folder)
    path = folder / "episodes.jsonl"
    if not path.is_file():
        raise TutorialError(
            f"{folder} holds no episodes.jsonl: the sweep ended no episode yet. Run its command again to go on."
        )
    lines = path.read_bytes().splitlines(keepends=True)
    notes = []
    if lines and not is_whole(lines[-1]):
        lines.pop()
        notes.append(
            f"The last line of {path} is cut off and left out. Run the sweep's command again: it repairs the file and goes on."
        )
    episodes = [
        parse_episode(text, config["suite"], path, number) for number, text in enumerate(lines, 1)
    ]
    if not episodes:
        raise TutorialError(
            f"{path} holds no episode yet. Run the sweep's command again, or wait for the first episode to end."
        )
    _refuse_duplicates(episodes, path)
    return Sweep(folder, config, tuple(episodes), tuple(notes + _unfinished(config, len(episodes))))


def read_config(folder: Path) -> dict[str, Any]:
    """Read `sweep.json`, or raise a TutorialError: there is none, it is not JSON, its format is another one, or it names no suite."""
    path = folder / "sweep.json"
    if not folder.is_dir():
        raise TutorialError(
            f"There is no folder {folder}. Expected one that `vla-tutorial sweep --out` wrote."
        )
    if not path.is_file():
        raise TutorialError(
            f"{folder} holds no sweep.json. Expected a folder that `vla-tutorial sweep --out` wrote."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise TutorialError(
            f"{path} is not JSON ({e}). Copy the sweep's folder again, or run the sweep again."
        ) from e
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise TutorialError(
            f"{path} has format {found!r}; this version reads {FORMAT}. Use the version of vla-tutorial that wrote it."
        )
    if not isinstance(config.get("suite"), str):
        raise TutorialError(
            f"{path} names no suite. Copy the sweep's folder again, or run the sweep again."
        )
    return config


def is_whole(line: bytes) -> bool:
    """Whether a last line came to its end; one without a newline did not, and the sweep, going on, drops it too."""
    try:
        json.loads(line.decode("utf-8"))
    except ValueError:
        return False
    return line.endswith(b"\n")


def parse_episode(line: bytes, suite: str, path: Path, number: int) -> Episode:
    """One line of `episodes.jsonl`; a TutorialError names `path` and `number` if it is malformed or of another suite."""
    return _episode(_parse(line, path, number), suite, path, number)


def _parse(line: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except ValueError as e:
        raise _malformed(path, number, f"that is not JSON ({e})") from e


def _episode(entry: Any, suite: str, path: Path, number: int) -> Episode:
    if not isinstance(entry, dict):
        raise _malformed(path, number, "that is no JSON object")
    if missing := [key for key in _NEEDED if key not in entry]:
        raise _malformed(path, number, f"without {', '.join(missing)}")
    for key, kinds in _KINDS.items():
        value = entry.get(key)
        if key in entry and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        ):
            raise _malformed(path, number, f"where {key} is {value!r}")
    if entry["outcome"] not in _SUCCESS or entry["success"] is not _SUCCESS[entry["outcome"]]:
        raise _malformed(
            path,
            number,
            f"where success is {entry['success']!r} and outcome is {entry['outcome']!r}",
        )
    if entry["suite"] != suite:
        raise _malformed(
            path, number, f"of suite {entry['suite']!r}, while the sweep is of {suite!r}"
        )
    return Episode(**{f.name: entry[f.name] for f in fields(Episode) if f.name in entry})


def _malformed(path: Path, number: int, why: str) -> TutorialError:
    return TutorialError(
        f"{path}, line {number}: a line {why}. Expected one episode as a JSON object, as `vla-tutorial sweep` writes it; "
        "the file was cut or edited. Copy it again, or run the sweep into a new folder."
    )


def _refuse_duplicates(episodes: list[Episode], path: Path) -> None:
    counts = Counter((e.condition, e.task, e.init) for e in episodes)
    (condition, task, init), times = counts.most_common(1)[0]
    if times > 1:
        raise TutorialError(
            f"{path} holds {condition}, task {task}, init {init} {times} times. Expected every episode once; two sweeps were put together, or "
            "lines were copied. Keep each sweep in its own folder and name both: `vla-tutorial report A B`."
        )


def _unfinished(config: Mapping[str, Any], ended: int) -> list[str]:
    """A note where fewer episodes ended than were planned."""
    parts = [config.get(key) for key in ("conditions", "tasks", "inits")]
    if not all(isinstance(part, list) for part in parts):
        return []
    planned = max(1, len(parts[0] or ())) * len(parts[1] or ()) * len(parts[2] or ())
    return [f"{ended} of {planned} planned episodes have ended."] if ended < planned else []
