"""Named changes of the wiring or the scene: the silent failures, shift, language and chance."""

from vla_tutorial.conditions.catalogue import (
    CATALOGUE,
    apply,
    changed_settings,
    check_needs,
    families,
    find_condition,
)
from vla_tutorial.conditions.condition import BOUNDARIES, PUBLISHED, Boundary, Change, Condition
from vla_tutorial.conditions.goals import Goal, bowl_on_plate, bowl_places, goal_of, into_basket
from vla_tutorial.conditions.language import paraphrase
from vla_tutorial.conditions.shifts import camera, light, noise, nudge
from vla_tutorial.conditions.words import (
    HeldOut,
    drop_words,
    held_out_sentences,
    trained_sentences,
)

__all__ = [
    "BOUNDARIES",
    "CATALOGUE",
    "PUBLISHED",
    "Boundary",
    "Change",
    "Condition",
    "Goal",
    "HeldOut",
    "apply",
    "bowl_on_plate",
    "bowl_places",
    "camera",
    "changed_settings",
    "check_needs",
    "drop_words",
    "families",
    "find_condition",
    "goal_of",
    "held_out_sentences",
    "into_basket",
    "light",
    "noise",
    "nudge",
    "paraphrase",
    "trained_sentences",
]
