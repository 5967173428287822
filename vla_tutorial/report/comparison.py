"""Compare two conditions, or two policies, on the starts that both ran from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.decoding import printable
from vla_tutorial.episodes import Episode, Sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.report.numbers import (
    about,
    counted,
    p_value,
    percent,
    percents,
    plural,
    points,
    size,
    span,
)
from vla_tutorial.stats import (
    ALPHA,
    Look,
    Paired,
    Start,
    look,
    paired,
    pairs_needed,
    smallest_paired,
)


@dataclass(frozen=True)
class ConditionRun:
    """One condition of one sweep."""

    sweep: Sweep
    condition: str = PUBLISHED
    label: str = ""  # its name in tables

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """The condition's episodes, by task and initial state."""
        return self.sweep.of(self.condition)

    def outcomes(self) -> dict[Start, bool]:
        """Start → success, of the episodes that ended in success or failure."""
        return {_start(e): e.success for e in self.episodes if e.success is not None}

    def errors(self) -> tuple[Start, ...]:
        """Starts whose episode ended in an error."""
        return tuple(_start(e) for e in self.episodes if e.success is None)


def _start(episode: Episode) -> Start:
    if episode.target is None:
        return episode.task, episode.init
    return episode.task, episode.init, episode.target


@dataclass(frozen=True)
class Comparison:
    """Two runs compared; `a` and `b` are their labels."""

    suite: str
    a: str
    b: str
    paired: Paired
    anytime: Look  # the same pairs, for who looked at them on the way and might have stopped
    only_in_a: tuple[Start, ...]  # starts that the other did not run (or has not yet)
    only_in_b: tuple[Start, ...]
    errors_a: tuple[Start, ...]  # starts left out because that run's episode ended in an error
    errors_b: tuple[Start, ...]
    # The smallest difference (a share) that these pairs show with 80 % power, if as many pairs as
    # here go the other way (`smallest_paired`); None if none would be shown.
    smallest: float | None
    # Pairs that show a difference as measured with 80 % power (`pairs_needed`); None if there is no
    # difference, or it takes more than a million.
    needed: int | None
    differs: tuple[str, ...]  # settings other than the condition that are not the same in both
    repeat: bool  # policy, condition and settings are the same: only noise is left

    @property
    def shows_difference(self) -> bool:
        """Whether the pairs show a difference: exact McNemar at 5 %."""
        return self.paired.p_value <= ALPHA


def choose_condition(sweep: Sweep, condition: str | None, option: str) -> str:
    """The condition to compare: the one asked for, else the only one, else the published one.

    Args:
        option: the command line's option for it, which the error names.

    Raises:
        TutorialError: the sweep has no such condition, or several and none is the published one.
    """
    if condition is not None:
        sweep.of(condition)
        return condition
    if len(sweep.conditions) > 1 and PUBLISHED not in sweep.conditions:
        names = ", ".join(sweep.conditions)
        raise TutorialError(
            f"{sweep.folder} has several conditions: {names}. Choose one with {option}."
        )
    return sweep.conditions[0]


def compare_runs(a: ConditionRun, b: ConditionRun) -> Comparison:
    """Compare two runs pair by pair.

    Raises:
        TutorialError: the suites differ, both are the same episodes, or they share no start.
    """
    if a.sweep.suite != b.sweep.suite:
        raise TutorialError(
            f"{a.label} is of suite {a.sweep.suite}, {b.label} of {b.sweep.suite}. Expected the "
            "same suite: a task's number means another task in another suite."
        )
    if a.condition == b.condition and a.sweep.folder.resolve() == b.sweep.folder.resolve():
        raise TutorialError(
            f"Both sides are {a.label}. Name two folders, or two conditions with --condition-a "
            "and --condition-b."
        )
    outcomes_a = a.outcomes()
    outcomes_b = b.outcomes()
    found = paired(outcomes_a, outcomes_b)
    started_a = outcomes_a.keys() | set(a.errors())
    started_b = outcomes_b.keys() | set(b.errors())
    loss, gain = sorted((found.only_a / found.pairs, found.only_b / found.pairs))
    differs = differing_settings(a.sweep.config, b.sweep.config)
    return Comparison(
        suite=a.sweep.suite,
        a=printable(a.label),
        b=printable(b.label),
        paired=found,
        anytime=look(found.only_b, found.only_a, found.both + found.neither),
        only_in_a=tuple(sorted(started_a - started_b)),
        only_in_b=tuple(sorted(started_b - started_a)),
        errors_a=a.errors(),
        errors_b=b.errors(),
        smallest=smallest_paired(found.pairs, loss) if loss < 0.5 else None,
        needed=pairs_needed(gain, loss),
        differs=differs,
        repeat=a.condition == b.condition and not differs,
    )


def differing_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that decide outcomes and differ between two `sweep.json`: "versions.mujoco".

    Looked at are policy, wiring, max_steps, and the versions of MuJoCo and PyTorch. A key that
    stands in one of the two alone differs.
    """
    found: list[str] = []
    for key in ("policy", "wiring", "max_steps"):
        found += _unlike(key, a.get(key), b.get(key))
    versions_a = a.get("versions") or {}
    versions_b = b.get("versions") or {}
    for package in ("mujoco", "torch"):
        found += _unlike(f"versions.{package}", versions_a.get(package), versions_b.get(package))
    return tuple(found)


def _unlike(name: str, a: Any, b: Any) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            yield from _unlike(f"{name}.{key}", a.get(key), b.get(key))
    elif a != b:
        yield printable(name)


def comparison_sentence(c: Comparison) -> str:
    """What the comparison says, and no more."""
    p = c.paired
    over_tasks = ""
    if p.over_tasks:
        over_tasks = f"{span(p.over_tasks)} over tasks, "
    rates = (
        f"{counted(p.rate_b)} against {counted(p.rate_a)}, {points(p.difference)} "
        f"(95 % interval {over_tasks}{span(p.interval)} for these tasks; {p_value(p.p_value)})"
    )
    if c.repeat:
        return _repeat_sentence(c, rates)
    if not p.flips.successes:
        return (
            f"{c.b} and {c.a} end alike from all {plural(p.pairs, 'initial state')} "
            f"({percent(p.rate_a.rate)}), so nothing shows a difference. A difference of "
            f"up to {size(p.interval.high)} either way would fit as well."
        )
    if c.shows_difference:
        more = "more" if p.difference > 0 else "less"
        return f"{c.b} succeeds {more} often than {c.a} from the same initial states: {rates}."
    pairs = plural(p.pairs, "pair")
    return f"{pairs} do not show a difference between {c.b} and {c.a}: {rates}. {_unseen(c)}"


def _repeat_sentence(c: Comparison, rates: str) -> str:
    flips = c.paired.flips
    rate = f"{percent(flips.rate)} (95 % interval {percents(flips.interval)})"
    starts = plural(c.paired.pairs, "initial state")
    once = f"Run twice, {flips.successes} of {starts} end differently: a flip rate of {rate}."
    if not c.shows_difference:
        return once
    return (
        f"{once} That is not noise alone, since {c.b} and {c.a} differ by more than chance: "
        f"{rates}."
    )


def _unseen(c: Comparison) -> str:
    """Says that the pairs may be too few to show a difference that exists."""
    could = "no difference, however large, would have been"
    if c.smallest is not None:
        could = f"one of {size(c.smallest)} would have been"
    needs = ""
    if c.needed is not None:
        needs = f"; to show one as small as measured takes about {about(c.needed)} pairs"
    return f"There may still be one: {could} found with 80 % probability{needs}."
