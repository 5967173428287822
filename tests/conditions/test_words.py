"""Sentences for training and sentences for evaluation: published ones kept, nothing in both, nothing ambiguous."""

import random
import re
from collections import Counter
from itertools import permutations

import pytest

from vla_tutorial.conditions import (
    Goal,
    apply,
    bowl_on_plate,
    bowl_places,
    drop_words,
    goal_of,
    held_out_sentences,
    into_basket,
    trained_sentences,
)
from vla_tutorial.conditions.language import kinds, paraphrases
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import read_data
from vla_tutorial.scene import Scene, pick_up_sentence
from vla_tutorial.sim import task_instructions
from vla_tutorial.wiring import Wiring

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
TASKS = [(suite, task) for suite in SUITES for task in range(10)]
OBJECTS = (
    "alphabet_soup",
    "cream_cheese",
    "salad_dressing",
    "bbq_sauce",
    "ketchup",
    "tomato_sauce",
    "butter",
    "milk",
    "chocolate_pudding",
    "orange_juice",
)
"""libero_object's, in the order of its tasks."""

LIVING_ROOM = OBJECTS[:2] + OBJECTS[4:8] + OBJECTS[9:]
"""On the table of libero_10's tasks 0 and 1; task 7 has the first two, ketchup and tomato sauce."""

PAIRS = [into_basket(*pair) for pair in permutations(LIVING_ROOM, 2)]
GOALS = list(dict.fromkeys([*(goal_of(*where) for where in TASKS), *PAIRS]))
WORDS = read_data("words.json")


@pytest.fixture(scope="module")
def trained():
    """Every sentence that training may draw, whatever it asks for."""
    return {sentence for goal in GOALS for sentence in trained_sentences(goal)}


def slots(template):
    return tuple(re.findall(r"\{(\w+)\}", template))


def words_of(goals):
    sentences = [sentence for goal in goals for sentence in trained_sentences(goal)]
    return set(re.findall(r"[\w-]+", " ".join(sentences)))


@pytest.mark.parametrize("suite", SUITES)
def test_the_first_trained_sentence_is_the_published_one(suite):
    first = [trained_sentences(goal_of(suite, task))[0] for task in range(10)]
    assert first == list(task_instructions(suite))


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_each_goal_has_enough_sentences(goal):
    sentences = trained_sentences(goal)
    assert 60 <= len(sentences) == len(set(sentences)) <= 300
    held_out = held_out_sentences(goal)
    assert len({h.sentence for h in held_out}) == 20
    assert Counter(h.kind for h in held_out) == dict.fromkeys(("verb", "noun", "order", "all"), 5)
    assert len({h.kind for h in held_out[:4]}) == 4, "the kinds take turns"


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_sentences_are_plain_lower_case_text(goal):
    for sentence in (*trained_sentences(goal), *(h.sentence for h in held_out_sentences(goal))):
        assert re.fullmatch(r"[a-z][a-z:,-]*( [a-z][a-z:,-]*)*", sentence), sentence
        assert not re.search(r"\b(\w+) \1\b|\ba [aeiou]", sentence), sentence


def test_no_trained_sentence_is_evaluated_with(trained):
    held_out = {h.sentence for goal in GOALS for h in held_out_sentences(goal)}
    assert trained.isdisjoint(held_out)
    for suite in SUITES:
        for variant in ("lan", "task"):
            assert trained.isdisjoint(task_instructions(f"{suite}_{variant}"))
    for number in range(len(kinds())):
        reworded = {paraphrases("libero_object", task)[number] for task in range(10)}
        assert trained.isdisjoint(reworded)


def test_no_held_out_verb_is_trained():
    known = words_of(GOALS)
    for name, verb in WORDS["verbs"].items():
        for text in verb["held_out"]:
            assert set(text.split()) - known, f"{name}: {text!r} has trained words alone"


@pytest.mark.parametrize("suite", SUITES)
def test_no_held_out_noun_is_trained_in_its_suite(suite):
    goals = [goal_of(suite, task) for task in range(10)] + PAIRS * (suite == "libero_10")
    known = words_of(goals)
    for goal in goals:
        for h in held_out_sentences(goal):
            new = set(re.findall(r"[\w-]+", h.sentence)) - known
            assert new or h.kind == "order", f"{h} has trained words alone"


@pytest.mark.parametrize("family", WORDS["templates"].values(), ids=list(WORDS["templates"]))
def test_held_out_orders_are_not_trained(family):
    held_out = {slots(template) for template in family["held_out"]}
    assert len(family["held_out"]) >= 5
    assert held_out.isdisjoint(slots(template) for template in family["trained"])


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_held_out_verbs_stand_where_the_kind_says(goal):
    verbs = {text for verb in WORDS["verbs"].values() for text in verb["held_out"]}
    for h in held_out_sentences(goal):
        new_verb = any(re.search(rf"\b{verb}\b", h.sentence) for verb in verbs)
        assert new_verb == (h.kind in ("verb", "all")), h


@pytest.mark.parametrize("suite", SUITES)
def test_no_sentence_fits_two_tasks_of_a_suite(suite):
    told = Counter()
    for task in range(10):
        goal = goal_of(suite, task)
        told.update({*trained_sentences(goal), *(h.sentence for h in held_out_sentences(goal))})
    assert max(told.values()) == 1


def test_no_sentence_fits_two_goals_that_training_exchanges():
    for goals in (PAIRS, [into_basket(name) for name in OBJECTS]):
        told = Counter()
        for goal in goals:
            told.update({*trained_sentences(goal), *(h.sentence for h in held_out_sentences(goal))})
        assert max(told.values()) == 1


def test_libero_objects_goals_are_any_object_in_the_basket():
    for task, name in enumerate(OBJECTS):
        assert into_basket(f"{name}_1") == into_basket(name) == goal_of("libero_object", task)
        assert trained_sentences(into_basket(name))[0] == pick_up_sentence(f"{name}_1")


def test_two_objects_in_the_basket_are_named_in_their_order():
    assert into_basket("cream_cheese_1", "butter_1") == goal_of("libero_10", 1)
    one, other = into_basket("milk", "ketchup"), into_basket("ketchup", "milk")
    assert "put both the milk and the ketchup in the basket" in trained_sentences(one)
    for goal, first, second in ((one, "milk", "ketchup"), (other, "ketchup", "milk")):
        for sentence in trained_sentences(goal):
            assert sentence.index(first) < sentence.index(second)


def test_libero_spatials_goals_are_the_bowl_at_any_place():
    assert len(set(bowl_places())) == 10
    for task, place in enumerate(bowl_places()):
        assert bowl_on_plate(place) == goal_of("libero_spatial", task)


@pytest.mark.parametrize("variant", ["swap", "object", "lan"])
def test_variants_have_the_goals_of_their_suite(variant):
    for suite in SUITES:
        assert goal_of(f"{suite}_{variant}", 3) == goal_of(suite, 3)


@pytest.mark.parametrize(
    ("suite", "task"), [("libero_object_task", 0), ("libero_90", 0), ("libero_10", 10)]
)
def test_other_tasks_are_refused(suite, task):
    with pytest.raises(TutorialError, match=f"{suite} task {task}; expected tasks 0 … 9"):
        goal_of(suite, task)


def test_wrong_goals_are_refused():
    with pytest.raises(TutorialError, match=r"'mlik'.*'milk'"):
        into_basket("mlik_1")
    with pytest.raises(TutorialError, match="1 or 2 objects"):
        into_basket("milk", "butter", "ketchup")
    with pytest.raises(TutorialError, match="place of the bowl 'on_fridge'"):
        bowl_on_plate("on_fridge")
    with pytest.raises(TutorialError, match="goal 'in_baskt'"):
        Goal("in_baskt")


def test_every_word_and_template_is_used():
    used = set()
    for goal in GOALS:
        entry = WORDS["goals"][goal.name]
        family = WORDS["templates"][entry["templates"]]
        texts = [entry["says"], *family["trained"], *family["held_out"]]
        while texts:
            for name in map(goal.words, slots(texts.pop())):
                used.add(name)
                filled = next(
                    WORDS[part][name]
                    for part in ("verbs", "nouns", "prepositions")
                    if name in WORDS[part]
                )
                texts += [t for t in (*filled["trained"], *filled.get("held_out", ())) if "{" in t]
    assert used == {*WORDS["verbs"], *WORDS["nouns"], *WORDS["prepositions"]}
    assert {goal.name for goal in GOALS} == WORDS["goals"].keys()


def test_sentences_do_not_change_by_themselves():
    """They decide what a sweep asked, so another draw is another condition."""
    goal = goal_of("libero_object", 7)
    assert trained_sentences(goal)[:3] == (
        "pick up the milk and place it in the basket",
        "get the milk and place it into the basket",
        "take the milk, then put it in the wicker basket",
    )
    assert [h.sentence for h in held_out_sentences(goal)[:4]] == [
        "lift the milk and set it in the basket",
        "pick up the fresh milk and place it in the bin",
        "in the basket, put the milk",
        "in the bin, drop the milk container",
    ]


def test_dropped_words_leave_the_order():
    sentence = "pick up the milk and place it in the basket"
    assert drop_words(sentence, 0, random.Random(0)) == sentence
    assert drop_words(sentence, 1, random.Random(0)) == ""
    kept = drop_words(sentence, 0.5, random.Random(1)).split()
    assert 0 < len(kept) < 10
    rest = iter(sentence.split())
    assert all(word in rest for word in kept)


# The condition


@pytest.mark.parametrize("where", TASKS, ids=str)
def test_the_condition_takes_the_sentence_of_the_initial_state(where):
    sentences = [h.sentence for h in held_out_sentences(goal_of(*where))]
    for init in (0, 7, 49):
        scene = apply(["held_out_words"], Wiring(unnorm_key=where[0]), Scene(*where, init))[1]
        assert scene.instruction == sentences[init % 20]


def test_the_condition_asks_for_the_target_of_the_scene():
    scene = Scene("libero_object", 0, 3, target="milk_1")
    found = apply(["held_out_words"], Wiring(unnorm_key="libero_object"), scene)[1]
    assert found.instruction == held_out_sentences(into_basket("milk"))[3].sentence


def test_the_condition_refuses_goals_without_words():
    with pytest.raises(TutorialError, match="libero_goal_task"):
        apply(["held_out_words"], Wiring(unnorm_key="x"), Scene("libero_goal_task", 0, 0))
