"""Other sentences for the same task, a sentence for another one, and none."""

from __future__ import annotations

from dataclasses import replace

from vla_tutorial.conditions.condition import Condition, scene_change
from vla_tutorial.conditions.goals import goal_of, into_basket
from vla_tutorial.conditions.words import held_out_sentences
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import read_data
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

UNRELATED = "turn on the stove"
"""An instruction of libero_goal: none of libero_object's scenes has a stove."""

_FILE = "paraphrases.json"
_FIRST_CLAIM = "“Put the soup can in the bin” costs 10 to 30 percentage points on task 0."


def kinds() -> tuple[str, ...]:
    """What each paraphrase changes, from number 1 on; the same for all tasks."""
    return tuple(read_data(_FILE)["kinds"])


def paraphrases(suite: str, task: int) -> tuple[str, ...]:
    """The paraphrases of a task's instruction, from number 1 on.

    Raises:
        TutorialError: none were written for this task.
    """
    suites = read_data(_FILE)["suites"]
    tasks = read_data(_FILE)["tasks"]
    if suite not in suites or not 0 <= task < len(tasks):
        known = f"tasks 0 … {len(tasks) - 1} of {', '.join(suites)}"
        raise TutorialError(f"No paraphrases of {suite} task {task}; expected {known}.")
    return tuple(tasks[task]["paraphrases"])


def paraphrase(number: int) -> Condition:
    """The instruction in other words, 1 … 8; what each changes is in `kinds`.

    Raises:
        TutorialError: there is no paraphrase of this number. Applying it raises as `paraphrases`.
    """
    count = len(kinds())
    if number not in range(1, count + 1):
        raise TutorialError(f"There is no paraphrase {number}; expected 1 … {count}.")

    def change(wiring: Wiring, scene: Scene) -> tuple[Wiring, Scene]:
        sentence = paraphrases(scene.suite, scene.task)[number - 1]
        return wiring, replace(scene, instruction=sentence)

    return Condition(
        f"paraphrase_{number}",
        "language",
        f"The instruction is in other words: {kinds()[number - 1]}.",
        change,
        claims=_FIRST_CLAIM if number == 1 else "",
        clip=number == 1,
    )


def _hold_out(wiring: Wiring, scene: Scene) -> tuple[Wiring, Scene]:
    """The sentence of the initial state's number; more states than sentences start over."""
    goal = goal_of(scene.suite, scene.task)
    if scene.target is not None:
        goal = into_basket(scene.target)
    sentences = held_out_sentences(goal)
    sentence = sentences[scene.init % len(sentences)].sentence
    return wiring, replace(scene, instruction=sentence)


LANGUAGE = (
    *(paraphrase(number) for number in range(1, len(kinds()) + 1)),
    Condition(
        "held_out_words",
        "language",
        "The instruction has verbs, nouns or an order that `mini` was not trained with. The "
        "initial state decides which sentence is used.",
        _hold_out,
        clip=False,
    ),
    Condition(
        "unrelated_instruction",
        "language",
        f"The instruction is “{UNRELATED}”, but there is no stove. A policy that still does the "
        "usual task does not listen.",
        scene_change(instruction=UNRELATED),
    ),
    Condition(
        "no_instruction",
        "language",
        "The scaffold has no instruction in it. So the policy has only the picture.",
        scene_change(instruction=""),
        clip=False,
    ),
)
