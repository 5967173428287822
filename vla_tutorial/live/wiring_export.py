"""The published settings, the conditions and the statistics, as the page reads them.

Each condition is applied here, and what it changed is written down. So the page needs no code of
its own for any of them, and has those of the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import msgspec

from vla_tutorial.actions import (
    ActionStatistics,
    embedded_statistics,
    find_statistics,
    parse_statistics,
)
from vla_tutorial.conditions import CATALOGUE, Condition, changed_settings
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import native_key
from vla_tutorial.policies.suites import packaged_weights
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator, count_initial_states, initial_states
from vla_tutorial.spec import PUBLISHED_WIRING
from vla_tutorial.wiring import Wiring

AT_RESET = frozenset({"settle_steps", "max_steps", "distractors", "joint_noise_seed"})
"""Settings that act at an episode's start. All others may change between two control steps."""

_ONE_ACTION = (
    "It is for policies that answer with several actions at once, and mini answers with one. "
    "Python has it for such policies, for example --policy openpi."
)

UNSUPPORTED: Mapping[str, str] = {
    "mujoco": "The page has one version of MuJoCo.",
    "camera_size": "The page renders pictures of 256 × 256 pixels. Python renders any size.",
    "camera": "The page draws one camera's picture: its shapes are too coarse for the one at the "
    "wrist. Python draws both.",
    "realtime": "The page's simulator waits for each answer. Python's can go on meanwhile.",
    "replan_steps": _ONE_ACTION,
    "stale_chunks": _ONE_ACTION,
}
"""Settings that the page does not have, and why. A condition that changes one is not offered."""

DIFFERENCES: Mapping[str, str] = {
    "camera_noise": "The page draws its noise with another generator: the same distribution, "
    "other values.",
}
"""Settings that the page has, and in what they differ from Python's."""


class ConditionEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A condition in the manifest.

    Attributes:
        name, family, boundary, teaches, claims, level, unit: as `Condition` has them.
        changes: setting → its value, in the order of the dataclasses; without the instruction where
            `sentences` has it.
        sentences: task → instructions. Initial state i gets the one of number i modulo their count.
            None where the instruction stays or is the same everywhere.
        applies_at: "now" where it may change between two steps, or "reset".
        supported: whether the page can do it.
        note: why it cannot, or in what it differs from Python; "" where neither is so.
    """

    name: str
    family: str
    boundary: str
    teaches: str
    claims: str
    level: float | None
    unit: str
    changes: dict[str, Any]
    sentences: dict[str, list[str]] | None
    applies_at: Literal["now", "reset"]
    supported: bool
    note: str


class StatisticsEntry(msgspec.Struct, frozen=True):
    """What un-normalisation needs, as `ActionStatistics` has it."""

    q01: list[float]
    q99: list[float]
    mask: list[bool]
    extremes: list[list[float]] | None


class WiringEntry(msgspec.Struct, frozen=True):
    """Keys of a suite's entry in the manifest.

    Attributes:
        wiring, scene: the published settings, names as in `Wiring` and `Scene`.
        conditions: the catalogue, in its order.
    """

    wiring: dict[str, Any]
    scene: dict[str, Any]
    conditions: list[ConditionEntry]

    @property
    def keys(self) -> list[str]:
        """Keys of the action statistics that are asked for."""
        changes = [entry.changes for entry in self.conditions]
        return [self.wiring["unnorm_key"], *(c["unnorm_key"] for c in changes if "unnorm_key" in c)]


def export(
    suite: str = "libero_object", tasks: Sequence[int] = tuple(range(10)), policy: str = "mini"
) -> WiringEntry:
    """What the page must know of wiring, scene and conditions in a suite.

    Args:
        policy: whose action statistics the published settings name.

    Raises:
        TutorialError: the policy must not be run there, or a condition changes something that
            depends on the task or the initial state and is not the instruction.
    """
    wiring = Wiring(native_key(policy, suite))
    scene = Scene(suite, tasks[0], 0)
    scenes = {task: _starts(suite, task) for task in tasks}
    conditions = [_entry(condition, wiring, scenes) for condition in CATALOGUE.values()]
    return WiringEntry(asdict(wiring), asdict(scene), conditions)


def statistics(policy: str, keys: Sequence[str]) -> dict[str, StatisticsEntry]:
    """What a policy's tokens mean under the keys of `WiringEntry.keys`.

    Raises:
        TutorialError: a key is unknown.
    """
    known = {**embedded_statistics(), **_own_statistics(policy)}
    return {key: _statistics(find_statistics(key, known)) for key in dict.fromkeys(keys)}


def refusals(simulator: Simulator) -> dict[str, str]:
    """Conditions that do not apply to a task → why, as Python says it."""
    task = simulator.task
    state = initial_states(task.suite, task.index)[0]
    scene = Scene(task.suite, task.index, 0)
    found = {}
    for condition in CATALOGUE.values():
        try:
            _, changed = condition.change(PUBLISHED_WIRING, scene)
            simulator._perturber.start(changed.perturbation, state)
        except TutorialError as e:
            found[condition.name] = str(e)
    simulator._perturber.undo()
    return found


def _starts(suite: str, task: int) -> list[Scene]:
    count = count_initial_states(suite, task)
    return [Scene(suite, task, init) for init in range(count)]


def _own_statistics(policy: str) -> Mapping[str, ActionStatistics]:
    """What a small policy's weights bring, without loading them."""
    path = Path(str(packaged_weights(policy))) / "dataset_statistics.json"
    return parse_statistics(json.loads(path.read_bytes()), str(path))


def _statistics(found: ActionStatistics) -> StatisticsEntry:
    extremes = None if found.extremes is None else found.extremes.tolist()
    return StatisticsEntry(
        found.q01.tolist(),
        found.q99.tolist(),
        found.mask.tolist(),
        extremes,
    )


def _entry(
    condition: Condition, wiring: Wiring, scenes: Mapping[int, Sequence[Scene]]
) -> ConditionEntry:
    refusal = _refusal(condition, wiring, scenes)
    changes, sentences = ({}, None) if refusal else _changes(condition, wiring, scenes)
    reasons = [refusal] if refusal else []
    settings = set(changes) | ({"instruction"} if sentences else set())
    reasons += [UNSUPPORTED[name] for name in sorted(settings) if name in UNSUPPORTED]
    if not reasons and settings <= {"embedded_statistics"}:
        reasons = ["In this suite it changes nothing."]
    differences = [DIFFERENCES[name] for name in sorted(settings) if name in DIFFERENCES]
    return ConditionEntry(
        name=condition.name,
        family=condition.family,
        boundary=condition.boundary,
        teaches=condition.teaches,
        claims=condition.claims,
        level=condition.level,
        unit=condition.unit,
        changes=changes,
        sentences=sentences,
        applies_at="reset" if settings & AT_RESET else "now",
        supported=not reasons,
        note=" ".join(reasons or differences),
    )


def _refusal(condition: Condition, wiring: Wiring, scenes: Mapping[int, Sequence[Scene]]) -> str:
    """Why a suite cannot have a condition, as where there are no words for its tasks; or ""."""
    try:
        for starts in scenes.values():
            _after(condition, wiring, starts[0])
    except TutorialError as e:
        return str(e)
    return ""


def _changes(
    condition: Condition, wiring: Wiring, scenes: Mapping[int, Sequence[Scene]]
) -> tuple[dict[str, Any], dict[str, list[str]] | None]:
    """What a condition changes alike everywhere, and the sentences where they differ."""
    found: list[dict[str, Any]] = []
    sentences: dict[str, list[str]] = {}
    for task, starts in scenes.items():
        changed = [_after(condition, wiring, start) for start in starts]
        found += changed
        sentences[str(task)] = _period([one.get("instruction") for one in changed])
    if all(one == found[0] for one in found):
        return found[0], None
    rest = [{name: one[name] for name in one if name != "instruction"} for one in found]
    if any(one != rest[0] for one in rest):
        raise TutorialError(
            f"The condition {condition.name!r} changes settings that depend on the start, and the "
            "live page expects that of the instruction alone. Extend live/wiring_export.py."
        )
    return rest[0], sentences


def _after(condition: Condition, wiring: Wiring, scene: Scene) -> dict[str, Any]:
    changed = changed_settings(condition, wiring, scene)
    return {name: after for name, (_, after) in changed.items()}


def _period(sentences: list[Any]) -> list[Any]:
    """The shortest beginning that the list repeats."""
    for length in range(1, len(sentences)):
        if all(s == sentences[i % length] for i, s in enumerate(sentences)):
            return sentences[:length]
    return sentences
