"""What a condition is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

Boundary = Literal["pixels", "prompt", "motion", "simulator", "shift", "language", "chance"]
"""What a condition touches; `BOUNDARIES` says each in words."""

BOUNDARIES: dict[Boundary, str] = {
    "pixels": "From observation to pixels: the picture is changed before the policy sees it.",
    "prompt": "From instruction to prompt: the text around the same instruction is changed.",
    "motion": "From tokens to motion: the policy's numbers are converted wrongly for the arm.",
    "simulator": "Simulator: its protocol or its version is changed.",
    "shift": "Distribution shift: the wiring is right, but the policy was not trained on such a "
    "scene.",
    "language": "Language: the wiring is right, but the instruction is another sentence.",
    "chance": "Chance: the same episode runs with slightly different physics.",
}
"""Code can get the first four wrong. The last three cause trouble although the script is right."""

Needs = Literal["tokens", "chunks"]
"""What a policy must answer with for some conditions to change anything."""

Change = Callable[[Wiring, Scene], tuple[Wiring, Scene]]

PUBLISHED = "published"
"""The name that stands for no condition at all."""


@dataclass(frozen=True)
class Condition:
    """A named change of one setting, or of a few that belong together.

    Attributes:
        name: what the command line and the records call it; a level or number stands at its end.
        boundary: what it touches.
        teaches: one sentence on what goes wrong, for all levels alike.
        change: (Wiring, Scene) → the changed pair.
        level: how strong it is, in `unit`, where there are several strengths.
        unit: the unit of `level`, as it is written behind a number.
        claims: what section 2.4 says of it, in our words; "" where it says nothing.
        seen_in: addresses of reports of real code with this fault.
        clip: whether the player has recorded episodes of it.
        needs: what a policy must answer with for it to apply; None where it applies to all.
    """

    name: str
    boundary: Boundary
    teaches: str
    change: Change
    level: float | None = None
    unit: str = ""
    claims: str = ""
    seen_in: tuple[str, ...] = ()
    clip: bool = True
    needs: Needs | None = None

    @property
    def family(self) -> str:
        """The name without the level or number: "camera" for "camera_15"."""
        return re.sub(r"_-?\d+(\.\d+)?$", "", self.name)


def wiring_change(**changes: Any) -> Change:
    """Replace settings of the wiring."""
    return lambda wiring, scene: (replace(wiring, **changes), scene)


def scene_change(**changes: Any) -> Change:
    """Replace settings of the scene."""
    return lambda wiring, scene: (wiring, replace(scene, **changes))


def perturbation_change(**changes: Any) -> Change:
    """Replace settings of the scene's perturbation."""

    def change(wiring: Wiring, scene: Scene) -> tuple[Wiring, Scene]:
        return wiring, replace(scene, perturbation=replace(scene.perturbation, **changes))

    return change
