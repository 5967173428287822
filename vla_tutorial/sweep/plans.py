"""Named plans: the sweeps whose figures say how good a checkpoint of `mini` is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vla_tutorial.errors import unknown
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.plan import OTHERS, SweepPlan, find_targets

PRACTICE_SEED = 20_000
"""First seed of "practice". Training draws its seeds from [0, 2⁶²), so these layouts are new."""

_TASKS = tuple(range(10))
_OBJECT = SweepPlan(EpisodeSpec("libero_object"), _TASKS, tuple(range(20)))

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
    "practice": replace(
        _OBJECT, inits=tuple(range(PRACTICE_SEED, PRACTICE_SEED + 10)), starts="layouts"
    ),
}
"""Every plan by name. What comes first here runs first."""


def named_plan(
    name: str, tasks: Sequence[int] = _TASKS, inits: Sequence[int] | None = None, **changes: Any
) -> SweepPlan:
    """One of `PLANS`, for some of its episodes.

    Args:
        inits: in place of the plan's own; "practice" counts them from `PRACTICE_SEED`.
        changes: of the plan's `EpisodeSpec`, for example `checkpoint`.

    Raises:
        TutorialError: there is no such plan.
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
