"""A course folder for nbgrader: the lab's notebook with answers and hidden tests, in its format.

The metadata of the cells (schema 3) stand in the notebook already. nbgrader itself is not needed
here. https://nbgrader.readthedocs.io, "Creating and grading assignments"
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from vla_tutorial.files import check_writable, write_atomically
from vla_tutorial.lab.sheet import sheet_file, student_name
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.teacher.release import (
    NOTEBOOK,
    Notebook,
    cells,
    named,
    notebook_bytes,
    read_notebook,
    text,
)
from vla_tutorial.lab.teacher.sheets import make_sheet
from vla_tutorial.lab.teacher.solutions import answers, hidden_tests
from vla_tutorial.lab.teacher.variants import Variant, make_variant

ASSIGNMENT = "lab"

CONFIG = '''"""nbgrader of the lab. Without an answer a cell stays as the lab gives it out."""

c = get_config()
c.CourseDirectory.course_id = "vla-tutorial"
c.ClearSolutions.code_stub = {"python": "# Change the lines above."}
# The episode of task 1 takes a minute, and on a slow computer several.
c.ExecutePreprocessor.timeout = 900
c.GenerateAssignment.create_assignment = True
'''


def nbgrader_source(notebook: Notebook, variant: Variant) -> Notebook:
    """Put the answers and the hidden tests of a variant into the notebook's cells.

    Raises:
        TutorialError: the notebook asks for no name.
    """
    solved = answers(variant)
    tests = hidden_tests(variant)
    for cell in cells(named(notebook, variant.name)):
        about = _about(cell)
        if about in solved:
            body = solved[about]
            cell["source"] = f"{text(cell)}\n### BEGIN SOLUTION\n{body}\n### END SOLUTION"
        if about in tests:
            body = tests[about]
            cell["source"] = f"{text(cell)}\n### BEGIN HIDDEN TESTS\n{body}\n### END HIDDEN TESTS"
    return notebook


def _about(cell: dict[str, object]) -> str:
    """The id that nbgrader has for a cell, or nothing."""
    metadata = cell.get("metadata")
    known = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return str(known.get("grade_id", "")) if isinstance(known, dict) else ""


def write_course(key: ClassKey, name: str, notebook: Path, out: Path) -> Path:
    """Write `source/lab/` and `nbgrader_config.py` into a course folder; the notebook's path.

    Raises:
        TutorialError: the name is none, or the folder cannot be written.
    """
    name = student_name(name)
    check_writable(out)
    folder = out / "source" / ASSIGNMENT
    folder.mkdir(parents=True, exist_ok=True)
    variant = make_variant(key, name)
    filled = nbgrader_source(read_notebook(notebook), variant)
    write_atomically(folder / NOTEBOOK, notebook_bytes(filled))
    write_atomically(folder / sheet_file(name), msgspec.json.encode(make_sheet(key, name)))
    write_atomically(out / "nbgrader_config.py", CONFIG)
    return folder / NOTEBOOK
