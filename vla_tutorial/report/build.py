"""What sweeps measured: success, first close, time, and paired comparisons."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.decoding import decode, is_file, printable, read_bytes
from vla_tutorial.episodes import Episode, Sweep
from vla_tutorial.report.causes import ErrorCause, error_causes
from vla_tutorial.report.comparison import Comparison, ConditionRun, compare_runs
from vla_tutorial.report.matrix import Matrix, matrices
from vla_tutorial.report.stages import (
    StageCount,
    StageCredit,
    goal_sizes,
    stage_counts,
    stage_credit,
)
from vla_tutorial.stats import Rate, SuiteMean, holm, rate, suite_mean


@dataclass(frozen=True)
class TaskReport:
    """One task under one condition."""

    task: int  # number within the suite
    instruction: str | None  # None where no episode has kept its record
    errors: int  # episodes that broke
    rate: Rate | None  # of the others, with Wilson's interval; None where every episode broke


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some numbers."""

    least: float
    median: float
    greatest: float


@dataclass(frozen=True)
class FirstClose:
    """When the gripper first closes, in control steps. `never`: episodes in which it does not."""

    steps: Spread | None
    never: int


@dataclass(frozen=True)
class ConditionReport:
    """One condition of one sweep."""

    label: str  # its name in tables and figures
    condition: str
    errors: int  # episodes that broke; they count nowhere else
    rate: Rate | None  # of all episodes, with Wilson's interval (for more episodes of these tasks)
    mean: SuiteMean | None  # with a task-clustered bootstrap (for other tasks of the kind)
    tasks: tuple[TaskReport, ...]
    first_close_successes: FirstClose  # of the episodes that succeed
    first_close_failures: FirstClose
    seconds: Spread | None  # wall time an episode; None where no episode has one
    stages: tuple[StageCount, ...] = ()  # where goals have several predicates
    credit: StageCredit | None = None  # for these stages


@dataclass(frozen=True)
class SweepReport:
    """One sweep: its folder, what was run, and each condition."""

    folder: str  # path as it was given
    name: str  # the folder's name, or its path where two have the same name
    suite: str
    policy: str  # name, and checkpoint where it has one
    command: str  # what made the sweep; "" where unknown
    notes: tuple[str, ...]  # `episodes.Sweep.notes`
    conditions: tuple[ConditionReport, ...]  # the published one first, then as configured
    causes: tuple[ErrorCause, ...]  # of the episodes that ended in an error


@dataclass(frozen=True)
class Adjusted:
    """A comparison with the published run, and its p among all of the report (Holm)."""

    comparison: Comparison
    holm: float


@dataclass(frozen=True)
class Report:
    """Sweeps, and every run compared with the published one from the same starts."""

    sweeps: tuple[SweepReport, ...]
    comparisons: tuple[Adjusted, ...]  # `a` is the published run in each
    matrices: tuple[Matrix, ...] = ()  # where several sweeps ran a suite under one condition


def build_report(sweeps: Sequence[Sweep]) -> Report:
    """Everything that the sweeps' folders say.

    Returns:
        The sweeps in the order given, and a comparison for each condition that has a published run
        with common starts: its own sweep's, or else one of the same policy and suite.

    Raises:
        TutorialError: a record (`episode.json`) in a sweep's folder is damaged.
    """
    runs = label_runs(sweeps)
    reports = []
    for sweep, name in zip(sweeps, _names(sweeps), strict=True):
        report = SweepReport(
            folder=printable(str(sweep.folder)),
            name=name,
            suite=sweep.suite,
            policy=_policy(sweep),
            command=printable(sweep.config.get("command", "")),
            notes=tuple(map(printable, sweep.notes)),
            conditions=tuple(_report_condition(run) for run in runs if run.sweep is sweep),
            causes=error_causes(sweep.episodes),
        )
        reports.append(report)
    found = [compare_runs(a, b) for a, b in _against_published(runs)]
    adjusted = holm([c.paired.p_value for c in found])
    return Report(tuple(reports), tuple(map(Adjusted, found, adjusted)), matrices(runs))


def label_runs(sweeps: Sequence[Sweep]) -> tuple[ConditionRun, ...]:
    """Every condition of every sweep, with a label that tells them apart."""
    found = []
    for sweep, name in zip(sweeps, _names(sweeps), strict=True):
        for condition in sweep.conditions:
            label = f"{name} · {condition}"
            if len(sweeps) == 1:
                label = condition
            elif sweep.conditions == (PUBLISHED,):
                label = name
            found.append(ConditionRun(sweep, condition, label))
    return tuple(found)


def _names(sweeps: Sequence[Sweep]) -> list[str]:
    """Folder names, or whole paths where two have the same name."""
    names = [printable(sweep.folder.resolve().name) for sweep in sweeps]
    times = Counter(names)
    pairs = zip(names, sweeps, strict=True)
    return [printable(str(sweep.folder)) if times[name] > 1 else name for name, sweep in pairs]


def _against_published(runs: Sequence[ConditionRun]) -> Iterator[tuple[ConditionRun, ...]]:
    """(baseline, run), for each run that has a baseline with common starts."""
    for number, run in enumerate(runs):
        baseline = next(_baselines(runs, number), None)
        if baseline and baseline.outcomes().keys() & run.outcomes().keys():
            yield baseline, run


def _baselines(runs: Sequence[ConditionRun], number: int) -> Iterator[ConditionRun]:
    """Published runs to compare a run with, the best first.

    A condition is compared with its own sweep's published run, or else with one of the same policy
    in the same suite. A published run is compared with an earlier one of the same suite.
    """
    run = runs[number]
    published = [r for r in runs if r.condition == PUBLISHED and r is not run]
    yield from (p for p in published if p.sweep is run.sweep)
    for other in published:
        if run.condition == PUBLISHED:
            fits = runs.index(other) < number
        else:
            fits = other.sweep.config.get("policy") == run.sweep.config.get("policy")
        if fits and other.sweep.suite == run.sweep.suite:
            yield other


def _policy(sweep: Sweep) -> str:
    """The policy's name, and its checkpoint where it has one."""
    found = sweep.config.get("policy")
    if not isinstance(found, dict):
        return str(found or "unknown policy")
    name = str(found.get("name", "unknown"))
    if checkpoint := found.get("checkpoint"):
        name += f" ({checkpoint})"
    return printable(name)


def _report_condition(run: ConditionRun) -> ConditionReport:
    tasks = []
    for number in sorted({e.task for e in run.episodes}):
        own = [e for e in run.episodes if e.task == number]
        errors = sum(e.success is None for e in own)
        tasks.append(TaskReport(number, _instruction(run.sweep, own), errors, success_rate(own)))
    counts = {t.task: (t.rate.successes, t.rate.episodes) for t in tasks if t.rate}
    ended = [e for e in run.episodes if e.success is not None]
    stages = stage_counts(run.episodes)
    return ConditionReport(
        label=run.label,
        condition=run.condition,
        errors=sum(t.errors for t in tasks),
        rate=success_rate(run.episodes),
        mean=suite_mean(counts) if counts else None,
        tasks=tuple(tasks),
        first_close_successes=_first_close([e for e in ended if e.success]),
        first_close_failures=_first_close([e for e in ended if not e.success]),
        seconds=spread([e.seconds for e in ended]),
        stages=stages,
        credit=stage_credit(stages, goal_sizes(stages, run.sweep.suite)),
    )


def success_rate(episodes: Sequence[Episode]) -> Rate | None:
    """The success rate of episodes without those that ended in an error; None if none is left."""
    ended = [e.success for e in episodes if e.success is not None]
    if not ended:
        return None
    return rate(sum(ended), len(ended))


def _first_close(episodes: Sequence[Episode]) -> FirstClose:
    steps = [e.first_close for e in episodes]
    return FirstClose(spread(steps), steps.count(None))


def spread(numbers: Sequence[float | None]) -> Spread | None:
    """Least, median and greatest of the numbers that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    if not known:
        return None
    return Spread(min(known), statistics.median(known), max(known))


class _Record(msgspec.Struct):
    """What is read here of an episode's record."""

    instruction: str


def _instruction(sweep: Sweep, episodes: Sequence[Episode]) -> str | None:
    """What a task's episodes asked for, by the first record; if they differ, the task's sentence.

    None where no episode has kept its record.
    """
    for folder in filter(None, (episode.folder for episode in episodes)):
        path = sweep.folder / folder / "episode.json"
        if not is_file(path):
            continue
        asked = _read_record(path).instruction
        if len({episode.target for episode in episodes}) == 1:
            return printable(asked)
        # Not above: LIBERO takes two seconds to import.
        from vla_tutorial.sim import check_task

        return check_task(sweep.suite, episodes[0].task).instruction
    return None


def _read_record(path: Path) -> _Record:
    remedy = "It is an episode's record. Copy the sweep's folder again."
    return decode(read_bytes(path, remedy), _Record, str(path), remedy)
