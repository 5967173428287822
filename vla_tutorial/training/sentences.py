"""The families of sentences that training draws from: for each thing to do, many ways to ask."""

from __future__ import annotations

import hashlib
import itertools
import random
from functools import cache

from vla_tutorial.conditions import words
from vla_tutorial.conditions.goals import Goal, goal_of, into_basket
from vla_tutorial.errors import unknown
from vla_tutorial.scene import put_both_sentence
from vla_tutorial.sim.protocol import task_instructions

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
"""Whose scenes `mini` learns. Its tokens are made for each suite's own action statistics."""

_PANTRY = (
    "alphabet_soup_1", "cream_cheese_1", "tomato_sauce_1", "ketchup_1", "orange_juice_1", "milk_1",
    "butter_1",
)  # fmt: skip
"""What stands beside the basket in libero_10: any two may be asked for (`sim/long_layouts.py`)."""

_DAMAGED = 40
"""Damaged sentences a family. They teach that a word may be missing or unknown."""

_SYLLABLES = ("ba", "do", "ki", "lum", "mer", "no", "pel", "ras", "su", "tan", "vo", "zig")


@cache
def _goals() -> dict[str, Goal]:
    """The sentence in the benchmark's form → what it asks for, of all that layouts ask for."""
    found = {}
    for suite in SUITES:
        for task, sentence in enumerate(task_instructions(suite)):
            found[sentence] = goal_of(suite, task)
    for first, second in itertools.permutations(_PANTRY, 2):
        found.setdefault(put_both_sentence(first, second), into_basket(first, second))
    return found


@cache
def _numbers() -> dict[str, int]:
    return {sentence: number for number, sentence in enumerate(_goals())}


def family_number(instruction: str) -> int:
    """The number of a family, given its sentence in the benchmark's form."""
    try:
        return _numbers()[instruction]
    except KeyError:
        raise unknown("instruction of training", instruction, _goals()) from None


@cache
def families() -> tuple[tuple[str, ...], ...]:
    """The sentences of every family by its number, the benchmark's first, the damaged ones last."""
    found = []
    for sentence, goal in _goals().items():
        rng = random.Random(sentence)
        trained = [text for text in words.trained_sentences(goal) if text != sentence]
        damaged = [_damaged(rng.choice([sentence, *trained]), rng) for _ in range(_DAMAGED)]
        found.append((sentence, *trained, *damaged))
    return tuple(found)


def fingerprint() -> str:
    """Sixteen hexadecimal digits that change with any sentence of training, or their order.

    A checkpoint says in its config.json which sentences it was trained on.
    """
    digest = hashlib.sha256()
    for sentences in families():
        digest.update("\n".join((*sentences, "", "")).encode())
    return digest.hexdigest()[:16]


def all_sentences() -> tuple[str, ...]:
    """Every sentence of every family but the damaged ones."""
    return tuple(text for sentences in families() for text in sentences[:-_DAMAGED])


def _damaged(sentence: str, rng: random.Random) -> str:
    """The sentence with a word missing, or replaced by one that does not exist."""
    parts = sentence.split()
    at = rng.randrange(len(parts))
    invented = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3)))
    parts[at : at + 1] = rng.choice([[], [invented]])
    return " ".join(parts)
