"""A class of three students: one is quick, one slow, one cheats. Their notebooks are filled in, run, handed in and marked."""

import csv
import io
import json
import shutil
import zipfile
from types import SimpleNamespace

import msgspec
import pytest
from lab_students import KEY, NAMES, experiment, play, released, solved
from typer.testing import CliRunner

from vla_tutorial.cli import app as cli
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.handin import ANSWERS, HandIn, read_handin
from vla_tutorial.lab.points import possible
from vla_tutorial.lab.sheet import QUESTIONS, read_sheet
from vla_tutorial.lab.teacher import grading

SLOW = ("answer-1", "answer-2", "answer-3", "answer-5", "answer-7b")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """ada is quick and answers all; bob is slow; chloe answers nothing herself. Their hand-ins."""
    base = tmp_path_factory.mktemp("class")
    folders = released(base / "release")
    for name in ("ada", "bob"):
        experiment(folders[name], read_sheet(folders[name] / f"lab_sheet_{name}.json"))
    quick = solved("ada")
    slow = {cell: code for cell, code in solved("bob").items() if cell in SLOW}
    slow["answer-4a"] = (
        "def decode(token, q01, q99):\n    return q01 + (q99 - q01) * (31999 - token + 0.5) / 255"
    )
    slow["check-5A"] = (
        'for guess in ("no_flip", "flip_only", "wrong_prompt", answers["A"]):\n    result = work.check("5A", guess)'
    )
    found = {
        "ada": play(folders["ada"], "ada", quick, first_close=40),
        "bob": play(folders["bob"], "bob", slow, first_close=50),
    }
    return SimpleNamespace(
        folders=folders,
        handed={n: f[0] for n, f in found.items()},
        said={n: f[1] for n, f in found.items()},
    )


def graded(tmp_path, files):
    """Name of a file → its marks; `files`: name of the file → what it holds, a path or bytes."""
    folder = tmp_path / "handed_in"
    folder.mkdir()
    for name, source in files.items():
        if isinstance(source, bytes):
            (folder / name).write_bytes(source)
        else:
            shutil.copyfile(source, folder / name)
    return {one.path.name: one for one in grading.grade_folder(folder, KEY)}


def changed(path, change, seal=None):
    """The bytes of a hand-in whose content somebody changed; `seal`: sealed again with that key."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as edited:
        for name in archive.namelist():
            data = archive.read(name)
            if name == ANSWERS:
                found = json.loads(data)
                change(found)
                data = json.dumps(found).encode()
                if seal:
                    content = msgspec.json.decode(data, type=HandIn)
                    content.seal = content.sealed(seal)
                    data = msgspec.json.encode(content)
            edited.writestr(name, data)
    return out.getvalue()


def test_the_quick_student_gets_full_marks_and_no_remark(course, tmp_path):
    marks = graded(tmp_path, {"handin_ada.zip": course.handed["ada"]})["handin_ada.zip"]
    assert marks.points == {question: most for question, (most, _) in QUESTIONS.items()}
    assert (marks.total, marks.remarks) == (possible(), ())
    assert set(marks.texts) == {"2t", "6t", "8"}
    checks = [result for result in course.said["ada"] if hasattr(result, "right")]
    assert len(checks) == len(QUESTIONS) + 3 and all(result.right for result in checks)
    assert course.handed["ada"].stat().st_size < 100_000


def test_the_slow_student_gets_a_part_and_no_remark(course, tmp_path):
    marks = graded(tmp_path, {"handin_bob.zip": course.handed["bob"]})["handin_bob.zip"]
    assert marks.remarks == ()
    got = marks.points
    assert (got["1a"], got["1b"], got["1c"], got["2"], got["3"], got["6"], got["7b"]) == (
        1,
        1,
        1,
        2,
        2,
        3,
        2,
    )
    assert got["4a"] == 3, "all but the last bin"
    assert got["4b"] == got["4c"] == got["7a"] == got["7c"] == got["7d"] == 0
    assert [got[f"5{letter}"] for letter in "ABCDE"] == [1, 2, 2, 2, 2], "A took four tries"
    assert 0 < marks.total < possible()
    said = course.said["bob"][-1]
    assert "of 34 points" in repr(said) and "Not answered: 4b, 4c, 7a, 7c, 7d, 2t, 6t, 8" in repr(
        said
    )


def test_a_hand_in_under_another_name_is_named(course, tmp_path):
    files = {"handin_ada.zip": course.handed["ada"], "handin_chloe.zip": course.handed["ada"]}
    marks = graded(tmp_path, files)["handin_chloe.zip"]
    said = " ".join(marks.remarks)
    assert "says that it is of 'ada'" in said and "another sheet" in said
    assert "an episode that handin_ada.zip holds as well" in said
    assert "answers are right for the sheet of 'ada'" in said
    assert marks.total < possible() / 2


def test_a_hand_in_whose_name_and_seal_were_made_to_fit_is_named_all_the_same(course, tmp_path):
    """The cheat knows the source, and has her own sheet with its seal."""
    sheet = read_sheet(course.folders["chloe"] / "lab_sheet_chloe.json")

    def mine(content):
        content.update(name="chloe", sheet=sheet.salt)

    forged = changed(course.handed["ada"], mine, seal=sheet.seal)
    files = {"handin_ada.zip": course.handed["ada"], "handin_chloe.zip": forged}
    marks = graded(tmp_path, files)["handin_chloe.zip"]
    said = " ".join(marks.remarks)
    assert "seal" not in said and "holds as well" in said and "for the sheet of 'ada'" in said
    assert "were right; those answers are not" in said
    assert marks.total < possible() / 2


def test_an_edited_score_is_named_and_counts_for_nothing(course, tmp_path):
    edited = changed(course.handed["bob"], lambda content: content.update(score=34))
    marks = graded(tmp_path, {"handin_bob.zip": edited})["handin_bob.zip"]
    fair = (
        graded(tmp_path / "fair", {"handin_bob.zip": course.handed["bob"]})
        if (tmp_path / "fair").mkdir() is None
        else {}
    )
    assert marks.total == fair["handin_bob.zip"].total
    said = " ".join(marks.remarks)
    assert "edited after it was written" in said and "says 34 points" in said


def test_checks_that_were_overwritten_give_nothing(course, tmp_path):
    folder = tmp_path / "chloe"
    shutil.copytree(course.folders["chloe"], folder)
    tampered = (
        "from vla_tutorial.lab.answers import CheckResult\n"
        "for question in list(work._checks):\n"
        "    work._checks[question] = lambda answer: CheckResult(True, 'yes.')\n"
        "work.folders = {}\n"
    )
    cells = {
        "answer-3": 'text = "x"',
        "answer-7a": "ends = (0, 1)",
        "answer-5": 'answers = dict.fromkeys("ABCDE", "no_jpeg")',
    }
    path, said = play(folder, "chloe", cells, tampered=tampered)
    assert any(getattr(result, "why", "") == "yes." for result in said)
    marks = graded(tmp_path, {"handin_chloe.zip": path})["handin_chloe.zip"]
    remarks = " ".join(marks.remarks)
    assert "It says that" in remarks and "those answers are not" in remarks
    assert marks.total <= 2


def test_a_function_that_imports_the_answer_is_named(course, tmp_path):
    folder = tmp_path / "chloe"
    shutil.copytree(course.folders["chloe"], folder)
    scope = "import linecache\nimport types\n"
    source = "def turn(picture):\n    from vla_tutorial import pixels\n    return pixels.orient(picture, 'rotate_180')\n"
    # As a notebook's cells are known to `inspect`.
    tampered = f"{scope}linecache.cache['cell'] = (1, None, {source.splitlines(True)!r}, 'cell')\nexec(compile({source!r}, 'cell', 'exec'), globals())\n"
    path, _ = play(folder, "chloe", {"answer-2": "turn = turn"}, tampered=tampered)
    marks = graded(tmp_path, {"handin_chloe.zip": path})["handin_chloe.zip"]
    assert marks.points["2"] == 2
    assert "The function of task 2 imports or calls something" in " ".join(marks.remarks)


def test_an_exchanged_episode_is_named(course, tmp_path):
    out = io.BytesIO()
    with (
        zipfile.ZipFile(course.handed["ada"]) as one,
        zipfile.ZipFile(course.handed["bob"]) as other,
        zipfile.ZipFile(out, "w") as mixed,
    ):
        for name in one.namelist():
            mixed.writestr(name, (other if name.startswith("episodes/1/") else one).read(name))
    marks = graded(tmp_path, {"handin_ada.zip": out.getvalue()})["handin_ada.zip"]
    assert "log of episode 1 was exchanged" in " ".join(marks.remarks)
    assert marks.points["1c"] == 0, "bob's episode is not the one of ada's sheet"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a whole zip file"),
        (b"PK\x03\x04" + bytes(300), "not a whole zip file"),
        ("other", "lacks handin.json"),
        ("large", "too large"),
        ("json", "handin.json"),
    ],
)
def test_a_damaged_file_is_one_sentence_and_the_others_are_marked(course, tmp_path, data, said):
    if isinstance(data, str):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            content = {
                "other": ("x", b""),
                "large": (ANSWERS, bytes(5 * 2**20)),
                "json": (ANSWERS, b'{"format": 1'),
            }[data]
            archive.writestr(*content)
        data = out.getvalue()
    marks = graded(tmp_path, {"handin_ada.zip": course.handed["ada"], "handin_eve.zip": data})
    assert said in marks["handin_eve.zip"].remarks[0] and len(marks["handin_eve.zip"].remarks) == 1
    assert marks["handin_eve.zip"].total is None
    assert marks["handin_ada.zip"].total == possible()


def test_any_damage_is_a_remark_and_never_a_traceback(course, tmp_path, rng):
    """Bytes are flipped and cut; keys get values of other types."""
    whole = bytearray(course.handed["bob"].read_bytes())
    files = {}
    for k in range(20):
        data = whole.copy()
        for at in rng.integers(0, len(data), 1 + k % 4):
            data[at] ^= int(rng.integers(1, 256))
        files[f"handin_x{k}.zip"] = bytes(
            data[: int(rng.integers(10, len(data) + 1))] if k % 3 == 0 else data
        )
    values = (None, -1, 1e300, "x" * 5000, [], [[1]], {}, {"a": {}}, True, "\x00", ["nan"] * 3)
    for k, value in enumerate(values):
        for key in ("answers", "texts", "score", "seal"):

            def odd(found, key=key, value=value):
                if key in found["work"]:
                    found["work"][key] = dict.fromkeys(found["work"][key], value)
                else:
                    found[key] = value

            files[f"handin_y{k}-{key}.zip"] = changed(course.handed["bob"], odd)
    said = []
    for name, path in files.items():
        (tmp_path / name).write_bytes(path)
        try:
            received = read_handin(tmp_path / name)
        except TutorialError as e:
            said.append((name, str(e)))
            continue
        class_ = grading._Class(KEY, [tmp_path / name])
        # The sheet of another name, since making one takes time.
        class_._sheets[grading._named(tmp_path / name)] = read_sheet(
            course.folders["bob"] / "lab_sheet_bob.json"
        )
        assert class_.grade(tmp_path / name).total <= possible(), received.path
    assert said and all(name in error and "\n" not in error for name, error in said)


def test_paths_in_a_zip_lead_nowhere(course, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../evil.txt", "x")
        archive.writestr("handin.json/../x", "x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/handin_eve.zip").write_bytes(out.getvalue())
    with pytest.raises(TutorialError, match=r"lacks handin\.json"):
        read_handin(tmp_path / "a/handin_eve.zip")
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "handin_eve.zip"]


def test_the_commands_release_and_grade(course, tmp_path):
    folder = tmp_path / "handed_in"
    folder.mkdir()
    key = tmp_path / "class.key"
    key.write_text(json.dumps({"key": KEY.secret.hex()}))
    shutil.copyfile(course.handed["ada"], folder / "handin_ada.zip")
    (folder / "handin_=HYPERLINK(1).zip").write_bytes(b"x")
    run = CliRunner().invoke
    outcome = run(
        cli.app,
        ["lab", "grade", str(folder), "--key-file", str(key), "--out", str(tmp_path / "marks")],
    )
    assert outcome.exit_code == 0, outcome.output
    rows = list(csv.DictReader((tmp_path / "marks/marks.csv").open()))
    by_name = {row["name"]: row for row in rows}
    assert by_name["ada"]["checked"] == str(possible()) and by_name["ada"]["5A"] == "2"
    assert by_name["'=HYPERLINK(1)"]["checked"] == ""
    page = (tmp_path / "marks/open_answers.html").read_text()
    assert "<h3>ada</h3>" in page and "<script" not in page
    outcome = run(cli.app, ["lab", "grade", str(tmp_path / "none"), "--key-file", str(key)])
    assert outcome.exit_code == 2 and "holds 0 zip files" in " ".join(outcome.output.split())
    names = [
        "lab",
        "release",
        "dan",
        "--key-file",
        str(tmp_path / "new.key"),
        "--out",
        str(tmp_path / "r"),
        "--teacher",
    ]
    outcome = run(cli.app, [*names, "--notebook", "notebooks/lab_classroom.ipynb"])
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "new.key").stat().st_mode & 0o77 == 0, "only its owner may read it"
    assert "dan" in (tmp_path / "r/teacher/answer_key.html").read_text()
    assert {p.name for p in (tmp_path / "r/students/dan").iterdir()} == {
        "lab_classroom.ipynb",
        "lab_sheet_dan.json",
    }
    outcome = run(
        cli.app, ["lab", "release", "Müller", "--key-file", str(key), "--out", str(tmp_path / "q")]
    )
    assert outcome.exit_code == 2 and "letters from a to z" in " ".join(outcome.output.split())


def test_everybody_of_the_class_has_other_questions(course):
    sheets = [read_sheet(course.folders[name] / f"lab_sheet_{name}.json") for name in NAMES]
    for what in ("salt", "seal", "picture"):
        assert len({str(getattr(sheet, what)) for sheet in sheets}) == 3
    assert len({(s.task, s.init, s.instruction, s.counted, s.compared) for s in sheets}) == 3
    assert all(sheet.marked for sheet in sheets)
