"""What the teacher's side writes: the students' notebook, nbgrader's source, slides, worksheet, key."""

import doctest
import json
import re
import runpy

import nbformat
import pytest
from lab_students import KEY, NOTEBOOK, ROOT, about, experiment, record, solved

from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.sheet import OPEN, QUESTIONS, read_sheet
from vla_tutorial.lab.teacher.keys import ClassKey, read_key, write_key
from vla_tutorial.lab.teacher.nbgrader import nbgrader_source, write_course
from vla_tutorial.lab.teacher.otter import write_otter
from vla_tutorial.lab.teacher.pages import answer_key_html, slides_html, worksheet_html
from vla_tutorial.lab.teacher.release import cells, read_notebook, text, write_release
from vla_tutorial.lab.teacher.solutions import answers, hidden_tests
from vla_tutorial.lab.teacher.variants import make_variant


def grade_ids(notebook):
    return {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}


def test_the_notebook_has_nbgrader_s_metadata_and_the_points_of_the_lab():
    marked = grade_ids(nbformat.read(NOTEBOOK, as_version=4))
    points = {
        name: cell.metadata.nbgrader.points
        for name, cell in marked.items()
        if cell.metadata.nbgrader.grade
    }
    wanted = {f"check-{question}": most for question, (most, _) in QUESTIONS.items()}
    assert points == wanted | {f"open-{question}": most for question, (most, _) in OPEN.items()}
    for name, cell in marked.items():
        about = cell.metadata.nbgrader
        kind = name.partition("-")[0]
        assert (
            about.grade,
            about.solution,
            about.locked,
            about.task,
            about.schema_version,
            about.cell_type,
        ) == (
            kind != "answer",
            kind != "check",
            kind == "check",
            False,
            3,
            "code",
        )


def test_the_notebook_holds_no_answer_and_no_hidden_test():
    source = NOTEBOOK.read_text()
    assert not re.search(
        r"BEGIN SOLUTION|HIDDEN TESTS|assert|from vla_tutorial import .*(actions|prompt|pixels)",
        source,
    )
    table = re.findall(
        r"^\| [^|]+ \| \d+ \| [^|]* \| ?(\d*) ?\|",
        nbformat.read(NOTEBOOK, as_version=4).cells[0].source,
        re.M,
    )
    points = sum(most for most, _ in (*QUESTIONS.values(), *OPEN.values()))
    assert sum(int(found) for found in table if found) == points == 40


def test_nbgrader_s_source_has_every_answer_and_a_hidden_test_for_every_check(tmp_path):
    path = write_course(KEY, "ada", NOTEBOOK, tmp_path)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    compile((tmp_path / "nbgrader_config.py").read_text(), "config", "exec")
    assert (path.parent / "lab_sheet_ada.json").is_file()
    for name, cell in grade_ids(notebook).items():
        mark = "HIDDEN TESTS" if name.startswith("check") else "SOLUTION"
        begin, end = (cell.source.index(f"### {word} {mark}") for word in ("BEGIN", "END"))
        assert begin < end
        compile(cell.source, name, "exec")
    variant = make_variant(KEY, "ada")
    assert {*answers(variant), *hidden_tests(variant)} == set(grade_ids(notebook))


def test_hidden_tests_pass_for_the_answers_and_fail_for_none():
    variant = make_variant(KEY, "ada")
    steps = [{"action": [0.0] * 6 + [command]} for command in (-1.0, 1.0, 1.0, -1.0, 1.0)]
    right = {"steps": steps, "work": type("W", (), {"write": lambda *_: None})()}
    for code in answers(variant).values():
        exec(code, right)
    wrong = dict.fromkeys(
        [
            "first_close",
            "times",
            "text",
            "factors",
            "centimetres",
            "ends",
            "episodes",
            "only_first",
            "only_second",
            "p",
        ]
    )
    wrong |= {
        "steps": steps,
        "turn": lambda p: p,
        "decode": lambda *a: 0.0,
        "answers": dict.fromkeys("ABCDE"),
    }
    for name, code in hidden_tests(variant).items():
        if name not in ("check-1c", "check-6"):
            exec(code, dict(right))
            with pytest.raises((AssertionError, TypeError)):
                exec(code, dict(wrong))


def failures_as_otter_counts_them(path, scope):
    """Otter 7 runs a case of a test file with `doctest`, in the names of the executed notebook."""
    (suite,) = runpy.run_path(path)["test"]["suites"]
    (case,) = suite["cases"]
    examples = doctest.DocTestParser().get_examples(case["code"])
    test = doctest.DocTest(examples, dict(scope), path.stem, None, None, case["code"])
    return doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None).failed


def test_otter_s_tests_pass_for_the_answers_and_fail_for_none(tmp_path):
    students = write_otter(KEY, "Ada", NOTEBOOK, tmp_path)
    sheet = students / "lab_sheet_ada.json"
    assert sorted(students.iterdir()) == [students / "lab_classroom.ipynb", sheet]
    assert 'NAME = \\"ada\\"' in (students / "lab_classroom.ipynb").read_text()
    drawn = read_sheet(sheet)
    run = record(students / "out/published", drawn)
    experiment(students, drawn)
    recorded = {
        "RUN": run,
        "steps": [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()],
        "experiment": [students / "out/experiments" / one for one in ("001", "002")],
    }
    right, empty = dict(recorded), dict(recorded)
    for cell in cells(read_notebook(NOTEBOOK)):
        if about(cell).startswith("answer"):
            exec(solved("ada")[about(cell)], right)
            exec(text(cell), empty)
    tests = sorted((tmp_path / "tests").glob("*.py"))
    assert {path.stem for path in tests} == {f"q{question}" for question in QUESTIONS}
    for path in tests:
        points = runpy.run_path(path)["test"]["points"]
        assert points == QUESTIONS[path.stem.removeprefix("q")][0]
        assert not failures_as_otter_counts_them(path, right), path
        if path.stem not in ("q1c", "q6"):  # of episodes, which both have
            assert failures_as_otter_counts_them(path, empty), path


def test_a_key_is_written_once_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "class.key"
    assert write_key(path) == read_key(path)
    with pytest.raises(TutorialError, match="Choose a new file"):
        write_key(path)
    path.write_text("{}")
    with pytest.raises(TutorialError, match="Restore it"):
        read_key(path)


def test_names_that_stand_twice_and_a_notebook_that_is_none(tmp_path):
    with pytest.raises(TutorialError, match="ada stand there twice"):
        write_release(KEY, ["ada", "Ada"], NOTEBOOK, tmp_path)
    (tmp_path / "x.ipynb").write_text('{"cells": []}')
    with pytest.raises(TutorialError, match="no line NAME"):
        write_release(KEY, ["ada"], tmp_path / "x.ipynb", tmp_path)
    with pytest.raises(TutorialError, match="no line NAME"):
        nbgrader_source(read_notebook(tmp_path / "x.ipynb"), make_variant(KEY, "ada"))
    assert any('NAME = "practice"' in text(cell) for cell in cells(read_notebook(NOTEBOOK)))


def test_slides_and_worksheet_need_no_other_host_and_hold_the_measured_numbers():
    slides = slides_html()
    assert slides.count("<section>") == slides.count("<aside>") == 10
    assert slides.count('<svg class="plot') == 4 and slides.count("data:image/webp") == 4
    sheet = worksheet_html()
    for page in (slides, sheet):
        assert not re.search(r'(src|href)="https?:|url\(http|@import', page)
        assert '<html lang="en">' in page
        for image in re.findall(r"<img [^>]*>", page):
            assert re.search(r'alt="[^"]{20,}"', image)
    folder = ROOT / "results/sweeps/mini_attempt_2/episodes.jsonl"
    won = sum(json.loads(line).get("success") is True for line in folder.read_text().splitlines())
    assert f"{won} of 500" in slides and f"{won} of 500" in sheet
    assert len(slides) < 600_000


def test_the_answer_key_depends_on_the_key():
    page = answer_key_html(KEY, ["ada"])
    variant = make_variant(KEY, "ada")
    assert f"p = {variant.p_value:.3g}" in page
    assert page != answer_key_html(ClassKey(b"other"), ["ada"])
    for condition in variant.conditions.values():
        assert condition in page
