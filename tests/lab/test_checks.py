"""The classroom's check cells: right answers are right, the usual mistakes get the fitting hint, and no hint gives the answer."""

import html
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab import checks
from vla_tutorial.lab.shown_clip import load_clip
from vla_tutorial.lab.unlabelled import (
    CHOICES,
    TASK,
    UNLABELLED,
    UnlabelledClip,
    UnlabelledEpisode,
    check_clip,
)
from vla_tutorial.log import log_of
from vla_tutorial.recorded import CLIPS
from vla_tutorial.wiring import Wiring

ROOT = Path(__file__).parents[2]


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
        ([2], 2, False, "2 numbers"),
        ("two", 2, False, "2 numbers"),
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
        (lambda t, a, b: "0.5", "one number"),
        (lambda t, a, b: [0.5], "one number"),
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
        ((0.04, 0.05), False, "3 numbers"),
        (0.04, False, "3 numbers"),
        ("small", False, "3 numbers"),
        ((0.04, None, 0.03), False, "replace None"),
        ((1, 1, 1), False, "spans"),
        (None, False, "replace None"),
    ],
)
def test_shrinkage(answer, right, hint):
    result = checks.scale_factors(answer)
    assert result.right is right and hint in result.why


def test_the_check_of_the_factors_says_how_little_rotations_change():
    """They do change: the review found "rotation and gripper look normal" beside × 1.67."""
    libero, bridge = (actions.embedded_statistics()[key] for key in checks.KEYS)
    factors = (bridge.q99 - bridge.q01) / (libero.q99 - libero.q01)
    why = checks.scale_factors(factors[:3]).why
    assert all(f"{factor:.2f}" in why for factor in factors[3:6])
    assert "normal" not in why


@pytest.mark.parametrize(
    ("answer", "right", "hint"),
    [
        (14.4, True, "cannot get there"),
        (15, True, "twice as far"),
        (350, False, "right key"),
        (144, False, "centimetres"),
        (3, False, "multiply"),
        (None, False, "replace None"),
        ("far", False, "one number"),
        ([14], False, "one number"),
    ],
)
def test_how_far_the_hand_gets(answer, right, hint):
    result = checks.reach(answer)
    assert result.right is right and hint in result.why


def test_full_speed_and_the_way_to_the_object_are_those_measured():
    path = ROOT / "results" / "chapter_claims.json"
    measured = json.loads(path.read_text())["checks"]["full_speed"]
    assert measured["mm_a_step"] == checks.FULL_SPEED_MM
    libero, bridge = (actions.embedded_statistics()[key] for key in checks.KEYS)
    factor = (bridge.q99 - bridge.q01)[0] / (libero.q99 - libero.q01)[0]
    reached = 280 * measured["mm_a_step"] / 10 * factor
    assert all(1.8 < away / reached < 2.6 for away in measured["cm_to_the_target"])


def test_unlabelled_clips_are_among_the_choices_and_all_different():
    assert set(UNLABELLED.values()) <= set(CHOICES) <= {PUBLISHED, *CATALOGUE}
    assert len(set(UNLABELLED.values())) == len(UNLABELLED)
    assert 6 <= len(CHOICES) <= 8


@pytest.fixture(scope="module")
def shown():
    """Condition → what is shown of its clip, for every clip of the lab's start."""
    found = (CLIPS / TASK).glob("*/episode.js")
    names = sorted(path.parent.name for path in found if "+" not in path.parent.name)
    return {name: load_clip(CLIPS / TASK, name) for name in names}


@pytest.mark.parametrize(("one", "other"), itertools.combinations(CHOICES, 2))
def test_any_two_choices_can_be_told_apart_by_what_is_shown(shown, one, other):
    unlike = shown[one].unlike(shown[other])
    assert unlike
    assert unlike == shown[other].unlike(shown[one])
    # A row of the table, the picture, or curves that part by more than the width of a line.
    apart = np.abs(shown[one].picture.astype(int) - shown[other].picture).mean() > 5
    for name, visible in (("motion", 0.3), ("height", 5), ("gripper", 1)):
        steps = min(len(shown[one].series[name]), len(shown[other].series[name]))
        curves = (np.array(shown[key].series[name][:steps]) for key in (one, other))
        apart |= np.abs(np.subtract(*curves)).max() > visible
    assert apart or shown[one].prompt != shown[other].prompt


def test_what_is_shown_of_a_clip_is_its_prompt_and_its_first_tokens(shown):
    wiring = Wiring(unnorm_key="libero_object")
    instruction = "pick up the bbq sauce and place it in the basket"
    assert shown[PUBLISHED].prompt == prompt.build(wiring, instruction).text
    assert shown["wrong_prompt"].prompt == f"What action should the robot take? {instruction}"
    assert instruction.upper() in shown["upper_case"].prompt
    assert "barbecue bottle" in shown["paraphrase_1"].prompt
    # Another key changes what tokens mean, and not the tokens.
    assert shown["wrong_unnorm_key"].tokens == shown[PUBLISHED].tokens
    assert shown["no_flip"].tokens != shown[PUBLISHED].tokens
    assert all(31744 <= token < 32000 for token in shown[PUBLISHED].tokens)


@pytest.mark.parametrize("letter", UNLABELLED)
def test_the_check_of_a_clip_accepts_the_answer_and_what_looks_like_it(shown, letter):
    wanted = UNLABELLED[letter]
    for answer in (PUBLISHED, *CATALOGUE):
        alike = answer in shown and shown[answer].unlike(shown[wanted]) == []
        assert check_clip(letter, answer).right is alike
    right = [name for name in CHOICES if check_clip(letter, name).right]
    assert right == [wanted], "of the choices just one is right"


def test_a_gripper_that_is_not_binarised_is_accepted_for_the_good_run():
    result = check_clip("C", "gripper_not_binarised")
    assert result.right and "cannot be told" in result.why


@pytest.mark.parametrize("letter", UNLABELLED)
def test_a_wrong_answer_is_told_a_difference_that_is_there_and_not_the_answer(shown, letter):
    wanted = UNLABELLED[letter]
    for answer in CHOICES:
        result = check_clip(letter, answer)
        if answer == wanted:
            continue
        assert shown[answer].unlike(shown[wanted])[0] in result.why
        assert wanted not in result.why.replace(answer, "")


@pytest.mark.parametrize("answer", ["no_flipp", "", 3, ["no_flip"], "../0_0/no_flip", "camera_5"])
def test_an_answer_that_is_no_choice_is_told_the_choices(answer):
    result = check_clip("A", answer)
    assert not result.right and ", ".join(CHOICES) in result.why
    assert len(result.why) < 250


def test_no_answer_about_a_clip():
    assert "replace None" in check_clip("A", None).why


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


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"suite": 5}', "[" * 9999])
def test_a_damaged_record_is_named(tmp_path, text):
    folders = [episode(tmp_path / name) for name in ("a", "b")]
    (tmp_path / "b/episode.json").write_text(text)
    with pytest.raises(TutorialError, match=r"b/episode\.json "):
        checks.fair_comparison(*folders)


def test_an_experiment_that_was_not_run(tmp_path):
    assert "no episode yet" in checks.fair_comparison(tmp_path / "a", tmp_path / "b").why


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (None, "None"),
        ((0.507, 0.773), "standard errors"),
        ((50.1, 75.9), "per cent"),
        ((0.9, 0.1), "lower"),
        ("x", "2 numbers"),
        (0.5, "2 numbers"),
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


@pytest.mark.parametrize("answer", ["many", (1, 2), [225]])
def test_a_number_of_episodes_that_is_none(answer):
    assert "one number" in checks.episodes_needed(answer).why


def test_a_prompt_that_is_no_text():
    assert "a text" in checks.prompt_text(3, "pick up the milk").why


def test_pairs():
    pairs = [(True, False)] * 3 + [(False, True)] + [(True, True)] * 5
    assert checks.discordant_pairs(3, 1, pairs).right
    assert "wrong way round" in checks.discordant_pairs(1, 3, pairs).why
    assert "exactly one" in checks.discordant_pairs(8, 1, pairs).why
    assert "replace None" in checks.discordant_pairs(None, 1, pairs).why


def test_a_result_reads_as_a_sentence():
    assert repr(checks.CheckResult(True, "good.")) == "Right: good."
    assert repr(checks.CheckResult(False, "look again.")) == "Not yet: look again."


@pytest.mark.parametrize("letter", UNLABELLED)
def test_an_unlabelled_clip_shows_itself_beside_a_good_run_and_not_its_name(shown, letter):
    clip = UnlabelledClip(letter)
    page = clip._repr_html_()
    for text in (page, repr(clip)):
        assert UNLABELLED[letter] not in text
    assert page.count("<img") == 1
    alt = re.search(r'<img [^>]*alt="([^"]*)"', page)[1]
    assert alt.startswith(f"{letter}: ") and "known-good run" in alt
    assert clip.shown.in_words() in html.unescape(alt)
    for run in (clip.shown, clip.good):
        assert html.escape(repr(run.prompt)) in page
        assert " ".join(map(str, run.tokens)) in page
    assert clip.good.unlike(shown[PUBLISHED]) == []
    assert len(page) < 60_000, "five of them stand on one page"


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
