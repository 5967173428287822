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
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.decoding import (
    Count,
    Name,
    Seconds,
    decode,
    decode_object,
    is_file,
    is_json,
    printable,
    read_bytes,
    read_lines,
)
from vla_tutorial.errors import TutorialError, unknown

SWEEP_FORMAT = 1
"""Version of the sweep's folder."""

MOST_BYTES = 64 * 2**20
"""Bytes of `episodes.jsonl`, of which an episode takes about 300: 200,000 episodes."""

MOST_PLANNED = 1_000_000
"""Episodes of a sweep. All of LIBERO (130 tasks) under 50 conditions has 325,000."""

Init = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Number of a saved initial state, or a layout's seed; training draws seeds from [0, 2⁶²)."""

Metres = Annotated[float, msgspec.Meta(ge=0, le=1e9)]

Stages = tuple[tuple[Name, Count], ...]
"""Predicates and control steps: see `Episode.stages`."""

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


@dataclass(frozen=True, slots=True)
class Episode:
    """One line of `episodes.jsonl`."""

    suite: Name
    task: Count
    init: Init  # number of the saved initial state, or seed of the random layout
    condition: Name  # "published", or names joined with "+"
    # None exactly where `outcome` is "error": what broke says nothing about the policy.
    success: bool | None
    outcome: Outcome
    steps: Count | None = None  # control steps taken
    first_close: Count | None = None  # control step of the first closing gripper command, if any
    closes: Count | None = None  # how often the command changed to close
    seconds: Seconds | None = None  # wall time
    attempt: Count | None = None  # 1, or more where the ones before were lost or ended in an error
    folder: Name | None = None  # of the episode's records, below the sweep's folder
    error: str | None = None  # what broke
    target: Name | None = None  # another object of the scene to ask for; None is the task's own
    own_target: bool | None = None  # with a target, whether the task's own goal held at the end
    travel: Metres | None = None  # metres that the hand got at most from its start, to 1e-4
    # Of a goal with several predicates: those that held at some time, as "on moka_pot_1
    # flat_stove_1_cook_region", with the control step after which each first did, in that order.
    stages: Stages | None = None

    def __post_init__(self) -> None:
        """Refuse an outcome that contradicts `success`, and a folder outside the sweep's."""
        if OUTCOMES[self.success] != self.outcome:
            raise ValueError(f"success is {self.success!r} and outcome is {self.outcome!r}")
        folder = self.folder or ""
        if folder.startswith("/") or (".." in folder and ".." in folder.split("/")):
            raise ValueError(f"folder {self.folder!r} is not below the sweep's folder")

    @property
    def key(self) -> EpisodeKey:
        """Which episode it is."""
        return EpisodeKey(self.condition, self.task, self.init, self.target)

    @property
    def cause(self) -> str:
        """What broke, in one line; empty where nothing did."""
        if self.outcome != "error":
            return ""
        return one_line(self.error or "unknown")

    def to_line(self) -> str:
        """The line of `episodes.jsonl`, with its newline."""
        entry = dataclasses.asdict(self)
        # A line has these only where they are set.
        for key in ("target", "own_target", "travel", "stages"):
            if entry[key] is None:
                del entry[key]
        return json.dumps(entry, ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Episode:
        """Read one line; keys that are not known are left out.

        Raises:
            TutorialError: it is no JSON, or a key is missing or has a wrong value. The text begins
                with `where`, the file and number of the line, and names key and value.
        """
        try:
            return _EPISODE.decode(line)
        except (ValueError, RecursionError):
            # The same again, with an error that names what is wrong.
            return decode(line, cls, where, MEND)


_EPISODE = msgspec.json.Decoder(Episode)


def one_line(error: str) -> str:
    """What an `Episode.error` says, in at most 200 characters: of a traceback, its exception."""
    lines = error.rpartition("Traceback (most recent call last):\n")[2].splitlines()
    # Frames are indented. The first line after them names the exception and begins its message.
    found = next((line for line in lines if line.strip() and line[0] != " "), "unknown")
    return found.strip().removeprefix("vla_tutorial.errors.TutorialError: ")[:200]


MEND = "The file was cut or edited. Fix or delete the line, or copy the file again."


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
        command = printable(command)
        return (f"{what} To repair the file and run that episode again, run: {command}",)


def read_episodes(path: Path, suite: str | None = None) -> EpisodesFile:
    """Read `episodes.jsonl` by the module's rules; a file that is not there holds no episode.

    Args:
        suite: the suite that every line must name; None allows any.

    Raises:
        TutorialError: a line that is not the last is no episode, a line is of another suite, or an
            episode stands there twice. The error names the lines. The file cannot be read, or has
            more than `MOST_BYTES` or `MOST_PLANNED` lines.
    """
    lines: list[bytes] = []
    if is_file(path):
        lines = read_lines(path, MEND, MOST_BYTES, MOST_PLANNED)
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
    """Whether a last line did not come to its end: no newline, or no JSON, as a crash leaves it."""
    return not line.endswith(b"\n") or not is_json(line)


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


class _Machine(msgspec.Struct):
    gpus: list[str] = []
    cpus: int | None = None
    cpu: str | None = None


class _Config(msgspec.Struct):
    """What `sweep.json` must hold, and the types of what it may hold besides."""

    suite: Name
    tasks: list[Count] = []
    inits: list[Init] = []
    conditions: list[Name] = []
    targets: dict[Name, list[Name]] = {}
    starts: str = ""
    policy: Name | dict[str, Any] = ""
    wiring: dict[str, Any] = {}
    max_steps: Count | None = None
    command: str = ""
    versions: dict[Name, Name] = {}
    # Sweeps that were converted from older results have a sentence there.
    machine: Name | _Machine = ""
    started: Name | None = None
    joined: list[dict[str, Any]] = []

    def __post_init__(self) -> None:
        """Refuse lists that plan more episodes than anybody runs."""
        tasks = max(len(self.tasks), sum(map(len, self.targets.values())))
        planned = len(self.conditions) * tasks * len(self.inits)
        if planned > MOST_PLANNED:
            raise ValueError(f"it plans {planned} episodes, expected at most {MOST_PLANNED}")


class _Format(msgspec.Struct):
    format: int


def read_config(folder: Path) -> dict[str, Any]:
    """Read `sweep.json`.

    Returns:
        All that it holds. What is there of `_Config` is of its types.

    Raises:
        TutorialError: there is none, it is not JSON, its format is another one, it names no suite,
            or a key has a wrong value.
    """
    path = folder / "sweep.json"
    expected = "Expected a folder that `vla-tutorial sweep --out` wrote."
    if not folder.is_dir():
        raise TutorialError(f"There is no folder {folder}. {expected}")
    if not is_file(path):
        raise TutorialError(f"{folder} holds no sweep.json. {expected}")
    again = "Copy the sweep's folder again, or run the sweep again."
    text = read_bytes(path, again)
    found = decode(text, _Format, str(path), again).format
    if found != SWEEP_FORMAT:
        raise TutorialError(
            f"{path} has format {found}; this version reads {SWEEP_FORMAT}. "
            "Use the version of vla-tutorial that wrote it."
        )
    return decode_object(text, _Config, str(path), again)


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
