"""Named changes of the wiring or the scene: the silent failures, shift, language and chance."""

from vla_tutorial.conditions.catalogue import (
    CATALOGUE,
    apply,
    changed_settings,
    families,
    find_condition,
)
from vla_tutorial.conditions.condition import BOUNDARIES, PUBLISHED, Boundary, Change, Condition
from vla_tutorial.conditions.language import paraphrase
from vla_tutorial.conditions.shifts import camera, light, noise, nudge

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
    "find_condition",
    "light",
    "noise",
    "nudge",
    "paraphrase",
]
