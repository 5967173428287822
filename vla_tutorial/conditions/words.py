"""Sentences that ask for a goal: some to train with, and others kept for evaluation.

They come from templates, which name slots in braces. The goal says which words fill a slot; a slot
that it does not name is filled by the words of that name.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from vla_tutorial.conditions.goals import Goal, words_data

Kind = Literal["verb", "noun", "order", "all"]
"""What a held-out sentence has that no trained one has: see `HeldOut`."""

TRAINED = 200
"""Sentences a goal to train with, at most: a seeded sample of what the templates can say."""

HELD_OUT_OF_A_KIND = 5

_Part = Kind | Literal["trained"]

_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 40
"""Draws for each sentence wanted; what was drawn before is drawn again in vain."""


@dataclass(frozen=True)
class HeldOut:
    """A sentence for evaluation alone.

    Attributes:
        sentence: in lower case, without a full stop.
        kind: what it has that trained sentences have not. "verb": each of its verbs. "noun": at
            least one noun or place. "order": the order in which things are mentioned. "all": verbs,
            nouns and order at once. What is not new is as plain as in the published sentence.
    """

    sentence: str
    kind: Kind


@cache
def trained_sentences(goal: Goal) -> tuple[str, ...]:
    """Distinct sentences to train with, `TRAINED` at most; the first is the published one.

    A goal that no task has begins with its plainest sentence, if LIBERO-PRO does not evaluate with
    it. The same goal always gives the same sentences.
    """
    refused = words_data().evaluation_only
    first = _published().get(goal, _plain(goal))
    drawn = _draw(goal, "trained", TRAINED, {first, *refused})
    if first in refused:
        return drawn
    return (first, *drawn[: TRAINED - 1])


@cache
def held_out_sentences(goal: Goal) -> tuple[HeldOut, ...]:
    """Twenty sentences for evaluation, five of each kind, the kinds in turn."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    refused = {_plain(goal)}
    drawn = [_draw(goal, kind, HELD_OUT_OF_A_KIND, refused) for kind in kinds]
    found: list[HeldOut] = []
    for sentences in zip(*drawn, strict=True):
        found += map(HeldOut, sentences, kinds)
    return tuple(found)


def drop_words(sentence: str, share: float, rng: random.Random) -> str:
    """The sentence without each of its words with probability `share`; it may become empty."""
    kept = [word for word in sentence.split() if rng.random() >= share]
    return " ".join(kept)


@cache
def _published() -> dict[Goal, str]:
    found: dict[Goal, str] = {}
    for tasks in words_data().tasks.values():
        for task in tasks:
            found[task.asked()] = task.instruction
    return found


def _draw(goal: Goal, part: _Part, count: int, refused: Collection[str]) -> tuple[str, ...]:
    """Up to `count` distinct sentences that are not refused, from each template in turn."""
    rng = random.Random(f"{goal.name} {goal.slots} {part}")
    templates = _templates(goal, part)
    found: dict[str, None] = {}
    for number in range(count * _TRIES):
        template = templates[number % len(templates)]
        sentence = _fill(template, goal, part, rng, {})
        if sentence not in refused:
            found[sentence] = None
        if len(found) == count:
            break
    return tuple(found)


def _plain(goal: Goal) -> str:
    says = words_data().goals[goal.name].says
    return _fill(says, goal, "order", random.Random(0), {})


def _templates(goal: Goal, part: _Part) -> Sequence[str]:
    own = words_data().goals[goal.name]
    templates = words_data().templates[own.templates]
    match part:
        case "trained" | "verb":
            return templates.trained
        case "noun":
            return [own.says]
        case "order":
            return templates.held_out
        case "all":
            return [template for template in templates.held_out if _has_verb(template)]


def _has_verb(template: str) -> bool:
    return not words_data().verbs.keys().isdisjoint(_SLOT.findall(template))


def _fill(
    template: str,
    goal: Goal,
    part: _Part,
    rng: random.Random,
    chosen: dict[str, str],
) -> str:
    """The template with words in its slots, the same words wherever a slot stands again."""

    def words(slot: re.Match[str]) -> str:
        name = goal.words(slot[1])
        if name not in chosen:
            text = rng.choice(_texts(name, part))
            chosen[name] = _fill(text, goal, part, rng, chosen)
        return chosen[name]

    return _SLOT.sub(words, template)


def _texts(name: str, part: _Part) -> Sequence[str]:
    """The texts of which one fills a slot."""
    known = words_data()
    is_verb = name in known.verbs
    texts = (known.verbs | known.nouns | known.prepositions)[name]
    plainest = texts.trained[:1]
    match part:
        case "trained":
            return texts.trained
        case "verb":
            return texts.held_out if is_verb else plainest
        case "noun":
            return plainest + texts.held_out
        case "order":
            return texts.trained if is_verb else plainest
        case "all":
            return texts.held_out or plainest
