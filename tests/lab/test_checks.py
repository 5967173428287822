"""The lab's checks: right answers are right, the usual mistakes get the fitting hint, no hint gives the answer, nothing raises."""

import html
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from lab_students import record
from scipy.stats import binomtest

from vla_tutorial import actions, pixels
from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab import Workbook, checks
from vla_tutorial.lab.answers import CheckResult
from vla_tutorial.lab.sheet import LETTERS, OPEN, QUESTIONS, student_name
from vla_tutorial.lab.shown_clip import load_clip
from vla_tutorial.lab.teacher.keys import PRACTICE, ClassKey
from vla_tutorial.lab.teacher.sheets import practice_sheet
from vla_tutorial.lab.teacher.variants import (
    COMPARED,
    FULL_SPEED_MM,
    STARTS,
    make_variant,
    outcomes,
)
from vla_tutorial.lab.unlabelled import CHOICES, UnlabelledEpisode
from vla_tutorial.log import log_of
from vla_tutorial.recorded import CLIPS

ROOT = Path(__file__).parents[2]
NAME = "ada"


@pytest.fixture(scope="module")
def variant():
    return make_variant(PRACTICE, NAME)


@pytest.fixture(scope="module")
def sheet():
    return practice_sheet(NAME)


@pytest.fixture
def work(tmp_path):
    return Workbook(NAME, tmp_path / "out", sheets=tmp_path)


@pytest.fixture
def log(lines):
    commands = (-1, -1, 1, 1, -1, 1, -1)
    pairs = zip(lines, commands, strict=False)
    return log_of([{**line, "action": [0.0] * 6 + [float(c)]} for line, c in pairs])


@pytest.mark.parametrize(
    ("first", "right", "hint"),
    [
        (2, True, ""),
        (None, False, "replace None"),
        (3, False, "Is there an earlier step"),
        (0, False, "number is -1"),
        ([2], False, "one number"),
        ("two", False, "one number"),
        (99, False, "0 to 6"),
        (2.5, False, "no step"),
        (True, False, "one number"),
    ],
)
def test_reading_a_log(log, first, right, hint):
    result = checks.first_close(log, first)
    assert result.right is right and hint in result.why


def test_counting_closes(log):
    assert checks.number_of_closes(log, 2).right
    assert "not the steps in which the gripper is closed" in checks.number_of_closes(log, 3).why


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
        (lambda p: np.roll(p, 1, 0), "to other places"),
        (lambda p: p / 255, "uint8"),
        (3, "not callable"),
    ],
)
def test_mistakes_in_turning(sheet, turn, hint):
    result = checks.orientation(sheet, turn)
    assert not result.right and hint in result.why


def test_the_turn_by_180_degrees(sheet):
    assert checks.orientation(sheet, lambda p: pixels.orient(p, "rotate_180")).right


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda text: None, "replace None"),
        (lambda text: text.upper(), "capital"),
        (lambda text: text.replace("\n", " "), "spaces or line breaks"),
        (lambda text: "In: What action?\nOut:", "instruction itself"),
        (lambda text: text[:-4], "up to the instruction"),
        (lambda text: "Q: " + text, "from the instruction on"),
        (lambda text: "Q: " + text + "!", "the text after it differ"),
        (lambda text: 3, "a text"),
    ],
)
def test_mistakes_in_the_prompt(sheet, variant, change, hint):
    result = checks.prompt_text(sheet, change(variant.prompt))
    assert not result.right and hint in result.why
    assert variant.prompt not in result.why


def centre(token):
    return actions.BIN_CENTERS[min(31999 - token, 254)]


@pytest.mark.parametrize(
    ("decode", "hint"),
    [
        (lambda t, a, b: None, "returns nothing"),
        (lambda t, a, b: centre(t), "centre in [−1, 1]"),
        (lambda t, a, b: a + (b - a) * (t - 31744) / 255, "count downwards"),
        (lambda t, a, b: a + (b - a) * (31999 - t) / 255, "edge of the bin"),
        (lambda t, a, b: a + (b - a) * (31999.5 - t) / 255, "for the last token"),
        (lambda t, a, b: a + (b - a) * (31999.5 - t) / 256, "not 256"),
        (lambda t, a, b: 7.0, "which is wrong"),
        (lambda t, a, b: t["x"], "TypeError"),
        (lambda t, a, b: "0.5", "one finite number"),
        (lambda t, a, b: [0.5], "one finite number"),
        (lambda t, a, b: float("nan"), "one finite number"),
        (lambda: 3, "TypeError"),
        ("decode", "not callable"),
    ],
)
def test_mistakes_in_decoding(sheet, decode, hint):
    result = checks.decoder(sheet, decode)
    assert not result.right and hint in result.why


def test_the_hint_on_an_edge_does_not_read_like_praise(sheet):
    result = checks.decoder(sheet, lambda t, a, b: a + (b - a) * (31999 - t) / 255)
    assert "within a bin" not in result.why and "right value" not in result.why


def test_decoding(sheet):
    assert checks.decoder(sheet, lambda t, a, b: a + (b - a) * (centre(t) + 1) / 2).right


@pytest.mark.parametrize(
    ("answer", "right", "hint"),
    [
        ((0.0412, 0.048, 0.0353), True, "hardly moves"),
        (np.array([0.0412, 0.048, 0.0353]), True, "1.67"),
        ((24.3, 20.8, 28.3), False, "larger or smaller"),
        ((0.0334, 0.0484, 0.0428), False, "compares only q99"),
        ((0.04, 0.05), False, "3 numbers"),
        (0.04, False, "3 numbers"),
        ("small", False, "3 numbers"),
        ((0.04, None, 0.03), False, "replace None"),
        ((1, 1, 1), False, "spans"),
        ((-1, 0, np.inf), False, "3 numbers"),
        (None, False, "replace None"),
    ],
)
def test_shrinkage(sheet, answer, right, hint):
    result = checks.scale_factors(sheet, answer)
    assert result.right is right and hint in result.why


@pytest.mark.parametrize(
    ("factor", "right", "hint"),
    [
        (1, True, "cannot get there"),
        (1.08, True, ""),
        (24.28, False, "right key"),
        (10, False, "centimetres"),
        (0.3, False, "multiply"),
        (-1, False, "multiply"),
    ],
)
def test_how_far_the_hand_gets(sheet, variant, factor, right, hint):
    result = checks.reach(sheet, factor * variant.centimetres)
    assert result.right is right and hint in result.why


def test_full_speed_and_the_way_to_the_object_are_those_measured(variant):
    path = ROOT / "results" / "chapter_claims.json"
    measured = json.loads(path.read_text())["checks"]["full_speed"]
    assert measured["mm_a_step"] == FULL_SPEED_MM
    assert min(measured["cm_to_the_target"]) >= 29
    assert 320 * FULL_SPEED_MM / 10 * variant.factors[0] < 29, "out of reach in the longest episode"


@pytest.fixture(scope="module")
def shown():
    """Start → condition → what is shown of its clip."""
    return {start: {name: load_clip(CLIPS / start, name) for name in CHOICES} for start in STARTS}


@pytest.mark.parametrize("start", STARTS)
def test_any_two_choices_can_be_told_apart_by_what_is_shown(shown, start):
    assert set(CHOICES) <= {PUBLISHED, *CATALOGUE} and 6 <= len(CHOICES) <= 8
    for one, other in itertools.combinations(CHOICES, 2):
        a, b = shown[start][one], shown[start][other]
        assert a.unlike(b) and a.unlike(b) == b.unlike(a)
        # A row of the table, the picture, or curves that part by more than the width of a line.
        apart = np.abs(a.picture.astype(int) - b.picture).mean() > 5
        for name, visible in (("motion", 0.3), ("height", 5), ("gripper", 1)):
            steps = min(len(a.series[name]), len(b.series[name]))
            apart |= (
                np.abs(np.subtract(a.series[name][:steps], b.series[name][:steps])).max() > visible
            )
        assert apart or a.prompt != b.prompt, (one, other)


@pytest.mark.parametrize("letter", LETTERS)
def test_of_the_choices_just_one_is_right_and_no_hint_names_it(sheet, variant, letter):
    wanted = variant.conditions[letter]
    found = {name: checks.name_of_clip(sheet, letter, name) for name in CHOICES}
    assert [name for name, result in found.items() if result.right] == [wanted]
    for name, result in found.items():
        assert wanted not in result.why.replace(name, "")


def test_what_looks_the_same_as_the_good_run_is_right_as_well(sheet, variant):
    letter = next(letter for letter, name in variant.conditions.items() if name == PUBLISHED)
    result = checks.name_of_clip(sheet, letter, "gripper_not_binarised")
    assert result.right and "shows the same here" in result.why


@pytest.mark.parametrize("answer", ["no_flipp", "", 3, ["no_flip"], "../0_0/no_flip", "camera_5"])
def test_an_answer_that_is_no_choice_is_told_the_choices(sheet, answer):
    result = checks.name_of_clip(sheet, "A", answer)
    assert not result.right and ", ".join(CHOICES) in result.why and len(result.why) < 300


@pytest.mark.parametrize("letter", LETTERS)
def test_an_unlabelled_clip_shows_itself_beside_a_good_run_and_not_its_name(work, variant, letter):
    clip = work.clip(letter)
    page = clip._repr_html_()
    name = variant.conditions[letter]
    for text in (page, repr(clip)):
        assert name == PUBLISHED or name not in text
    alt = re.search(r'<img [^>]*alt="([^"]*)"', page)[1]
    assert alt.startswith(f"{letter}: ") and clip.shown.in_words() in html.unescape(alt)
    for run in (clip.shown, clip.good):
        assert html.escape(repr(run.prompt)) in page
        assert " ".join(map(str, run.tokens)) in page
    assert len(page) < 60_000, "five of them stand on one page"


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda low, high: None, "None"),
        (lambda low, high: (100 * low, 100 * high), "per cent"),
        (lambda low, high: (high, low), "lower"),
        (lambda low, high: "x", "2 numbers"),
        (lambda low, high: 0.5, "2 numbers"),
        (lambda low, high: (0.1, 0.99), "method"),
    ],
)
def test_mistakes_in_the_interval(sheet, variant, change, hint):
    result = checks.interval(sheet, change(*variant.interval))
    assert not result.right and hint in result.why


def test_the_interval_and_the_textbook_s(sheet):
    won, episodes = sheet.successes, sheet.episodes
    assert checks.interval(sheet, binomtest(won, episodes).proportion_ci(method="wilson")).right
    half = 1.96 * np.sqrt(won / episodes * (1 - won / episodes) / episodes)
    plain = (won / episodes - half, won / episodes + half)
    assert "standard errors" in checks.interval(sheet, plain).why


@pytest.mark.parametrize(
    ("factor", "right", "hint"),
    [
        (1, True, "four times"),
        (3.8416, False, "one standard error"),
        (0.25, False, "%"),
        (-1, False, "at least one"),
    ],
)
def test_episodes_needed(sheet, variant, factor, right, hint):
    result = checks.episodes_needed(sheet, factor * variant.needed)
    assert result.right is right and hint in result.why


def test_pairs(sheet, variant):
    first, second = variant.discordant
    assert checks.discordant_pairs(sheet, (first, second)).right
    assert "wrong order" in checks.discordant_pairs(sheet, (second, first)).why
    assert "exactly one" in checks.discordant_pairs(sheet, (150, 1)).why
    assert "replace None" in checks.discordant_pairs(sheet, (None, 1)).why
    assert "whole" in checks.discordant_pairs(sheet, (1.5, 1)).why
    assert checks.p_value(sheet, binomtest(first, first + second).pvalue).right
    assert "one-sided" in checks.p_value(sheet, variant.p_value / 2).why
    assert "coin" in checks.p_value(sheet, 0).why


@pytest.mark.parametrize("pair", COMPARED)
def test_both_conditions_of_a_comparison_win_some_pairs(pair):
    one, other = map(outcomes, pair)
    only_first = sum(one[start] and not other[start] for start in one)
    only_second = sum(other[start] and not one[start] for start in one)
    assert min(only_first, only_second) >= 3 and only_first != only_second


ODD = (
    "x", b"x", "", [], {}, set(), object(), np.array(["x"]), [[1, 2], [3]], float("nan"), -1, 1e400, 10**400, True, (None,), lambda: 1,
    lambda *a: "x", lambda *a: 10**400, lambda *a: 1j, lambda *a: np.zeros((2, 2, 3), complex), type, checks, Path("x"),
)  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_whatever_is_given_is_answered_in_a_sentence(work, question):
    for answer in ODD:
        result = work.check(question, answer)
        assert isinstance(result, CheckResult) and not result.right, (question, answer)
        assert len(repr(result)) < 500 and "\n" not in repr(result)


def test_unknown_questions_are_named(work):
    with pytest.raises(TutorialError, match="Unknown question '9'"):
        work.check("9", 1)
    with pytest.raises(TutorialError, match="Unknown open question"):
        work.write("1a", "x")
    with pytest.raises(TutorialError, match="Unknown episode 'F'"):
        work.clip("F")


def test_answers_stay_from_one_session_to_the_next(tmp_path, variant):
    first = Workbook(NAME, tmp_path / "out", sheets=tmp_path)
    assert "nothing to hand in" in first.hand_in().why
    assert first.check("3", variant.prompt).right
    assert "words" in first.write("8", "Print the prompt.").why
    later = Workbook(" ADA ", tmp_path / "out", sheets=tmp_path)
    later.check("3", variant.prompt)
    found = later.hand_in()
    assert found.score == 2 and set(found.missing) == {*QUESTIONS, *OPEN} - {"3", "8"}
    assert found.path == tmp_path / "handin_ada.zip"
    (tmp_path / "out/answers_ada.json").write_text("{")
    with pytest.raises(TutorialError, match="Delete that file"):
        Workbook(NAME, tmp_path / "out", sheets=tmp_path)


def test_the_notebook_as_it_is_given_out_has_nothing_to_hand_in(work):
    record(work.folder / "published", work.sheet)
    work.check("1c", work.folder / "published")
    work.check("2", lambda picture: picture)
    work.check("4a", lambda token, q01, q99: None)
    assert "nothing to hand in" in work.hand_in().why


@pytest.mark.parametrize("name", ["", "Müller", "a b", "../x", "x" * 41, None, 3, "-a"])
def test_names_that_no_file_should_have(name):
    with pytest.raises(TutorialError, match="letters from a to z"):
        student_name(name)


def test_equal_keys_and_names_make_equal_variants():
    key = ClassKey(b"1")
    assert make_variant(key, "ada").pairs == make_variant(ClassKey(b"1"), "ada").pairs
    tasks = [make_variant(key, f"s{k}").conditions for k in range(12)]
    assert len({str(found) for found in tasks}) > 9
    assert all(PUBLISHED in found.values() for found in tasks)
    assert make_variant(key, "ada").conditions != make_variant(ClassKey(b"2"), "ada").conditions


def test_a_sheet_holds_no_answer(sheet, variant):
    text = str(sheet.replies)
    for secret in (
        variant.prompt,
        *variant.conditions.values(),
        f"{variant.decoded[0]:.4f}",
    ):
        assert secret not in text.replace("published", ""), secret


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"conditions": ["no_flip"]}, ""),
        ({}, "0 conditions"),
        ({"conditions": ["no_flip", "no_settle"]}, "2 conditions"),
        ({"conditions": ["no_flip"], "init": 51}, "also differ in init"),
        ({"conditions": ["no_flip"], "wiring": {"max_steps": 80}}, "step limits"),
        ({"conditions": ["no_flip"], "success": None}, "stopped"),
    ],
)
def test_a_fair_experiment_changes_one_thing(tmp_path, sheet, changes, hint):
    one = record(tmp_path / "a", sheet)
    result = checks.fair_comparison(one, record(tmp_path / "b", sheet, **changes))
    assert result.right is (hint == "") and hint in result.why


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"suite": 5}', "[" * 9999])
def test_a_damaged_record_is_named(tmp_path, sheet, text):
    folders = [record(tmp_path / name, sheet) for name in ("a", "b")]
    (tmp_path / "b/episode.json").write_text(text)
    with pytest.raises(TutorialError, match=r"b/episode\.json "):
        checks.fair_comparison(*folders)


def test_an_experiment_that_was_not_run(tmp_path):
    assert "no episode yet" in checks.fair_comparison(tmp_path / "a", tmp_path / "b").why


def test_a_result_reads_as_a_sentence():
    assert repr(checks.CheckResult(True, "good.")) == "Right: good."
    assert repr(checks.CheckResult(False, "look again.")) == "Not yet: look again."


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
