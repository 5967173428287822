"""A sweep's folder: `sweep.json` says what was run, `episodes.jsonl` how each episode ended.

Every command reads both files here, so all of them have the same rule for damage:

- A last line that is cut off, as a crash while writing leaves it, is left out and noted.
- Any other line that is no episode is an error, which names the line and the key.
- An episode that stands there twice is an error, which names both lines.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.errors import TutorialError, unknown

FORMAT = 1
"""Version of the sweep's folder."""

Outcome = Literal["success", "failure", "error"]

OUTCOMES: dict[bool | None, Outcome] = {True: "success", False: "failure", None: "error"}
"""`Episode.success` → the outcome in one word."""

_OPTIONAL = ("target", "own_target", "travel")
"""Keys that a line has only where they are set."""


class EpisodeKey(NamedTuple):
    """Which episode of a sweep it is; a sweep has each one once. `Episode` says what each is."""

    condition: str
    task: int
    init: int
    target: str | None = None

    @property
    def folder(self) -> str:
        """Where its record lies, below the sweep's folder."""
        name = f"{self.task}_{self.init}"
        if self.target:
            name += f"_{self.target}"
        return f"episodes/{self.condition}/{name}"

    def __str__(self) -> str:
        asked = f", target {self.target}" if self.target else ""
        return f"{self.condition}, task {self.task}, init {self.init}{asked}"


@dataclass(frozen=True)
class Episode:
    """One line of `episodes.jsonl`.

    Attributes:
        init: number of the saved initial state, or seed of the random layout.
        condition: "published", or names joined with "+".
        success: None exactly where `outcome` is "error". Then something broke, so the episode says
            nothing about the policy.
        steps: control steps taken.
        first_close: control step of the first closing gripper command, or None where there is none.
        closes: how often the command changed to close.
        seconds: wall time.
        attempt: 1, or 2 where the first was lost with its worker.
        folder: of the episode's records, below the sweep's folder.
        error: what broke.
        target: another object of the scene that was asked for; None is the task's own.
        own_target: with a target, whether the task's own goal held at the end.
        travel: metres that the hand got at most from its start, rounded to 1e-4.
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
    target: str | None = None
    own_target: bool | None = None
    travel: float | None = None

    def __post_init__(self) -> None:
        """Refuse an outcome that contradicts `success`."""
        if OUTCOMES[self.success] != self.outcome:
            raise ValueError(f"success is {self.success!r} and outcome is {self.outcome!r}")

    @property
    def key(self) -> EpisodeKey:
        """Which episode it is."""
        return EpisodeKey(self.condition, self.task, self.init, self.target)

    def to_line(self) -> str:
        """The line of `episodes.jsonl`, with its newline."""
        entry = dataclasses.asdict(self)
        for key in _OPTIONAL:
            if entry[key] is None:
                del entry[key]
        return json.dumps(entry, ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Episode:
        """Read one line; keys that are not known are left out.

        Args:
            where: file and number of the line, for the error.

        Raises:
            TutorialError: it is no JSON, or a key is missing or has a wrong value.
        """
        try:
            return _EPISODE.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise TutorialError(
                f"{where} is not an episode: {e}. Expected a line as `vla-tutorial sweep` writes "
                "it; the file was cut or edited. Fix or delete the line, or copy the file again."
            ) from e


_EPISODE = msgspec.json.Decoder(Episode)


@dataclass(frozen=True)
class EpisodesFile:
    """What `episodes.jsonl` holds.

    Attributes:
        episodes: in the order of the lines, each once.
        lines: as they stand there, one for each episode.
        cut: the last line where it is cut off, else empty; it is in neither of the two.
    """

    path: Path
    episodes: tuple[Episode, ...]
    lines: tuple[bytes, ...]
    cut: bytes = b""

    def notes(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """What a reader should know: whether a line was left out, and which command repairs it."""
        if not self.cut:
            return ()
        command = config.get("command") or "vla-tutorial sweep … (its command once more)"
        return (
            f"{self.path}, line {len(self.lines) + 1} is cut off and was left out. To repair the "
            f"file and run that episode again, run: {command}",
        )


def read_episodes(path: Path, suite: str | None = None) -> EpisodesFile:
    """Read `episodes.jsonl` by the module's rules; a file that is not there holds no episode.

    Args:
        suite: the suite that every line must name; None allows any.

    Raises:
        TutorialError: a line that is not the last is no episode, a line is of another suite, or an
            episode stands there twice. The error names the lines.
    """
    text = path.read_bytes() if path.is_file() else b""
    lines = text.splitlines(keepends=True)
    cut = b""
    if lines and _is_cut(lines[-1]):
        cut = lines.pop()
    episodes: list[Episode] = []
    numbers: dict[EpisodeKey, int] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        episode = Episode.from_line(line, where)
        if suite not in (None, episode.suite):
            raise TutorialError(
                f"{where} is of suite {episode.suite!r}, expected {suite!r} as sweep.json says. "
                "The file was edited; copy it again."
            )
        first = numbers.setdefault(episode.key, number)
        if first != number:
            raise TutorialError(
                f"{path}, lines {first} and {number} are both of {episode.key}. Expected every "
                "episode once. Delete one of the two lines. To compare two sweeps, keep each in "
                "its own folder and name both: `vla-tutorial report A B`."
            )
        episodes.append(episode)
    return EpisodesFile(path, tuple(episodes), tuple(lines), cut)


def _is_cut(line: bytes) -> bool:
    """Whether a last line did not come to its end: no newline, or nothing that is an episode."""
    try:
        _EPISODE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    return not line.endswith(b"\n")


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
        found = dict.fromkeys(episode.condition for episode in self.episodes)
        order = dict.fromkeys([PUBLISHED, *self.config.get("conditions", ()), *found])
        return tuple(name for name in order if name in found)

    def of(self, condition: str) -> tuple[Episode, ...]:
        """The episodes of one condition, by task, initial state and target.

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
        found = [episode for episode in self.episodes if episode.condition == condition]
        return tuple(sorted(found, key=lambda e: (e.task, e.init, e.target or "")))


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder; one that is still running is read as far as it is.

    Raises:
        TutorialError: no sweep is there or it has no episode, its format is another one, or its
            `episodes.jsonl` is damaged (`read_episodes`).
    """
    config = read_config(folder)
    path = folder / "episodes.jsonl"
    file = read_episodes(path, config["suite"])
    if not file.episodes:
        raise TutorialError(
            f"{path} holds no episode yet. Wait for the first episode to end, or run the sweep's "
            "command again to resume."
        )
    notes = file.notes(config) + _unfinished(config, file.episodes)
    return Sweep(folder, config, file.episodes, notes)


def read_config(folder: Path) -> dict[str, Any]:
    """Read `sweep.json`.

    Raises:
        TutorialError: there is none, it is not JSON, its format is another one, or it names no
            suite.
    """
    path = folder / "sweep.json"
    if not folder.is_dir():
        raise TutorialError(
            f"There is no folder {folder}. Expected one that `vla-tutorial sweep --out` wrote."
        )
    if not path.is_file():
        raise TutorialError(
            f"{folder} holds no sweep.json. "
            "Expected a folder that `vla-tutorial sweep --out` wrote."
        )
    again = "Copy the sweep's folder again, or run the sweep again."
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise TutorialError(f"{path} is not JSON ({e}). {again}") from e
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise TutorialError(
            f"{path} has format {found!r}; this version reads {FORMAT}. "
            "Use the version of vla-tutorial that wrote it."
        )
    if not isinstance(config.get("suite"), str):
        raise TutorialError(f"{path} names no suite. {again}")
    return dict(config)


def _unfinished(config: Mapping[str, Any], episodes: Sequence[Episode]) -> tuple[str, ...]:
    """A note where fewer episodes ended than were planned."""
    lists = [config.get(key) for key in ("conditions", "tasks", "inits")]
    if not all(isinstance(values, list) for values in lists):
        return ()
    conditions, tasks, inits = (len(values or ()) for values in lists)
    targets = config.get("targets")
    if isinstance(targets, dict):
        # Each task has targets of its own.
        tasks = sum(len(names) for names in targets.values())
    planned = conditions * tasks * inits
    if len(episodes) >= planned:
        return ()
    return (f"{len(episodes)} of {planned} planned episodes have ended.",)
