from dataclasses import replace

import pytest

from vla_tutorial import prompt
from vla_tutorial.errors import TutorialError
from vla_tutorial.wiring import Wiring

WIRING = Wiring(unnorm_key="libero_object")


@pytest.mark.parametrize(
    ("letter_case", "words"),
    [("lower", "pick up x"), ("as_given", "Pick Up x"), ("upper", "PICK UP X")],
)
def test_template_and_letter_case(letter_case, words):
    text = prompt.build(replace(WIRING, letter_case=letter_case), "Pick Up x").text
    assert text == f"In: What action should the robot take to {words}?\nOut:"


@pytest.mark.parametrize(
    ("ids", "empty_token", "expected"),
    [([1, 5], True, [1, 5, 29871]), ([1, 5, 29871], True, [1, 5, 29871]), ([1, 5], False, [1, 5])],
)
def test_empty_token(ids, empty_token, expected):
    assert (
        prompt.token_ids(prompt.Prompt("x", empty_token), lambda text: {"input_ids": ids})
        == expected
    )


def test_template_without_a_place_for_the_instruction():
    with pytest.raises(TutorialError, match=r"'What action\?'.*{instruction}"):
        Wiring(unnorm_key="libero_object", prompt_template="What action?")


@pytest.mark.parametrize(
    "template",
    [
        "{instruction} {",
        "} {instruction}",
        "{instruction} {task}",
        "{} {instruction}",
        "{instruction.x}",
        "{instruction!z}",
        "{instruction:q}",
        "{{instruction}}",
    ],
)
def test_templates_that_cannot_be_filled(template):
    with pytest.raises(TutorialError, match=r"prompt template.*{instruction}"):
        Wiring(unnorm_key="libero_object", prompt_template=template)


def test_doubled_braces_are_braces():
    wiring = Wiring(unnorm_key="libero_object", prompt_template="{{{instruction}}}")
    assert prompt.build(wiring, "Go {x}").text == "{go {x}}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("settle_steps", -1),
        ("max_steps", 0),
        ("camera_size", 0),
        ("frame_delay", -1),
        ("translation_gain", 0.0),
        ("translation_gain", float("inf")),
    ],
)
def test_impossible_wirings(name, value):
    with pytest.raises(TutorialError, match=f"{name} is {value}"):
        Wiring(unnorm_key="libero_object", **{name: value})


def test_unnorm_key_has_no_default():
    with pytest.raises(TypeError):
        Wiring()
