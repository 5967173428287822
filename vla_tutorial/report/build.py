"""What one or several sweeps measured: success by condition and task, when the gripper first closes, time, and comparisons by pairs."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.episodes import Episode, Sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.report.comparison import Comparison, Run, compare
from vla_tutorial.stats.pairs import holm
from vla_tutorial.stats.rates import Rate, SuiteMean, rate, suite_mean


@dataclass(frozen=True)
class TaskReport:
    """One task under one condition. `rate` is None where every episode ended in an error."""

    task: int
    instruction: str | None
    errors: int
    rate: Rate | None


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some numbers."""

    least: float
    median: float
    greatest: float


@dataclass(frozen=True)
class Closing:
    """When the gripper first closes, in control steps. `never`: episodes in which it does not."""

    steps: Spread | None
    never: int


@dataclass(frozen=True)
class ConditionReport:
    """One condition of one sweep.

    Attributes:
        label: how it is called in tables and figures.
        errors: episodes that broke; they count nowhere else.
        rate: of all episodes, with Wilson's interval: what more episodes of these tasks would give.
        mean: over tasks, with a task-clustered bootstrap: what other tasks of the kind would give.
        first_close_successes, first_close_failures: when the gripper first closes.
        seconds: wall time an episode.
    """

    label: str
    condition: str
    errors: int
    rate: Rate | None
    mean: SuiteMean | None
    tasks: tuple[TaskReport, ...]
    first_close_successes: Closing
    first_close_failures: Closing
    seconds: Spread | None


@dataclass(frozen=True)
class SweepReport:
    """One sweep: where it lies, what was run, and each condition."""

    folder: str
    name: str
    suite: str
    policy: str
    command: str
    notes: tuple[str, ...]
    conditions: tuple[ConditionReport, ...]


@dataclass(frozen=True)
class Adjusted:
    """A comparison with the published run, and its p value among all comparisons of the report (Holm)."""

    comparison: Comparison
    holm: float


@dataclass(frozen=True)
class Report:
    """Sweeps, and every run compared with the published one from the same starts."""

    sweeps: tuple[SweepReport, ...]
    comparisons: tuple[Adjusted, ...]


def runs(sweeps: Sequence[Sweep]) -> tuple[Run, ...]:
    """Every condition of every sweep, with a label that tells them apart."""
    names = _names(sweeps)
    found = []
    for sweep, name in zip(sweeps, names, strict=True):
        for condition in sweep.conditions:
            label = (
                condition
                if len(sweeps) == 1
                else name
                if sweep.conditions == (PUBLISHED,)
                else f"{name} · {condition}"
            )
            found.append(Run(sweep, condition, label))
    return tuple(found)


def build(sweeps: Sequence[Sweep]) -> Report:
    """Everything that the sweeps' folders say."""
    labelled = runs(sweeps)
    found = [compare(a, b) for a, b in _against_published(labelled)]
    adjusted = holm([c.paired.p_value for c in found])
    return Report(
        tuple(
            _sweep(s, name, [r for r in labelled if r.sweep is s])
            for s, name in zip(sweeps, _names(sweeps), strict=True)
        ),
        tuple(Adjusted(c, p) for c, p in zip(found, adjusted, strict=True)),
    )


def _names(sweeps: Sequence[Sweep]) -> list[str]:
    """Folder names, or whole paths where two have the same name."""
    times = Counter(s.folder.resolve().name for s in sweeps)
    return [name if times[name := s.folder.resolve().name] == 1 else str(s.folder) for s in sweeps]


def _against_published(runs: Sequence[Run]) -> Iterable[tuple[Run, Run]]:
    """(baseline, run): a condition against its own sweep's published run; a published run against the first of the same suite.

    A condition whose sweep has no published run is compared with the first one that only the condition sets apart.
    """
    published = [r for r in runs if r.condition == PUBLISHED]
    for run in runs:
        mine = [p for p in published if p.sweep is run.sweep and p is not run]
        others = [p for p in published if p.sweep.suite == run.sweep.suite and p is not run]
        if run.condition == PUBLISHED:
            others = [p for p in others if runs.index(p) < runs.index(run)]
        else:
            others = [
                p for p in others if p.sweep.config.get("policy") == run.sweep.config.get("policy")
            ]
        baseline = next(iter(mine + others), None)
        if baseline and baseline.outcomes().keys() & run.outcomes().keys():
            yield baseline, run


def _sweep(sweep: Sweep, name: str, runs: Sequence[Run]) -> SweepReport:
    return SweepReport(
        folder=str(sweep.folder),
        name=name,
        suite=sweep.suite,
        policy=policy(sweep),
        command=str(sweep.config.get("command", "")),
        notes=sweep.notes,
        conditions=tuple(_condition(run) for run in runs),
    )


def policy(sweep: Sweep) -> str:
    """The policy's name, and its checkpoint where it has one."""
    found = sweep.config.get("policy")
    if not isinstance(found, dict):
        return str(found or "unknown policy")
    checkpoint = found.get("checkpoint")
    return (
        f"{found.get('name', 'unknown')} ({checkpoint})"
        if checkpoint
        else str(found.get("name", "unknown"))
    )


def _condition(run: Run) -> ConditionReport:
    episodes = run.sweep.of(run.condition)
    tasks = tuple(
        _task(run.sweep, [e for e in episodes if e.task == t])
        for t in sorted({e.task for e in episodes})
    )
    counts = {t.task: (t.rate.successes, t.rate.episodes) for t in tasks if t.rate}
    return ConditionReport(
        label=run.label,
        condition=run.condition,
        errors=sum(t.errors for t in tasks),
        rate=_rate(episodes),
        mean=suite_mean(counts) if counts else None,
        tasks=tasks,
        first_close_successes=_closing([e for e in episodes if e.success is True]),
        first_close_failures=_closing([e for e in episodes if e.success is False]),
        seconds=_spread(
            [e.seconds for e in episodes if e.success is not None and e.seconds is not None]
        ),
    )


def _task(sweep: Sweep, episodes: Sequence[Episode]) -> TaskReport:
    errors = sum(e.success is None for e in episodes)
    return TaskReport(episodes[0].task, _instruction(sweep, episodes), errors, _rate(episodes))


def _rate(episodes: Sequence[Episode]) -> Rate | None:
    ended = [e.success for e in episodes if e.success is not None]
    return rate(sum(ended), len(ended)) if ended else None


def _closing(episodes: Sequence[Episode]) -> Closing:
    return Closing(
        _spread([e.first_close for e in episodes if e.first_close is not None]),
        sum(e.first_close is None for e in episodes),
    )


def _spread(numbers: Sequence[float]) -> Spread | None:
    return Spread(min(numbers), statistics.median(numbers), max(numbers)) if numbers else None


def _instruction(sweep: Sweep, episodes: Sequence[Episode]) -> str | None:
    """What the robot was told, from the records of the first episode that has any."""
    for path in (sweep.folder / e.folder / "episode.json" for e in episodes if e.folder):
        if not path.is_file():
            continue
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["instruction"])
        except (ValueError, KeyError) as e:
            raise TutorialError(
                f"{path} is no episode's record ({e!r}). Copy the sweep's folder again."
            ) from e
    return None
