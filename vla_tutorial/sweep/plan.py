"""What a sweep runs: each combination of condition, task, initial state and target once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.episodes import EpisodeKey
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.policies import check_name
from vla_tutorial.scene import BASKET
from vla_tutorial.sim import check_task, count_initial_states, initial_states
from vla_tutorial.spec import EpisodeSpec, split_condition

Video = Literal["none", "failures", "all"]
"""Which episodes keep pictures (agentview.png, gripper.png) and a video."""

Starts = Literal["saved", "layouts"]
"""Where episodes begin: the suite's saved initial states, or random layouts."""

DEFAULT_TASKS = 10
DEFAULT_INITS = 50
"""How many a sweep has where nothing else is asked for: those of the published suites."""

OTHERS = "others"
"""Stands for every object of a task's scene but its own."""

Targets = dict[int, tuple[str, ...]]
"""Task → names of the objects that are asked for."""


@dataclass(frozen=True)
class SweepPlan:
    """The configuration of a sweep; numbers are sorted and everything is there once.

    Attributes:
        spec: what all episodes share; what the other attributes name is replaced.
        tasks: numbers within the suite.
        inits: numbers of the saved initial states; with `starts="layouts"` seeds of random layouts.
        conditions: names, several joined with "+" as they apply; "published" is none.
        targets: what `find_targets` gives, each in episodes of its own; None asks for each task's
            own object.
    """

    spec: EpisodeSpec
    tasks: tuple[int, ...]
    inits: tuple[int, ...]
    conditions: tuple[str, ...] = (PUBLISHED,)
    video: Video = "none"
    targets: Targets | None = None
    starts: Starts = "saved"

    def __post_init__(self) -> None:
        """Put everything in order and refuse an empty set."""
        for name in ("tasks", "inits", "conditions"):
            values = _once(getattr(self, name))
            if not values:
                remedy = f"Name at least one, for example 0-9 or {PUBLISHED!r}."
                raise TutorialError(f"A sweep without {name} has no episodes. {remedy}")
            if name != "conditions":
                values = tuple(sorted(values))
            object.__setattr__(self, name, values)
        if self.video not in get_args(Video):
            raise unknown("choice of videos", self.video, get_args(Video))

    def specs(self) -> Iterator[EpisodeSpec]:
        """Every episode once: condition by condition, task by task."""
        targets: Mapping[int, Sequence[str | None]] = self.targets or {}
        for condition in self.conditions:
            changed = replace(self.spec, conditions=split_condition(condition))
            for task in self.tasks:
                spec = replace(changed, task=task)
                for target in targets.get(task, (None,)):
                    for init in self.inits:
                        seed = init if self.starts == "layouts" else None
                        yield replace(spec, init=init, target=target, layout_seed=seed)

    def check(self) -> None:
        """Raise a TutorialError if something that the plan names does not exist.

        The first call imports LIBERO, which takes two seconds.
        """
        check_name(self.spec.policy)
        for spec in replace(self, conditions=self.conditions[:1]).specs():
            spec.check()
        for spec in replace(self, tasks=self.tasks[:1], inits=self.inits[:1]).specs():
            spec.check()
        if self.starts == "layouts":
            _check_layouts(self.spec.suite, self.tasks)

    def entry(self) -> dict[str, Any]:
        """What `sweep.json` says of the plan; some of it only where it is used."""
        wiring = {key: getattr(self.spec, key) for key in ("unnorm_key", "embedded_statistics")}
        found = {"suite": self.spec.suite, **self.lists(), "wiring": wiring}
        found |= {"max_steps": self.spec.max_steps, "video": self.video}
        if self.starts != "saved":
            found["starts"] = self.starts
        if self.spec.realtime is not None:
            found["realtime"] = self.spec.realtime
        if self.spec.while_waiting != "last":
            found["while_waiting"] = self.spec.while_waiting
        if self.spec.own is not None:
            found["own_scene"] = self.spec.own.entry()
        return found

    def lists(self) -> dict[str, Any]:
        """The keys of `sweep.json` that say which episodes there are."""
        found: dict[str, Any]
        found = {key: list(getattr(self, key)) for key in ("tasks", "inits", "conditions")}
        if self.targets:
            found["targets"] = {str(task): list(names) for task, names in self.targets.items()}
        return found


def _check_layouts(suite: str, tasks: Iterable[int]) -> None:
    """Raise a TutorialError if no layouts are known for the suite and the scene of a task."""
    # Not above: it imports MuJoCo, and `libero.load` must choose the GL backend first.
    from vla_tutorial.sim.layouts import SUITES
    from vla_tutorial.sim.object_layouts import SLOTS

    for task in tasks:
        found = len(scene_objects(suite, task))
        if suite not in SUITES and found != len(SLOTS):
            known = f"Layouts are known for {', '.join(SUITES)}"
            like = f"and for scenes with a basket and {len(SLOTS)} other objects"
            what = f"{suite}, task {task}, is none of these"
            remedy = "Give --inits in place of --layouts."
            raise TutorialError(f"{known}, {like}; {what}. {remedy}")


def key_of(spec: EpisodeSpec) -> EpisodeKey:
    """Which episode of its sweep a spec is."""
    return EpisodeKey(spec.condition, spec.task, spec.init, spec.target)


def tasks_with_states(suite: str, tasks: Iterable[int]) -> tuple[int, ...]:
    """Those of a suite's tasks that come with saved initial states; raises as `check_task`."""
    return tuple(task for task in tasks if count_initial_states(suite, task))


def common_inits(suite: str, tasks: Sequence[int]) -> tuple[int, ...]:
    """Numbers of the saved initial states that all of the tasks have, at most `DEFAULT_INITS`.

    Raises:
        TutorialError: a task does not exist or comes with no saved initial state.
    """
    for task in tasks:
        check_task(suite, task)
    most = min(len(initial_states(suite, task)) for task in tasks)
    return tuple(range(min(most, DEFAULT_INITS)))


def find_targets(suite: str, tasks: Sequence[int], names: Sequence[str]) -> Targets:
    """The objects to ask for in each task, as `SweepPlan.targets` has them.

    Args:
        names: of objects, for example "milk_1", or `OTHERS`; none asks for each task's own.

    Raises:
        TutorialError: a task's scene has no such object that could be put into its basket.
    """
    if not names:
        return {}
    found: Targets = {}
    for task in tasks:
        targets: list[str] = []
        objects = scene_objects(suite, task)
        own = _definition(suite, task, "obj_of_interest").split()
        for name in names:
            if name == OTHERS:
                targets += [other for other in objects if other not in own]
            elif name in objects:
                targets.append(name)
            else:
                raise unknown("target", name, objects, f"These are in {suite}, task {task}.")
        found[task] = _once(targets)
    return found


def scene_objects(suite: str, task: int) -> tuple[str, ...]:
    """Objects that could lie in the basket of a task's scene, if it has one, in their order."""
    objects = re.findall(r"(\w+) - ", _definition(suite, task, "objects"))
    return tuple(name for name in objects if BASKET in objects and name != BASKET)


def _definition(suite: str, task: int, part: str) -> str:
    """One part of the task's BDDL file, for example what stands in "(:objects …)"."""
    text = check_task(suite, task).bddl.read_text(encoding="utf-8")
    found = re.search(rf"\(:{part}(.*?)\)", text, re.DOTALL)
    return found[1] if found else ""


def _once(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


PRACTICE_SEED = 20_000
"""First seed of "practice". Training draws its seeds from [0, 2⁶²), so these layouts are new."""

_TASKS = tuple(range(10))
_OBJECT = SweepPlan(EpisodeSpec("libero_object"), _TASKS, tuple(range(20)))
_PRACTICE_INITS = tuple(range(PRACTICE_SEED, PRACTICE_SEED + 10))

PLANS: dict[str, SweepPlan] = {
    # The published protocol: every saved initial state.
    "official": replace(_OBJECT, inits=tuple(range(50))),
    # LIBERO-PRO's suite with the target in another object's place.
    "swap": replace(_OBJECT, spec=EpisodeSpec("libero_object_swap")),
    # Each of the five other objects of each scene is asked for; `named_plan` adds these targets.
    "named": replace(_OBJECT, inits=tuple(range(4))),
    "no_flip": replace(_OBJECT, conditions=("no_flip",)),
    "wrong_prompt": replace(_OBJECT, conditions=("wrong_prompt",)),
    "wrong_unnorm_key": replace(_OBJECT, conditions=("wrong_unnorm_key",)),
    # Random layouts: while training, the saved states are kept for the final figure.
    "practice": replace(_OBJECT, inits=_PRACTICE_INITS, starts="layouts"),
}
"""The sweeps whose figures say how good a checkpoint of `mini` is. The first here runs first."""


def named_plan(
    name: str, tasks: Sequence[int] = _TASKS, inits: Sequence[int] | None = None, **changes: Any
) -> SweepPlan:
    """One of `PLANS`, for some of its episodes; raises a TutorialError if there is no such plan.

    Args:
        inits: in place of the plan's own; "practice" counts them from `PRACTICE_SEED`.
        changes: of the plan's `EpisodeSpec`, for example `checkpoint`.
    """
    if name not in PLANS:
        raise unknown("plan", name, PLANS)
    plan = PLANS[name]
    plan = replace(plan, spec=replace(plan.spec, **changes), tasks=tuple(tasks))
    if inits is not None:
        first = PRACTICE_SEED if name == "practice" else 0
        plan = replace(plan, inits=tuple(first + k for k in inits))
    if name == "named":
        plan = replace(plan, targets=find_targets(plan.spec.suite, plan.tasks, [OTHERS]))
    return plan
