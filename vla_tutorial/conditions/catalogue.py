"""All named conditions, and what applying some of them means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vla_tutorial.conditions.condition import Boundary, Condition
from vla_tutorial.conditions.faults import FAULTS
from vla_tutorial.conditions.language import LANGUAGE, paraphrase
from vla_tutorial.conditions.shifts import CHANCE, SHIFTS, camera, light, noise, nudge
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

CATALOGUE: dict[str, Condition] = {c.name: c for c in (*FAULTS, *SHIFTS, *LANGUAGE, *CHANCE)}
"""Every condition by name, boundary by boundary, in the order of the chapter."""

_LEVELLED: list[Callable[[int], Condition]] = [camera, light, noise, nudge, paraphrase]
_FACTORIES = {factory.__name__: factory for factory in _LEVELLED}


def find_condition(name: str) -> Condition:
    """The condition called `name`.

    Raises:
        TutorialError: there is none: a level out of range, one that the catalogue does not hold, or
            a name that it does not know.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    family, _, level = name.rpartition("_")
    if family in _FACTORIES and level.lstrip("-").isdecimal():
        # It raises where the level is out of range.
        _FACTORIES[family](int(level))
        levels = ", ".join(c.name for c in families()[family])
        remedy = f"In Python, `apply` takes `conditions.{family}({level})` as well."
        raise TutorialError(f"The catalogue has no {name}, only {levels}. {remedy}")
    raise unknown("condition", name, CATALOGUE)


def families(boundary: Boundary | None = None) -> dict[str, list[Condition]]:
    """Family → its conditions, which differ in level or number; of one boundary, or of all."""
    found: dict[str, list[Condition]] = {}
    for condition in CATALOGUE.values():
        if boundary in (None, condition.boundary):
            found.setdefault(condition.family, []).append(condition)
    return found


def _settings(wiring: Wiring, scene: Scene) -> dict[str, object]:
    flat = {**vars(wiring), **vars(scene), **vars(scene.perturbation)}
    del flat["perturbation"]
    return flat


def changed_settings(
    condition: Condition, wiring: Wiring, scene: Scene
) -> dict[str, tuple[object, object]]:
    """What a condition changes: setting → (before, after)."""
    before = _settings(wiring, scene)
    after = _settings(*condition.change(wiring, scene))
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def check_needs(conditions: Sequence[str], policy: str, with_tokens: bool, chunk_size: int) -> None:
    """Raise a TutorialError if a condition cannot change anything for a policy.

    Args:
        conditions: names; those that the catalogue does not hold are left out.
        policy: its name, for the error.
        with_tokens: whether it answers with tokens; otherwise with actions.
        chunk_size: how many actions an answer has.
    """
    for name in conditions:
        needs = CATALOGUE[name].needs if name in CATALOGUE else None
        if needs == "tokens" and not with_tokens:
            what = f"{name!r} changes what tokens mean, and {policy} answers with actions"
            raise TutorialError(f"The condition {what}: it does not apply. Leave it out.")
        if needs == "chunks" and chunk_size < 2:
            what = f"{name!r} is for policies that answer with a chunk of actions"
            raise TutorialError(
                f"The condition {what}, and {policy} answers with one: it does not apply. "
                "Leave it out."
            )


def apply(
    conditions: Sequence[str | Condition], wiring: Wiring, scene: Scene
) -> tuple[Wiring, Scene]:
    """Apply conditions in turn.

    Args:
        conditions: names from the catalogue, or conditions of another level, such as `camera(12)`.

    Raises:
        TutorialError: a name is unknown or given twice, or two conditions change the same setting.
    """
    changed_by: dict[str, str] = {}
    result = (wiring, scene)
    for item in conditions:
        condition = find_condition(item) if isinstance(item, str) else item
        # Compared with the given pair: a condition that is named twice must be found too.
        for setting in changed_settings(condition, wiring, scene):
            if setting in changed_by:
                both = f"{changed_by[setting]!r} and {condition.name!r}"
                raise TutorialError(f"Conditions {both} both change {setting}; choose one of them.")
            changed_by[setting] = condition.name
        result = condition.change(*result)
    return result
