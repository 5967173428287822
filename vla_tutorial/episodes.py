"""A sweep's folder: `sweep.json` says what was run, `episodes.jsonl` how each episode ended.

Every command reads both files here, so all have the same rule for damage. A last line that is cut
off, as a crash while writing leaves it, is left out and noted. Any other line that is no episode is
an error, which names line and key; an episode that stands there twice is one that names both lines.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.errors import TutorialError, unknown

SWEEP_FORMAT = 1
"""Version of the sweep's folder."""

Outcome = Literal["success", "failure", "error"]

OUTCOMES: dict[bool | None, Outcome] = {True: "success", False: "failure", None: "error"}
"""`Episode.success` → the outcome in one word."""


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
    """One line of `episodes.jsonl`."""

    suite: str
    task: int
    init: int  # number of the saved initial state, or seed of the random layout
    condition: str  # "published", or names joined with "+"
    # None exactly where `outcome` is "error": what broke says nothing about the policy.
    success: bool | None
    outcome: Outcome
    steps: int | None = None  # control steps taken
    first_close: int | None = None  # control step of the first closing gripper command, if any
    closes: int | None = None  # how often the command changed to close
    seconds: float | None = None  # wall time
    attempt: int | None = None  # 1, or 2 where the first was lost with its worker
    folder: str | None = None  # of the episode's records, below the sweep's folder
    error: str | None = None  # what broke
    target: str | None = None  # another object of the scene to ask for; None is the task's own
    own_target: bool | None = None  # with a target, whether the task's own goal held at the end
    travel: float | None = None  # metres that the hand got at most from its start, to 1e-4

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
        # A line has these only where they are set.
        for key in ("target", "own_target", "travel"):
            if entry[key] is None:
                del entry[key]
        return json.dumps(entry, ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Episode:
        """Read one line; keys that are not known are left out.

        Raises:
            TutorialError: it is no JSON, or a key is missing or has a wrong value. The text begins
                with `where`, the file and number of the line.
        """
        try:
            return _EPISODE.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            remedy = "The file was cut or edited. Fix or delete the line, or copy the file again."
            raise TutorialError(f"{where} is not an episode: {e}. {remedy}") from e


_EPISODE = msgspec.json.Decoder(Episode)


@dataclass(frozen=True)
class EpisodesFile:
    """What `episodes.jsonl` holds."""

    path: Path
    episodes: tuple[Episode, ...]  # in the order of the lines, each once
    lines: tuple[bytes, ...]  # as they stand there, one for each episode
    cut: bytes = b""  # the last line where it is cut off; it is in neither of the two

    def notes(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """What a reader should know: whether a line was left out, and which command repairs it."""
        if not self.cut:
            return ()
        what = f"{self.path}, line {len(self.lines) + 1} is cut off and was left out."
        command = config.get("command") or "vla-tutorial sweep … (its command once more)"
        return (f"{what} To repair the file and run that episode again, run: {command}",)


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
            wanted = f"expected {suite!r} as sweep.json says. The file was edited; copy it again."
            raise TutorialError(f"{where} is of suite {episode.suite!r}, {wanted}")
        first = numbers.setdefault(episode.key, number)
        if first != number:
            raise TutorialError(
                f"{path}, lines {first} and {number} are both of {episode.key}. Delete one. "
                "To compare two sweeps, keep each in its own folder: `vla-tutorial report A B`."
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
    """A sweep as its folder tells it."""

    folder: Path
    config: Mapping[str, Any]  # `sweep.json`
    episodes: tuple[Episode, ...]  # in the order in which they ended
    notes: tuple[str, ...]  # what a reader of the figures should know about the folder

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
            remedy = f"{self.folder} has episodes of these."
            raise unknown("condition", condition, self.conditions, remedy)
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
        remedy = "Wait for the first to end, or run the sweep's command again to resume."
        raise TutorialError(f"{path} holds no episode yet. {remedy}")
    notes = file.notes(config) + _unfinished(config, len(file.episodes))
    return Sweep(folder, config, file.episodes, notes)


def read_config(folder: Path) -> dict[str, Any]:
    """Read `sweep.json`.

    Raises:
        TutorialError: there is none, it is not JSON, its format is another one, or it names no
            suite.
    """
    path = folder / "sweep.json"
    expected = "Expected a folder that `vla-tutorial sweep --out` wrote."
    if not folder.is_dir():
        raise TutorialError(f"There is no folder {folder}. {expected}")
    if not path.is_file():
        raise TutorialError(f"{folder} holds no sweep.json. {expected}")
    again = "Copy the sweep's folder again, or run the sweep again."
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise TutorialError(f"{path} is not JSON ({e}). {again}") from e
    found = config.get("format") if isinstance(config, dict) else None
    if found != SWEEP_FORMAT:
        raise TutorialError(
            f"{path} has format {found!r}; this version reads {SWEEP_FORMAT}. "
            "Use the version of vla-tutorial that wrote it."
        )
    if not isinstance(config.get("suite"), str):
        raise TutorialError(f"{path} names no suite. {again}")
    return dict(config)


def _unfinished(config: Mapping[str, Any], ended: int) -> tuple[str, ...]:
    """A note where fewer episodes ended than were planned."""
    lists = [config.get(key) for key in ("conditions", "tasks", "inits")]
    if not all(isinstance(values, list) for values in lists):
        return ()
    conditions, tasks, inits = (len(values or ()) for values in lists)
    if isinstance(config.get("targets"), dict):
        # Each task has targets of its own.
        tasks = sum(map(len, config["targets"].values()))
    planned = conditions * tasks * inits
    if ended >= planned:
        return ()
    return (f"{ended} of {planned} planned episodes have ended.",)
