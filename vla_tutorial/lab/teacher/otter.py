"""Files for Otter: a notebook to hand out, and a hidden test for every check, in its "OK format".

Otter itself is not needed here. https://otter-grader.readthedocs.io, "Test Files"
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat

from vla_tutorial.files import write_atomically
from vla_tutorial.lab.sheet import QUESTIONS, student_name
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.teacher.release import write_release
from vla_tutorial.lab.teacher.solutions import hidden_tests
from vla_tutorial.lab.teacher.variants import make_variant


def write_otter(key: ClassKey, name: str, notebook: Path, out: Path) -> Path:
    """Write `tests/qQUESTION.py`, and `students/NAME/` as `write_release` does; that folder.

    Raises:
        TutorialError: the name is none, the notebook cannot be read, or a folder not be written.
    """
    name = student_name(name)
    students = write_release(key, [name], notebook, out)[name]
    (out / "tests").mkdir(exist_ok=True)
    for cell, code in hidden_tests(make_variant(key, name)).items():
        question = cell.removeprefix("check-")
        write_atomically(out / "tests" / f"q{question}.py", ok_test(question, code))
    return students


def ok_test(question: str, code: str) -> str:
    """The text of a test file: all points of the question if `code` runs without an error.

    Otter runs it after the student's notebook, with that notebook's names. Students don't see it.
    """
    case = {"code": "\n".join(_as_typed(code)), "hidden": True, "locked": False}
    suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
    test = {"name": f"q{question}", "points": QUESTIONS[question][0], "suites": [suite]}
    return f"OK_FORMAT = True\n\ntest = {pformat(test, sort_dicts=False, width=100)}\n"


def _as_typed(code: str) -> Iterator[str]:
    """Lines of code as a doctest has them. It expects no output, which an error would be."""
    for statement in ast.parse(code).body:
        first, *others = (ast.get_source_segment(code, statement) or "").splitlines()
        yield f">>> {first}"
        yield from (f"... {line}" for line in others)
