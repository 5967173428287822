"""What the sweeps in `results/sweeps/` measured, for the book's pages. No Sphinx here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.decoding import read_object
from vla_tutorial.diagnose import VERDICTS
from vla_tutorial.episodes import Episode, Sweep, read_sweep
from vla_tutorial.plots import Row, confusion_figure, forest_figure, inline_svg
from vla_tutorial.report.build import Spread, spread
from vla_tutorial.stats import Paired, Rate, paired, rate

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = ROOT / "results" / "sweeps"


class _Diagnosis(msgspec.Struct):
    """What is read of `results/diagnosis_mini.json`."""

    confusion: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Counted:
    """The episodes of one condition that ended in success or failure; errors are left out.

    Attributes:
        first_close: control step of the first closing command, over the episodes that close.
        steps_of_successes: control steps of the successful episodes.
        travel: metres that the hand got at most from its start, where the episodes know it.
        own_target_instead: episodes that asked for another object and brought the task's own.
    """

    ended: tuple[Episode, ...]
    rate: Rate
    first_close: Spread | None
    steps_of_successes: Spread | None
    travel: Spread | None
    own_target_instead: int

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return self.rate.episodes

    @property
    def successful(self) -> list[Episode]:
        """The episodes that succeeded."""
        return [e for e in self.ended if e.success]

    @property
    def failed(self) -> list[Episode]:
        """The episodes that failed."""
        return [e for e in self.ended if not e.success]

    @property
    def successes(self) -> int:
        """Number of successful episodes."""
        return self.rate.successes

    @property
    def outcomes(self) -> dict[tuple[int, int], bool]:
        """(task, init) → success."""
        return {(e.task, e.init): bool(e.success) for e in self.ended}

    def by_task(self, task: int) -> tuple[int, int]:
        """Successes and episodes of one task."""
        own = [bool(e.success) for e in self.ended if e.task == task]
        return sum(own), len(own)


@cache
def read(folder: str) -> Sweep:
    """The sweep in `results/sweeps/<folder>`."""
    return read_sweep(SWEEPS / folder)


@cache
def counted(folder: str, condition: str = "published") -> Counted:
    """What the sweep in `results/sweeps/<folder>` says of one condition."""
    return count([e for e in read(folder).of(condition) if e.success is not None])


def count(ended: Sequence[Episode]) -> Counted:
    """What some episodes say that ended in success or failure."""
    successful = [e for e in ended if e.success]
    return Counted(
        ended=tuple(ended),
        rate=rate(len(successful), len(ended)),
        first_close=spread([e.first_close for e in ended]),
        steps_of_successes=spread([e.steps for e in successful]),
        travel=spread([e.travel for e in ended]),
        own_target_instead=sum(bool(e.own_target) and not e.success for e in ended),
    )


def tasks(folder: str) -> list[tuple[int, str, Counted]]:
    """(task, instruction, what the published episodes say), task by task."""
    instructions = read(folder).config["summary"]["instructions"]
    ended = counted(folder).ended
    numbers = sorted({e.task for e in ended})
    return [(n, instructions[n], count([e for e in ended if e.task == n])) for n in numbers]


def summary(folder: str) -> dict[str, Any]:
    """What `sweep.json` says that no episode's line does; only sweeps of an older format have it."""
    found: dict[str, Any] = read(folder).config["summary"]
    return found


def starts(folder: str) -> str:
    """The saved initial states from which a sweep's published episodes ran: "25–44"."""
    found = sorted({start for _, start in counted(folder).outcomes})
    if found != list(range(found[0], found[-1] + 1)):
        return ", ".join(map(str, found))
    return f"{found[0]}–{found[-1]}"


def pairs(condition: str, folder: str = "conditions") -> Paired:
    """A condition of a sweep against its published run, from the same starts."""
    return paired(counted(folder).outcomes, counted(folder, condition).outcomes)


@cache
def swept() -> dict[str, Counted]:
    """The sweep over conditions: those that ran from every start of the published run."""
    found = {name: counted("conditions", name) for name in read("conditions").conditions}
    starts = found["published"].outcomes.keys()
    return {name: c for name, c in found.items() if c.outcomes.keys() == starts}


def listed(folder: Path) -> dict[str, Any]:
    """One sweep for the list of files: how far it got, its command, machine, versions and date."""
    sweep = read(folder.name)
    config = sweep.config
    shards = [shard["command"] for shard in config.get("joined", [])]
    about = list(sweep.notes) or [f"{len(sweep.episodes)} episodes."]
    if shards:
        about.append(f"It ran in {len(shards)} shards, one a GPU.")
    if "converted_from" in config:
        about.append(f"Converted from {config['converted_from']}")
    return {
        "name": f"sweeps/{folder.name}",
        "command": "\n".join([*shards, config["command"]]),
        "about": " ".join(about),
        "machine": config["machine"],
        "versions": config["versions"],
        "date": config["started"],
        "seconds": config.get("summary", {}).get("seconds"),
        "complete": not sweep.notes,
    }


def success_plot(names: Sequence[str]) -> str:
    """Success of `mini` under the published protocol and under conditions, as SVG."""
    shown = [name for name in ("published", *names) if name in swept()]
    rows = [Row(name, swept()[name].rate) for name in shown]
    said = [f"{name} {swept()[name].successes} of {swept()[name].episodes}" for name in shown]
    figure = forest_figure(rows, beside=True)
    description = f"Success of mini by condition: {'; '.join(said)}."
    return inline_svg(figure, f"success-{names[0]}", description)


def verdict_plot() -> str:
    """What was wrong, against what the log alone says is wrong, of failed episodes, as SVG."""
    path = ROOT / "results" / "diagnosis_mini.json"
    matrix = read_object(path, _Diagnosis, "Run benchmarks/diagnosis.py again.")["confusion"]
    rows = {kind: counts for kind, counts in matrix.items() if counts}
    said = []
    for kind, counts in rows.items():
        found = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        said.append(f"{kind}: {found}")
    figure = confusion_figure(rows, VERDICTS)
    description = f"Verdicts of failed episodes by what was wrong. {'; '.join(said)}."
    return inline_svg(figure, "verdicts", description)
