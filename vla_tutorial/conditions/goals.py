"""What a sentence may ask for, and the words for it in `data/words.json`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import msgspec

from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.files import read_data


@dataclass(frozen=True)
class Goal:
    """What a sentence asks for.

    Attributes:
        name: a key of `goals` in words.json, for example "in_basket".
        slots: (slot, words) for slots that the goal leaves open or that differ from its own. Words
            are named as LIBERO's categories where there is one: ("object", "milk").

    Raises:
        TutorialError: words.json has no such goal or no such words.
    """

    name: str
    slots: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what words.json does not have."""
        known = words_data()
        if self.name not in known.goals:
            raise unknown("goal", self.name, known.goals)
        for _, words in self.slots:
            if words not in known.nouns:
                raise unknown("thing", words, known.nouns)

    def words(self, slot: str) -> str:
        """The name of the words that fill a slot, for example "milk" for "object"."""
        own = words_data().goals[self.name].slots
        filled = own | dict(self.slots)
        return filled.get(slot, slot)


def goal_of(suite: str, task: int) -> Goal:
    """The goal of a task of libero_spatial, libero_object, libero_goal or libero_10.

    LIBERO-PRO's `_swap`, `_object` and `_lan` suites have the goals of the suite that they vary.

    Raises:
        TutorialError: there are no words for this task; `_task` suites ask for other goals.
    """
    tasks = words_data().tasks
    variants = words_data().variants
    base, _, variant = suite.rpartition("_")
    if suite not in tasks and variant in variants:
        suite = base
    if suite not in tasks or not 0 <= task < len(tasks[suite]):
        endings = ", ".join(f"_{ending}" for ending in variants)
        known = f"tasks 0 … 9 of {', '.join(tasks)}, or of these with {endings}"
        raise TutorialError(f"No sentences for {suite} task {task}; expected {known}.")
    return tasks[suite][task].asked()


def into_basket(*objects: str) -> Goal:
    """One object in the basket, as in libero_object, or two in this order, as in libero_10.

    Objects are LIBERO's categories or instances: "milk" or "milk_1". A sentence for two names the
    first before the second. A TutorialError refuses unknown objects, and more than two.
    """
    names = [re.sub(r"_\d+$", "", thing) for thing in objects]
    if len(names) == 1:
        return Goal("in_basket", (("object", names[0]),))
    if len(names) == 2:
        first, second = names
        return Goal("both_in_basket", (("first", first), ("second", second)))
    raise TutorialError(f"Sentences ask for 1 or 2 objects in the basket, not {len(names)}.")


def bowl_places() -> tuple[str, ...]:
    """Where libero_spatial's bowl may stand, task by task, for example "next_to_ramekin"."""
    tasks = words_data().tasks["libero_spatial"]
    return tuple(task.slots["spot"] for task in tasks)


def bowl_on_plate(place: str) -> Goal:
    """The bowl that stands at a place of `bowl_places()`, on the plate."""
    if place not in bowl_places():
        raise unknown("place of the bowl", place, bowl_places())
    return Goal("bowl_on_plate", (("spot", place),))


class Texts(msgspec.Struct):
    """What may stand in a slot, or the templates of a goal."""

    trained: list[str]
    held_out: list[str] = []


class GoalWords(msgspec.Struct):
    """A goal: its templates' name, its plainest template, and slot → words."""

    templates: str
    says: str
    slots: dict[str, str]


class LiberoTask(msgspec.Struct):
    """One of LIBERO's tasks: its published sentence, its goal and what fills the goal's slots."""

    instruction: str
    goal: str
    slots: dict[str, str]

    def asked(self) -> Goal:
        """The task's goal."""
        return Goal(self.goal, tuple(self.slots.items()))


class Words(msgspec.Struct):
    """words.json: texts by name, templates by name, goals by name, and tasks by suite.

    Attributes:
        variants: endings of LIBERO-PRO's suites that keep the goals, without the underscore.
        evaluation_only: sentences that templates could make and training must not see.
    """

    verbs: dict[str, Texts]
    nouns: dict[str, Texts]
    prepositions: dict[str, Texts]
    templates: dict[str, Texts]
    goals: dict[str, GoalWords]
    tasks: dict[str, list[LiberoTask]]
    variants: list[str]
    evaluation_only: list[str]


@cache
def words_data() -> Words:
    """What words.json holds; only to be read."""
    return msgspec.convert(read_data("words.json"), Words)
