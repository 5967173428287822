"""Which episodes make up each closed-loop figure of `mini`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vla_tutorial.conditions import apply
from vla_tutorial.errors import unknown
from vla_tutorial.scene import Scene
from vla_tutorial.sim import check_task, libero
from vla_tutorial.training.results import CONDITIONS, Entry
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
TASKS = tuple(range(10))

Pair = tuple[str, int]
"""Suite and task: what a simulator is built for."""


@dataclass(frozen=True)
class Job:
    """Episodes of one task.

    Attributes:
        inits: numbers of saved initial states; with `practice`, seeds of random layouts of the task's own target instead.
        named: another object of the scene that is asked for in place of the task's own target, for example "milk_1".
        practice: measure on random layouts, as one must while training: the saved states are kept for the final figure.
        plan: the result that the episodes belong to, a key of `PLANS`.
        max_steps: control steps after which an episode has failed; None takes the suite's published limit.
    """

    suite: str
    task: int
    inits: tuple[int, ...]
    conditions: tuple[str, ...] = ()
    unnorm_key: str = SUITE
    named: str | None = None
    practice: bool = False
    plan: str = "official"
    max_steps: int | None = None

    def settings(self) -> tuple[Wiring, Scene]:
        """The published protocol, with this job's instruction and conditions, at its first initial state."""
        scene = Scene(self.suite, self.task, self.inits[0], _sentence(self.named) if self.named else None)
        return apply(self.conditions, Wiring(unnorm_key=self.unnorm_key, max_steps=self.max_steps), scene)

    def label(self) -> Entry:
        """What an entry says of its first episode before it has run."""
        conditions = list(self.conditions)
        own = {"plan": self.plan, "suite": self.suite, "task": self.task, "init": self.inits[0]}
        return {**own, "conditions": conditions, "named": self.named}


def _sentence(named: str) -> str:
    libero.load()  # chooses the GL backend, which must come before MuJoCo's import
    from vla_tutorial.training.layouts import instruction_for

    return instruction_for(named)


# Plans: what to run. `inits` None takes the plan's own.


def _scenes(plan: str, count: int, tasks: Sequence[int], inits: Sequence[int] | None, suite: str = SUITE, **more: Any) -> list[Job]:
    numbers = tuple(range(count) if inits is None else inits)
    return [Job(suite, task, numbers, plan=plan, **more) for task in tasks]


def official(tasks: Sequence[int] = TASKS, inits: Sequence[int] | None = None) -> list[Job]:
    """The published protocol: every saved initial state."""
    return _scenes("official", 50, tasks, inits)


def swap(tasks: Sequence[int] = TASKS, inits: Sequence[int] | None = None) -> list[Job]:
    """LIBERO-PRO's suite with the target in another object's place."""
    return _scenes("swap", 20, tasks, inits, suite=f"{SUITE}_swap")


def named(tasks: Sequence[int] = TASKS, inits: Sequence[int] | None = None) -> list[Job]:
    """Each of the five other objects of each scene is asked for."""
    return [job for task in tasks for other in others(task) for job in _scenes("named", 4, [task], inits, named=other)]


def changed(condition: str, tasks: Sequence[int] = TASKS, inits: Sequence[int] | None = None) -> list[Job]:
    """One condition."""
    return _scenes(condition, 20, tasks, inits, conditions=(condition,))


def practice(tasks: Sequence[int] = TASKS, inits: Sequence[int] | None = None) -> list[Job]:
    """Random layouts that were never trained on."""
    return _scenes("practice", 10, tasks, inits, practice=True)


Plan = Callable[[Sequence[int], Sequence[int] | None], list[Job]]
PLANS: dict[str, Plan] = {"official": official, "swap": swap, "named": named}
PLANS |= {**{name: partial(changed, name) for name in CONDITIONS}, "practice": practice}
"""Every plan by name. What comes first here runs first, so that a run which is cut off has it."""


def others(task: int) -> tuple[str, ...]:
    """Names of the objects of a libero_object scene that are neither its target nor the basket, in the order of its definition."""
    text = check_task(SUITE, task).bddl.read_text()
    blocks = [re.search(rf"\(:{part}(.*?)\)", text, re.S) for part in ("objects", "obj_of_interest")]
    objects, wanted = (block[1] if block else "" for block in blocks)
    return tuple(name for name in re.findall(r"(\w+) - ", objects) if name not in wanted.split())


def plan_jobs(plans: Sequence[str], tasks: Sequence[int] = TASKS, inits: Sequence[int] | None = None) -> list[Job]:
    """The jobs of the plans, `official` first.

    Raises:
        TutorialError: a plan is unknown.
    """
    if strange := [name for name in plans if name not in PLANS]:
        raise unknown("plan", strange[0], PLANS)
    return [job for name in sorted(set(plans), key=list(PLANS).index) for job in PLANS[name](tasks, inits)]


def count_episodes(jobs: Sequence[Job]) -> dict[str, int]:
    """Episodes by plan."""
    found = Counter[str]()
    for job in jobs:
        found[job.plan] += len(job.inits)
    return found
