"""What fits into a budget, from the measured time of an action and of a control step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from vla_tutorial.accept.stages import Round
from vla_tutorial.errors import TutorialError
from vla_tutorial.sim import step_limit

_UNITS = {"s": 1, "m": 60, "h": 3600}

MARGIN = 1.25
"""How much longer episodes are taken to be than the earlier ones of their stage."""

LONGEST = 7 * 24 * 3600
"""Seconds of the largest budget. All rounds take less on any GPU that holds the model."""


def parse_budget(text: str) -> int:
    """ "30m", "2h" or "90s" → seconds.

    Raises:
        TutorialError: it is no such time, or not between a second and a week.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh])", text.strip())
    seconds = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not 0 < seconds <= LONGEST:
        expected = "Expected a time such as 30m, 2h or 8h, at most 168h."
        raise TutorialError(f"--budget {text!r:.40} is not understood. {expected}")
    return seconds


def in_words(seconds: float) -> str:
    """42 → "42 s", 1800 → "30 min", 7260 → "2 h 1 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class Pace(msgspec.Struct, frozen=True):
    """How fast this machine is, in seconds; measured before the plan is made.

    Attributes:
        build: until a simulator stands.
        simulator: a control step without the policy.
        action: one answer of the policy, alone.
        batch: an answer to all `workers` together; on a CPU, where none are made, as many answers.
        workers: simulators at a time.
        cores: of this machine.
    """

    build: float
    simulator: float
    action: float
    batch: float
    workers: int
    cores: int

    @property
    def steps_a_second(self) -> float:
        """Control steps a second with all workers.

        Simulators share the cores, and wait while the policy answers.
        """
        crowd = max(1.0, self.workers / self.cores)
        return self.workers / (self.simulator * crowd + self.batch)


@dataclass(frozen=True)
class Estimate:
    """A round, the seconds that it takes at most, and those until its end."""

    round: Round
    seconds: float
    until: float


@dataclass(frozen=True)
class Speed:
    """What rounds are estimated by.

    Attributes:
        steps_a_second: control steps, with all workers.
        steps: control steps of an episode, by stage, where some have run.
    """

    pace: Pace
    steps_a_second: float
    steps: Mapping[str, float]

    def seconds(self, one: Round, left: int | None = None) -> float:
        """Seconds of a round.

        Before any episode of its stage has run, all are taken to run to the step limit, as failures
        do. Afterwards they are taken to be `MARGIN` times as long as those.

        Args:
            left: episodes that are left of it; None for all.
        """
        episodes = one.episodes if left is None else left
        limit = float(step_limit(one.stage.suite))
        if one.stage.name in self.steps:
            limit = min(limit, MARGIN * self.steps[one.stage.name])
        return self.pace.build + episodes * limit / self.steps_a_second


def choose(
    rounds: Sequence[Round],
    speed: Speed,
    seconds: float,
    done: Collection[Round] = (),
    ended: Mapping[str, int] = MappingProxyType({}),
) -> list[Estimate]:
    """The rounds that fit, in their order; one that does not is passed over.

    Args:
        done: rounds that have ended. One that is compared with the published run from its starts
            needs that run before.
        ended: how many episodes of a round have ended already, by its name.
    """
    found: list[Estimate] = []
    until = 0.0
    for one in rounds:
        taken = speed.seconds(one, one.episodes - ended.get(one.name, 0))
        before = one.baseline()
        ready = before is None or before in done or before in [e.round for e in found]
        if ready and until + taken <= seconds:
            until += taken
            found.append(Estimate(one, taken, until))
    return found
