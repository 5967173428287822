"""A fault that one hides for a partner."""

import re

import numpy as np
import pytest
from test_lab import FakePolicy, FakeSimulator

from vla_tutorial import lab
from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab import live
from vla_tutorial.lab.hide import _names


@pytest.fixture
def session():
    with live.Session(lambda spec: FakePolicy(), FakeSimulator) as made:
        yield made


@pytest.mark.parametrize(
    "names", [("no_flip",), ("wrong_prompt", "bgr"), ("second_can", "light_50", "no_flip")]
)
def test_a_code_word_holds_the_names_and_does_not_show_them(names):
    codes = {lab.hide(*names) for _ in range(5)}
    assert len(codes) == 5, "equal faults have unequal code words"
    for code in codes:
        assert re.fullmatch(r"[2-9A-Z]{3}(-[2-9A-Z]{4}){3}", code)
        assert set(_names(code.lower())) == set(names)


def test_what_cannot_be_hidden():
    for names in ((), ("no_flip", "no_flip"), tuple(list(CATALOGUE)[:4])):
        with pytest.raises(TutorialError, match="1 to 3"):
            lab.hide(*names)
    with pytest.raises(TutorialError, match="no_flip"):
        lab.hide("no_flipp")
    with pytest.raises(TutorialError, match="both change orientation"):
        lab.hide("no_flip", "flip_only")


@pytest.mark.parametrize("code", ["", "222-2222-2222-2222", "no_flip", None, 7, "x" * 500])
def test_a_code_word_that_hides_nothing_is_named(code, tmp_path):
    with pytest.raises(TutorialError, match="hides nothing"):
        lab.hidden(code, tmp_path / "a")


def test_the_partner_runs_it_unseen_guesses_and_is_told(tmp_path, session, monkeypatch):
    code = lab.hide("wrong_prompt")
    found = lab.hidden(code, tmp_path / "a", session=session, max_steps=3)
    said = found._repr_html_() + repr(found)
    assert "wrong_prompt" not in said and "What action should the robot take? pick" in said
    assert found.good.prompt.startswith("In: ")
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"steps.jsonl", "agentview.png"}
    assert "wrong_prompt" not in (tmp_path / "a/steps.jsonl").read_text()
    assert repr(found.guess("wrong_prompt")) == "2 of 2 points. It was: wrong_prompt (prompt)."
    assert found.guess("upper_case").points == 1, "the right boundary"
    assert found.guess("no_flip").points == found.guess().points == 0
    assert found.guess("wrong_prompt", "no_flip").points == 1
    with pytest.raises(TutorialError, match="Unknown condition 'prompt'"):
        found.guess("prompt")
    with pytest.raises(TutorialError, match="exists already"):
        lab.hidden(code, tmp_path / "a", session=session)
    assert np.shape(found.shown.picture) == (224, 224, 3)
