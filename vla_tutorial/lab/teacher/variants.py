"""A student's variant, drawn from the class's key and the name, with its answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vla_tutorial import actions, prompt, stats
from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.episodes import read_sweep
from vla_tutorial.lab.sheet import LETTERS, Case
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.unlabelled import CHOICES
from vla_tutorial.pixels import orient
from vla_tutorial.recorded import SWEEPS
from vla_tutorial.report import ConditionRun
from vla_tutorial.sim import task_instructions
from vla_tutorial.spec import PUBLISHED_WIRING
from vla_tutorial.stats import Start
from vla_tutorial.stats.pairs import mcnemar

SUITE = "libero_object"

KEYS = (SUITE, "bridge_orig")
"""Keys of the action statistics that are compared: the right ones and the wrong ones."""

FULL_SPEED_MM = 12.5
"""How far the hand gets at most in a control step at full command along x, in millimetres.

Measured: `full_speed` in `results/chapter_claims.json`.
"""

STARTS = ("0_0", "3_0", "7_0")
"""Tasks and saved initial states of which clips were recorded."""

STEPS = (200, 240, 280, 320)
COUNTED = ("camera_5", "camera_10", "camera_15", "second_can", "wrong_suite_key", "paraphrase_5")
"""Conditions under which `mini` sometimes succeeds and sometimes fails."""

COMPARED = (
    ("camera_5", "camera_10"),
    ("camera_5", "second_can"),
    ("camera_5", "wrong_suite_key"),
    ("camera_10", "second_can"),
    ("camera_10", "wrong_suite_key"),
    ("second_can", "wrong_suite_key"),
    ("camera_15", "paraphrase_5"),
    ("actions_too_large", "second_can"),
)
"""Pairs of conditions of which each wins some starts that the other loses."""

PRECISION = ((0.9, 0.02), (0.8, 0.02), (0.9, 0.01), (0.8, 0.025), (0.7, 0.02), (0.95, 0.01))
"""A success rate, and the standard error that is wanted. The first is the chapter's."""


@dataclass(frozen=True)
class Variant:
    """The questions of one student, as `Sheet` has them, and the answers.

    Attributes:
        start: folder of the clips, "task_init".
        conditions: letter → the condition of its clip.
        picture: (5, 7, 3) uint8.
        factors: (3,) by what x, y and z are multiplied under the wrong key.
        decoded: one number for each case.
        pairs: success under the first and under the second condition, by start.
    """

    name: str
    task: int
    init: int
    picture: Picture
    instruction: str
    cases: tuple[Case, ...]
    steps: int
    start: str
    conditions: dict[str, str]
    counted: str
    successes: int
    episodes: int
    precision: tuple[float, float]
    compared: tuple[str, str]
    pairs: tuple[tuple[bool, bool], ...]

    @property
    def turned(self) -> Picture:
        """The answer of task 2."""
        return orient(self.picture, "rotate_180")

    @property
    def prompt(self) -> str:
        """The answer of task 3."""
        return prompt.build(PUBLISHED_WIRING, self.instruction).text

    @property
    def decoded(self) -> list[float]:
        """The answers of task 4a, one for each case."""
        return [decoded(case) for case in self.cases]

    @property
    def factors(self) -> Floats:
        """(3,) the answer of task 4b."""
        return all_factors()[:3]

    @property
    def centimetres(self) -> float:
        """The answer of task 4c."""
        return float(self.steps * FULL_SPEED_MM / 10 * self.factors[0])

    @property
    def interval(self) -> stats.Interval:
        """The answer of task 7a."""
        return stats.wilson(self.successes, self.episodes)

    @property
    def needed(self) -> float:
        """The answer of task 7b: episodes."""
        rate, error = self.precision
        return rate * (1 - rate) / error**2

    @property
    def discordant(self) -> tuple[int, int]:
        """The answer of task 7c."""
        return self.pairs.count((True, False)), self.pairs.count((False, True))

    @property
    def p_value(self) -> float:
        """The answer of task 7d."""
        return mcnemar(*self.discordant)


def decoded(case: Case) -> float:
    """The number that a token stands for, as `actions.decode` has it."""
    last = len(actions.BIN_CENTERS) - 1
    centre = actions.BIN_CENTERS[min(int(actions.token_bins(case.token)), last)]
    return float(0.5 * (centre + 1) * (case.q99 - case.q01) + case.q01)


def all_factors() -> Floats:
    """(7,) by what each number is multiplied when the wrong key replaces the right one."""
    libero, bridge = (actions.embedded_statistics()[key] for key in KEYS)
    return np.asarray((bridge.q99 - bridge.q01) / (libero.q99 - libero.q01))


def quantiles() -> dict[str, tuple[list[float], list[float]]]:
    """Key → q01 and q99 of x, y and z."""
    known = actions.embedded_statistics()
    return {key: (known[key].q01[:3].tolist(), known[key].q99[:3].tolist()) for key in KEYS}


def make_variant(key: ClassKey, name: str) -> Variant:
    """The variant of a student. Equal keys and names make equal variants, on any machine."""
    counted = key.choice(name, "counted", COUNTED)
    compared = key.choice(name, "compared", COMPARED)
    results = outcomes(counted)
    return Variant(
        name=name,
        task=key.number(name, "task", 10),
        init=key.number(name, "init", 50),
        picture=_picture(key, name),
        instruction=_instruction(key, name),
        cases=_cases(key, name),
        steps=key.choice(name, "steps", STEPS),
        start=key.choice(name, "start", STARTS),
        conditions=_conditions(key, name),
        counted=counted,
        successes=sum(results.values()),
        episodes=len(results),
        precision=key.choice(name, "precision", PRECISION),
        compared=compared,
        pairs=_pairs(*compared),
    )


def _picture(key: ClassKey, name: str) -> Picture:
    numbers = [key.number(name, f"pixel {i}", 256) for i in range(5 * 7 * 3)]
    return np.array(numbers, np.uint8).reshape(5, 7, 3)


def _instruction(key: ClassKey, name: str) -> str:
    """An instruction of the suite as a person types it: with a capital letter at its beginning."""
    return key.choice(name, "instruction", task_instructions(SUITE)).capitalize()


def _cases(key: ClassKey, name: str) -> tuple[Case, ...]:
    """The lowest bin, the two highest, three between them, and both robots' units."""
    tokens = [31999, 31745, 31744]
    tokens += [31750 + key.number(name, f"token {i}", 240) for i in range(3)]
    axis = key.number(name, "axis", 3)
    low, high = (ends[axis] for ends in quantiles()[KEYS[0]])
    other_low, other_high = (ends[axis] for ends in quantiles()[KEYS[1]])
    cases = [Case(token, low, high) for token in tokens]
    return (*cases, Case(tokens[-1], other_low, other_high))


def _conditions(key: ClassKey, name: str) -> dict[str, str]:
    """Five of the choices; the good run is always among them, so that it has to be recognised."""
    faults = [choice for choice in CHOICES if choice != PUBLISHED]
    drawn = [PUBLISHED, *key.shuffled(name, "faults", faults)[: len(LETTERS) - 1]]
    return dict(zip(LETTERS, key.shuffled(name, "letters", drawn), strict=True))


@cache
def _outcomes(condition: str, folder: Path) -> dict[Start, bool]:
    return ConditionRun(read_sweep(folder), condition).outcomes()


def outcomes(condition: str) -> dict[Start, bool]:
    """(task, init) → success of `mini` under a condition, as the recorded sweep has it."""
    return _outcomes(condition, SWEEPS / "conditions")


def _pairs(first: str, second: str) -> tuple[tuple[bool, bool], ...]:
    one = outcomes(first)
    other = outcomes(second)
    return tuple((one[start], other[start]) for start in sorted(one) if start in other)
