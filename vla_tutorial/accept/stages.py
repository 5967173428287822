"""What is run, in which order: stages, and their rounds from the first starts to all fifty."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.plan import DEFAULT_TASKS, SweepPlan

OBJECT = "libero_object"
LONG = "libero_10"

LEVELS: Sequence[tuple[int, ...]] = (
    (0,),
    (1, 2, 3, 4),
    tuple(range(5, 10)),
    tuple(range(10, 20)),
    tuple(range(20, 50)),
)
"""Numbers of the saved starts that each round of a stage adds, of each of the ten tasks."""


@dataclass(frozen=True)
class Stage:
    """Episodes that settle the same claims.

    Attributes:
        about: in a few words, for the plan.
        claims: ids of the claims page, the ones that it can settle.
    """

    name: str
    about: str
    suite: str
    conditions: tuple[str, ...]
    claims: tuple[str, ...]


PUBLISHED_STAGE = Stage(
    "published",
    "the published protocol",
    OBJECT,
    (PUBLISHED,),
    ("success-rate", "wall-clock", "timing", "threshold", "smooth", "bad-luck"),
)
SILENT = Stage(
    "silent",
    "the three silent failures",
    OBJECT,
    ("no_flip", "wrong_prompt", "wrong_unnorm_key"),
    ("no-flip", "prompt"),
)
WORDS = Stage(
    "words",
    "two paraphrases",
    OBJECT,
    ("paraphrase_1", "paraphrase_2"),
    ("paraphrase", "table-4"),
)
SHIFTED = Stage(
    "shifted",
    "camera, light and a second object",
    OBJECT,
    ("camera_15", "light_50", "second_can"),
    ("shifts", "pretraining-mix", "smooth"),
)
LONG_STAGE = Stage(
    "long",
    "the published protocol on long tasks",
    LONG,
    (PUBLISHED,),
    ("long-rate", "second-object"),
)
STAGES = (PUBLISHED_STAGE, SILENT, WORDS, SHIFTED, LONG_STAGE)

_ORDER = (
    (PUBLISHED_STAGE, (0, 1)),
    (SILENT, (0,)),
    (WORDS, (0,)),
    (SHIFTED, (0,)),
    (LONG_STAGE, (0, 1)),
    (SILENT, (1,)),
    (WORDS, (1,)),
    (SHIFTED, (1,)),
    (PUBLISHED_STAGE, (2, 3)),
    (WORDS, (2,)),
    (SHIFTED, (2,)),
    (PUBLISHED_STAGE, (4,)),
    (WORDS, (3,)),
    (SHIFTED, (3,)),
    (SILENT, (2,)),
    (LONG_STAGE, (2, 3, 4)),
)


@dataclass(frozen=True)
class Round:
    """One small sweep of a stage: the starts of one of `LEVELS`, from each of the tasks."""

    stage: Stage
    level: int
    tasks: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.stage.name}_{self.level}"

    @property
    def episodes(self) -> int:
        """How many it has."""
        return len(self.stage.conditions) * len(self.tasks) * len(LEVELS[self.level])

    def baseline(self) -> Round | None:
        """The published round from the same starts, with which this one is compared, if any."""
        if self.stage.suite != OBJECT or self.stage == PUBLISHED_STAGE:
            return None
        return Round(PUBLISHED_STAGE, self.level, self.tasks)

    def plan(self, spec: EpisodeSpec) -> SweepPlan:
        """Its sweep; `spec` says who acts, on which suite."""
        return SweepPlan(spec, self.tasks, LEVELS[self.level], self.stage.conditions)


def queue(suites: Collection[str], tasks: Sequence[int] = range(DEFAULT_TASKS)) -> list[Round]:
    """Every round on these suites, the one that settles most for its time first.

    Ten published episodes say whether the checkpoint works at all; without them nothing else means
    anything. Then comes what a few episodes can tell, large falls of success, and last what needs
    hundreds.
    """
    found = []
    for stage, levels in _ORDER:
        if stage.suite in suites:
            found += [Round(stage, level, tuple(tasks)) for level in levels]
    return found
