"""Named changes of the wiring or the scene, in one catalogue: the silent failures and their relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

Boundary = Literal["pixels", "prompt", "motion", "simulator"]
Change = Callable[[Wiring, Scene], tuple[Wiring, Scene]]


@dataclass(frozen=True)
class Condition:
    """A named change.

    Attributes:
        name: what the command line and the records call it.
        boundary: observation → pixels, instruction → prompt, tokens → motion, or the simulator's protocol.
        teaches: one sentence on what goes wrong.
        change: (Wiring, Scene) → the changed pair.
    """

    name: str
    boundary: Boundary
    teaches: str
    change: Change


def _wiring(**changes: object) -> Change:
    def change(wiring: Wiring, scene: Scene) -> tuple[Wiring, Scene]:
        return replace(wiring, **changes), scene  # type: ignore[arg-type]

    return change


_ALL = (
    Condition("no_flip", "pixels", "The picture stays as MuJoCo renders it: upside down and mirrored.", _wiring(orientation="raw")),
    Condition(
        "flip_only",
        "pixels",
        "The chapter's [::-1] alone: upright, but a mirror image of the training pictures, which were turned by 180°.",
        _wiring(orientation="flip_vertical"),
    ),
    Condition(
        "wrong_prompt",
        "prompt",
        "A sentence with the same meaning instead of the In:/Out: scaffold that the policy was trained with.",
        _wiring(prompt_template="What action should the robot take? {instruction}"),
    ),
    Condition(
        "wrong_unnorm_key",
        "motion",
        "Bins are turned into motion with Bridge's statistics (metres), so LIBERO's arm hardly moves; rotation and gripper look normal.",
        _wiring(unnorm_key="bridge_orig", embedded_statistics=True),
    ),
    Condition(
        "gripper_inverted", "motion", "The minus sign of the gripper's mapping is forgotten: open means close.", _wiring(gripper="inverted")
    ),
    Condition(
        "no_settle", "simulator", "The policy begins while the objects, which start inside the floor, still drop.", _wiring(settle_steps=0)
    ),
)

CATALOGUE: dict[str, Condition] = {c.name: c for c in _ALL}
"""Every condition by name, in the order of the chapter."""


def find(name: str) -> Condition:
    """The condition called `name`, or an error that lists all and suggests the nearest."""
    if name not in CATALOGUE:
        raise unknown("condition", name, CATALOGUE)
    return CATALOGUE[name]


def changed_settings(condition: Condition, wiring: Wiring, scene: Scene) -> dict[str, tuple[object, object]]:
    """What a condition changes: setting → (before, after)."""
    before = {**vars(wiring), **vars(scene)}
    after = {key: value for part in condition.change(wiring, scene) for key, value in vars(part).items()}
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def apply(names: Sequence[str], wiring: Wiring, scene: Scene) -> tuple[Wiring, Scene]:
    """Apply conditions one after the other.

    Raises:
        TutorialError: a name is unknown or given twice, or two conditions change the same setting.
    """
    owner: dict[str, str] = {}
    result = (wiring, scene)
    for condition in map(find, names):
        for setting in changed_settings(condition, wiring, scene):
            if setting in owner:
                raise TutorialError(f"Conditions {owner[setting]!r} and {condition.name!r} both change {setting}; choose one of them.")
            owner[setting] = condition.name
        result = condition.change(*result)
    return result
