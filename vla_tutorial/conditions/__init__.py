"""Named changes of the wiring or the scene, in one catalogue: the silent failures, distribution shift, language and chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vla_tutorial.conditions.condition import BOUNDARIES, PUBLISHED, Boundary, Change, Condition
from vla_tutorial.conditions.faults import FAULTS
from vla_tutorial.conditions.language import LANGUAGE, paraphrase
from vla_tutorial.conditions.shifts import CHANCE, SHIFTS, camera, light, noise, nudge
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

__all__ = [
    "BOUNDARIES",
    "CATALOGUE",
    "PUBLISHED",
    "Boundary",
    "Change",
    "Condition",
    "apply",
    "camera",
    "changed_settings",
    "families",
    "find",
    "light",
    "noise",
    "nudge",
    "paraphrase",
]

CATALOGUE: dict[str, Condition] = {c.name: c for c in (*FAULTS, *SHIFTS, *LANGUAGE, *CHANCE)}
"""Every condition by name, boundary by boundary, in the order of the chapter."""

_FACTORIES: dict[str, Callable[[int], Condition]] = {
    "camera": camera,
    "light": light,
    "noise": noise,
    "nudge": nudge,
    "paraphrase": paraphrase,
}


def find(name: str) -> Condition:
    """The condition called `name`.

    Raises:
        TutorialError: there is none: a level out of range, one that the catalogue does not hold, or a name that it does not know.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    family, _, level = name.rpartition("_")
    if family in _FACTORIES and level.lstrip("-").isdecimal():
        _FACTORIES[family](int(level))  # says so when it is out of range
        levels = ", ".join(c.name for c in families()[family])
        raise TutorialError(
            f"The catalogue has no {name}, only {levels}. In Python, `apply` takes `conditions.{family}({level})` as well."
        )
    raise unknown("condition", name, CATALOGUE)


def families(boundary: Boundary | None = None) -> dict[str, list[Condition]]:
    """Conditions that differ in level or number only, together: family → members; of one boundary or of all."""
    found: dict[str, list[Condition]] = {}
    for condition in CATALOGUE.values():
        if boundary in (None, condition.boundary):
            found.setdefault(condition.family, []).append(condition)
    return found


def _settings(wiring: Wiring, scene: Scene) -> dict[str, object]:
    flat = {key: value for key, value in vars(scene).items() if key != "perturbation"}
    return {**vars(wiring), **flat, **vars(scene.perturbation)}


def changed_settings(
    condition: Condition, wiring: Wiring, scene: Scene
) -> dict[str, tuple[object, object]]:
    """What a condition changes: setting → (before, after)."""
    before, after = _settings(wiring, scene), _settings(*condition.change(wiring, scene))
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def apply(
    conditions: Sequence[str | Condition], wiring: Wiring, scene: Scene
) -> tuple[Wiring, Scene]:
    """Apply conditions one after the other.

    Args:
        conditions: names from the catalogue, or conditions of another level, for example `camera(12)`.

    Raises:
        TutorialError: a name is unknown or given twice, or two conditions change the same setting.
    """
    owner: dict[str, str] = {}
    result = (wiring, scene)
    for condition in (find(c) if isinstance(c, str) else c for c in conditions):
        for setting in changed_settings(condition, wiring, scene):
            if setting in owner:
                raise TutorialError(
                    f"Conditions {owner[setting]!r} and {condition.name!r} both change {setting}; choose one of them."
                )
            owner[setting] = condition.name
        result = condition.change(*result)
    return result
