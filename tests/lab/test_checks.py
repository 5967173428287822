"""The classroom's check cells: right answers are right, the usual mistakes get the fitting hint, and no hint gives the answer."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab import checks
from vla_tutorial.lab.unlabelled import (
    TASK,
    UNLABELLED,
    UnlabelledClip,
    UnlabelledEpisode,
    check_clip,
)
from vla_tutorial.log import log_of
from vla_tutorial.player.clips import write_clip_script
from vla_tutorial.wiring import Wiring


@pytest.fixture
def log(lines):
    commands = (-1, -1, 1, 1, -1, 1, -1)
    pairs = zip(lines, commands, strict=False)
    return log_of([{**line, "action": [0.0] * 6 + [float(c)]} for line, c in pairs])


@pytest.mark.parametrize(
    ("first", "times", "right", "hint"),
    [
        (2, 2, True, ""),
        (None, 2, False, "replace None"),
        (3, 2, False, "is there an earlier step"),
        (0, 2, False, "number is -1.0"),
        (99, 2, False, "number is None"),
        (2, 3, False, "not the steps that are closed"),
    ],
)
def test_reading_a_log(log, first, times, right, hint):
    result = checks.gripper_closes(log, first, times)
    assert result.right is right and hint in result.why


@pytest.mark.parametrize(
    ("turn", "hint"),
    [
        (lambda p: p, "Which way is up"),
        (lambda p: p[::-1], "Is left left"),
        (lambda p: p[:, ::-1], "up is still down"),
        (lambda p: p.transpose(1, 0, 2), "transposed"),
        (lambda p: p[..., ::-1], "red and blue"),
        (lambda p: p[:2], "shape"),
        (lambda p: None, "NoneType"),
        (lambda p: 1 / 0, "ZeroDivisionError"),
        (lambda p: np.roll(p, 1, 0), "other pixels"),
    ],
)
def test_mistakes_in_turning(turn, hint):
    result = checks.orientation(turn)
    assert not result.right and hint in result.why


def test_the_turn_by_180_degrees():
    assert checks.orientation(lambda p: pixels.orient(p, "rotate_180")).right


INSTRUCTION = "Pick up the milk and place it in the basket"
PROMPT = prompt.build(Wiring(unnorm_key="libero_object"), INSTRUCTION).text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (None, "replace None"),
        (PROMPT.replace("pick", "Pick"), "capital"),
        (PROMPT.replace("\n", " "), "spaces or line breaks"),
        ("In: What action?\nOut:", "instruction itself"),
        (PROMPT[:-4], "right up to character"),
        ("Q: " + PROMPT, "right up to character 0"),
    ],
)
def test_mistakes_in_the_prompt(text, hint):
    result = checks.prompt_text(text, INSTRUCTION)
    assert not result.right and hint in result.why
    assert PROMPT not in result.why


def test_the_prompt():
    assert checks.prompt_text(PROMPT, INSTRUCTION).right


def centre(token):
    return actions.BIN_CENTERS[min(31999 - token, 254)]


@pytest.mark.parametrize(
    ("decode", "hint"),
    [
        (lambda t, a, b: None, "returns nothing"),
        (lambda t, a, b: centre(t), "centre in [−1, 1]"),
        (lambda t, a, b: a + (b - a) * (t - 31744) / 255, "gives"),
        (lambda t, a, b: a + (b - a) * (31999 - t) / 255, "not its edge"),
        (lambda t, a, b: a + (b - a) * (31999.5 - t) / 255, "every token but the last"),
        (lambda t, a, b: t["x"], "TypeError"),
    ],
)
def test_mistakes_in_decoding(decode, hint):
    result = checks.decoder(decode)
    assert not result.right and hint in result.why


def test_decoding():
    assert checks.decoder(lambda t, a, b: a + (b - a) * (centre(t) + 1) / 2).right


@pytest.mark.parametrize(
    ("answer", "right", "hint"),
    [
        ((0.0412, 0.048, 0.0353), True, "hardly moves"),
        ((24.3, 20.8, 28.3), False, "the direction is not"),
        ((0.0334, 0.0484, 0.0428), False, "q99 alone"),
        ((0.04, 0.05), False, "three numbers"),
        ((1, 1, 1), False, "spans"),
        (None, False, "replace None"),
    ],
)
def test_shrinkage(answer, right, hint):
    result = checks.scale_factors(answer)
    assert result.right is right and hint in result.why


def test_unlabelled_clips_are_of_the_catalogue_and_all_different():
    assert set(UNLABELLED.values()) <= {PUBLISHED, *CATALOGUE}
    assert len(set(UNLABELLED.values())) == len(UNLABELLED)


@pytest.mark.parametrize("letter", UNLABELLED)
def test_the_check_of_a_clip_never_names_the_answer(letter):
    wanted = UNLABELLED[letter]
    for answer in (None, "no_flipp", PUBLISHED, *CATALOGUE):
        result = check_clip(letter, answer)
        assert result.right is (answer == wanted)
        assert answer in (None, "no_flipp") or result.right or wanted not in result.why
    near = {"wrong_unnorm_key": "gripper_inverted", "no_flip": "flip_only"}.get(wanted)
    assert near is None or "boundary is right" in check_clip(letter, near).why


def episode(folder, **changes):
    folder.mkdir()
    basis = {
        "suite": "libero_object",
        "task": 0,
        "init": 0,
        "instruction": "x",
        "policy": {"name": "mini"},
        "conditions": [],
    }
    text = json.dumps(
        {
            **basis,
            "success": True,
            "wiring": {"max_steps": changes.pop("max_steps", None)},
            **changes,
        }
    )
    (folder / "episode.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"conditions": ["no_flip"]}, ""),
        ({}, "0 conditions"),
        ({"conditions": ["no_flip", "no_settle"]}, "2 conditions"),
        ({"conditions": ["no_flip"], "init": 1}, "also differ in init"),
        ({"conditions": ["no_flip"], "max_steps": 80}, "step limits"),
        ({"conditions": ["no_flip"], "success": None}, "stopped"),
    ],
)
def test_a_fair_experiment_changes_one_thing(tmp_path, changes, hint):
    result = checks.fair_comparison(episode(tmp_path / "a"), episode(tmp_path / "b", **changes))
    assert result.right is (hint == "") and hint in result.why


def test_an_experiment_that_was_not_run(tmp_path):
    assert "no episode yet" in checks.fair_comparison(tmp_path / "a", tmp_path / "b").why


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (None, "None"),
        ((0.507, 0.773), "standard errors"),
        ((50.1, 75.9), "per cent"),
        ((0.9, 0.1), "lower"),
        ((0.1, 0.2), "method"),
    ],
)
def test_mistakes_in_the_interval(answer, hint):
    result = checks.interval(32, 50, answer)
    assert not result.right and hint in result.why


def test_the_interval():
    assert checks.interval(32, 50, binomtest(32, 50).proportion_ci(method="wilson")).right


@pytest.mark.parametrize(
    ("answer", "right", "hint"),
    [(225, True, "four times"), (864, False, "one standard error"), (100, False, "3.0%")],
)
def test_episodes_needed(answer, right, hint):
    result = checks.episodes_needed(answer)
    assert result.right is right and hint in result.why


def test_pairs():
    pairs = [(True, False)] * 3 + [(False, True)] + [(True, True)] * 5
    assert checks.discordant_pairs(3, 1, pairs).right
    assert "wrong way round" in checks.discordant_pairs(1, 3, pairs).why
    assert "exactly one" in checks.discordant_pairs(8, 1, pairs).why
    assert "replace None" in checks.discordant_pairs(None, 1, pairs).why


def test_a_result_reads_as_a_sentence():
    assert repr(checks.CheckResult(True, "good.")) == "Right: good."
    assert repr(checks.CheckResult(False, "look again.")) == "Not yet: look again."


def test_an_unlabelled_clip_shows_picture_and_curves_and_not_its_name(tmp_path):
    folder = tmp_path / TASK / UNLABELLED["A"]
    folder.mkdir(parents=True)
    series = {"gripper": [-1, 1], "height": [25.0, 20.0], "motion": [0.1, 0.2]}
    write_clip_script(folder / "episode.js", "x", {"series": series})
    Image.new("RGB", (224, 224)).save(folder / "poster.webp")
    shown = UnlabelledClip("A", tmp_path)
    assert shown._repr_png_()[:4] == b"\x89PNG"
    assert UNLABELLED["A"] not in repr(shown)


def test_unlabelled_clips_that_are_not_there(tmp_path):
    with pytest.raises(TutorialError, match=r"'F'.*A, B, C, D, E"):
        UnlabelledClip("F", tmp_path)
    with pytest.raises(TutorialError, match="vla-tutorial clips"):
        UnlabelledClip("A", tmp_path)


def test_an_unlabelled_episode_shows_its_signatures_and_not_its_verdict(tmp_path, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "steps.jsonl").write_text(text)
    episode = UnlabelledEpisode(tmp_path)
    found = episode.reveal()
    assert found.evidence[0] not in repr(episode)
    assert len(repr(episode).splitlines()) == len(episode.rows) + 1
    assert episode._repr_html_().count("<tr>") == len(episode.rows) + 1
    assert episode.check(found.verdict) == checks.CheckResult(True, found.evidence[0])
    other = "policy" if found.verdict != "policy" else "pixels"
    assert not episode.check(other).right and not episode.check(None).right
    assert found.verdict not in episode.check(None).why
    with pytest.raises(TutorialError, match="'wires'"):
        episode.check("wires")
