"""Compare two conditions, or two policies, on the starts that both ran from: one honest sentence, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vla_tutorial.conditions import PUBLISHED
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
from vla_tutorial.stats.pairs import Paired, Start, paired
from vla_tutorial.stats.power import ALPHA, pairs_needed, smallest_paired


@dataclass(frozen=True)
class Run:
    """One condition of one sweep.

    Attributes:
        label: how it is called in tables.
    """

    sweep: Sweep
    condition: str
    label: str

    def outcomes(self) -> dict[Start, bool]:
        """Start → success, of the episodes that ended in one or the other."""
        return {(e.task, e.init): e.success for e in self._episodes() if e.success is not None}

    def errors(self) -> tuple[Start, ...]:
        """Starts whose episode ended in an error."""
        return tuple((e.task, e.init) for e in self._episodes() if e.success is None)

    def _episodes(self) -> tuple[Episode, ...]:
        return self.sweep.of(self.condition)


@dataclass(frozen=True)
class Comparison:
    """Two runs compared.

    Attributes:
        a, b: their labels.
        paired: counts, rates, difference, interval and p value.
        only_in_a, only_in_b: starts that the other did not run (or has not yet).
        errors_a, errors_b: starts left out because that run's episode ended in an error.
        smallest: smallest difference that these pairs show with 80 % power, if as many pairs as here go the other way; None if none would.
        needed: pairs with which a difference as measured would be shown with 80 % power; None if there is none, or beyond a million.
        differs: settings other than the condition that are not the same in both.
        repeat: the same policy under the same condition and settings, so that what differs is the noise of running twice.
    """

    suite: str
    a: str
    b: str
    paired: Paired
    only_in_a: tuple[Start, ...]
    only_in_b: tuple[Start, ...]
    errors_a: tuple[Start, ...]
    errors_b: tuple[Start, ...]
    smallest: float | None
    needed: int | None
    differs: tuple[str, ...]
    repeat: bool


def choose(sweep: Sweep, condition: str | None, option: str) -> str:
    """The condition to compare: the one asked for, else the sweep's only one, else the published one.

    Raises:
        TutorialError: the sweep has no such condition, or several and none is the published one.
    """
    if condition is not None:
        sweep.of(condition)
        return condition
    if len(sweep.conditions) > 1 and PUBLISHED not in sweep.conditions:
        raise TutorialError(
            f"{sweep.folder} has several conditions: {', '.join(sweep.conditions)}. Choose one with {option}."
        )
    return sweep.conditions[0]


def compare(a: Run, b: Run) -> Comparison:
    """Compare two runs pair by pair.

    Raises:
        TutorialError: different suites, the same episodes twice, or no start that ended in success or failure in both.
    """
    if a.sweep.suite != b.sweep.suite:
        raise TutorialError(
            f"{a.label} is of suite {a.sweep.suite}, {b.label} of {b.sweep.suite}. Expected the same suite: task 3 of one is another task in "
            "the other."
        )
    if a.condition == b.condition and a.sweep.folder.resolve() == b.sweep.folder.resolve():
        raise TutorialError(
            f"Both sides are {a.label}. Name two folders, or two conditions with --condition-a and --condition-b."
        )
    first, second = a.outcomes(), b.outcomes()
    found = paired(first, second)
    started_a, started_b = first.keys() | set(a.errors()), second.keys() | set(b.errors())
    gain, loss = sorted((found.only_a / found.pairs, found.only_b / found.pairs), reverse=True)
    differs = differences(a.sweep.config, b.sweep.config)
    return Comparison(
        suite=a.sweep.suite,
        a=a.label,
        b=b.label,
        paired=found,
        only_in_a=tuple(sorted(started_a - started_b)),
        only_in_b=tuple(sorted(started_b - started_a)),
        errors_a=a.errors(),
        errors_b=b.errors(),
        smallest=smallest_paired(found.pairs, loss) if loss < 0.5 else None,
        needed=pairs_needed(gain, loss),
        differs=differs,
        repeat=a.condition == b.condition and not differs,
    )


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the settings in two `sweep.json` that decide outcomes and are not the same: ("policy.checkpoint", "versions.mujoco")."""
    found = [
        name
        for key in ("policy", "wiring", "max_steps")
        for name in _unlike(key, a.get(key), b.get(key))
    ]
    versions = [c.get("versions") or {} for c in (a, b)]
    return tuple(
        found
        + [
            f"versions.{name}"
            for name in ("mujoco", "torch")
            if versions[0].get(name) != versions[1].get(name)
        ]
    )


def _unlike(name: str, a: Any, b: Any) -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return [
            found
            for key in dict.fromkeys([*a, *b])
            for found in _unlike(f"{name}.{key}", a.get(key), b.get(key))
        ]
    return [] if a == b else [name]


def shows(c: Comparison) -> bool:
    """Whether the pairs show a difference: exact McNemar at 5 %."""
    return c.paired.p_value <= ALPHA


def sentence(c: Comparison) -> str:
    """What the comparison says, and no more."""
    p = c.paired
    rates = f"{counted(p.rate_b)} against {counted(p.rate_a)}, {points(p.difference)} (95 % interval {span(p.interval)}; {p_value(p.p_value)})"
    if c.repeat:
        once = f"Run twice, {p.flips.successes} of {plural(p.pairs, 'start')} end differently: a flip rate of {flip_rate(p)}."
        return once + (
            f" That is not noise alone, since {c.b} and {c.a} differ by more than chance: {rates}."
            if shows(c)
            else ""
        )
    if not p.flips.successes:
        return (
            f"{c.b} and {c.a} end alike from all {plural(p.pairs, 'start')} ({percent(p.rate_a.rate)}), so nothing shows a difference; one "
            f"of up to {size(p.interval.high)} either way would fit as well."
        )
    if shows(c):
        return f"{c.b} succeeds {'more' if p.difference > 0 else 'less'} often than {c.a} from the same starts: {rates}."
    return f"{plural(p.pairs, 'pair')} do not show a difference between {c.b} and {c.a}: {rates}. {_unseen(c)}"


def flip_rate(p: Paired) -> str:
    """The share of pairs that disagree, with its interval."""
    return f"{percent(p.flips.rate)} (95 % interval {percents(p.flips.interval)})"


def _unseen(c: Comparison) -> str:
    """That no difference shown is not no difference."""
    could = (
        "no difference, however large, would have been"
        if c.smallest is None
        else f"one of {size(c.smallest)} would have been"
    )
    needs = (
        ""
        if c.needed is None
        else f"; to show one as small as measured takes about {about(c.needed)} pairs"
    )
    return f"That is not to say that there is none: {could} found with 80 % probability{needs}."
