"""The sweeps that measure a policy of several suites: each suite, its LIBERO-PRO variants, words,
conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vla_tutorial.conditions.catalogue import CATALOGUE
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.policies import check_suite
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep.plan import PLANS, SweepPlan, named_plan

_SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
_TASKS = tuple(range(10))

VARIANTS = ("swap", "object", "lan", "task")
"""LIBERO-PRO's suites that come with saved states: other places, looks, words and goals."""

_DOZEN = (
    "no_flip", "no_center_crop", "bgr", "stale_frame", "wrong_prompt", "no_empty_token",
    "wrong_unnorm_key", "gripper_not_binarised", "camera_10", "light_50", "noise_10",
    "no_instruction",
)  # fmt: skip
"""Conditions that libero_10 is measured with, whose episodes take longest."""


def _plan(
    suite: str, inits: int, conditions: Sequence[str] = ("published",), policy: str = "mini"
) -> SweepPlan:
    spec = EpisodeSpec(suite, policy=policy)
    return SweepPlan(spec, _TASKS, tuple(range(inits)), tuple(conditions))


def _all_plans() -> dict[str, SweepPlan]:
    found = {suite: _plan(suite, 50) for suite in _SUITES}
    for suite in _SUITES:
        for variant in VARIANTS:
            found[f"{suite}_{variant}"] = _plan(f"{suite}_{variant}", 10)
    for suite in _SUITES:
        found[f"{suite}_words"] = _plan(suite, 10, ("held_out_words",))
    found["libero_object_conditions"] = _plan("libero_object", 2, tuple(CATALOGUE))
    found["libero_10_conditions"] = _plan("libero_10", 2, _DOZEN)
    return found


EVALUATION: Mapping[str, SweepPlan] = _all_plans()
"""Plans by name, beside `PLANS`."""


def _named(*ends: str) -> tuple[str, ...]:
    return tuple(f"{suite}{end}" for end in ends for suite in _SUITES)


GROUPS: Mapping[str, tuple[str, ...]] = {
    "suites": _SUITES,
    "pro": _named(*(f"_{variant}" for variant in VARIANTS)),
    "words": _named("_words"),
    "conditions": ("libero_object_conditions", "libero_10_conditions"),
    "all": tuple(EVALUATION),
}
"""Several plans under one name. Of a policy that knows one suite, those of that suite."""

NAMES = (*PLANS, *EVALUATION, *GROUPS)


def chosen_plans(
    names: Iterable[str],
    policy: str = "mini",
    tasks: Sequence[int] = _TASKS,
    inits: Sequence[int] | None = None,
    **changes: Any,
) -> dict[str, SweepPlan]:
    """The plans behind some names, each once, in the order of `NAMES`.

    Args:
        names: of `PLANS`, `EVALUATION` or `GROUPS`.
        policy: whose; of a group only plans remain that it can run (`policies.check_suite`).
        tasks: numbers within each suite.
        inits: in place of each plan's own.
        changes: of each plan's `EpisodeSpec`, for example `checkpoint`.

    Raises:
        TutorialError: there is no such name, or `policy` cannot run a plan that is named itself.
    """
    found: dict[str, SweepPlan] = {}
    for name in names:
        if name not in NAMES:
            raise unknown("plan", name, NAMES)
        for member in GROUPS.get(name, (name,)):
            plan = _one(member, policy, tasks, inits, changes)
            if name not in GROUPS:
                check_suite(policy, plan.spec.suite)
            if _can_run(policy, plan):
                found[member] = plan
    return {name: found[name] for name in NAMES if name in found}


def _one(
    name: str,
    policy: str,
    tasks: Sequence[int],
    inits: Sequence[int] | None,
    changes: Mapping[str, Any],
) -> SweepPlan:
    if name in PLANS:
        return named_plan(name, tasks, inits, policy=policy, **changes)
    plan = EVALUATION[name]
    spec = replace(plan.spec, policy=policy, **changes)
    return replace(plan, spec=spec, tasks=tuple(tasks), inits=tuple(inits or plan.inits))


def _can_run(policy: str, plan: SweepPlan) -> bool:
    try:
        check_suite(policy, plan.spec.suite)
    except TutorialError:
        return False
    return True
