"""What students get: a notebook with their name and their sheet. What the teacher gets beside it.

The notebook of this project is already the students': it holds no answer and no hidden test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vla_tutorial.decoding import read_object
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import check_writable, write_atomically
from vla_tutorial.lab.sheet import sheet_file, student_name
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.teacher.sheets import make_sheet

NOTEBOOK = "lab_classroom.ipynb"
AGAIN = "Take it from the folder `notebooks` of this project."

NAME = re.compile(r'^NAME = "[^"\n]*"', re.MULTILINE)

Notebook = dict[str, object]


class Cell(msgspec.Struct):
    """What is read and changed of a cell; the rest stays as it is."""

    cell_type: str
    source: list[str] | str
    metadata: dict[str, object] = {}


class _File(msgspec.Struct):
    cells: list[Cell]


def read_notebook(path: Path) -> Notebook:
    """The lab's notebook as JSON.

    Raises:
        TutorialError: it cannot be read, or is no notebook.
    """
    return read_object(path, _File, AGAIN)


def cells(notebook: Notebook) -> list[dict[str, object]]:
    """The cells of a notebook that was read; changing them changes the notebook."""
    found = notebook["cells"]
    assert isinstance(found, list)
    return found


def text(cell: dict[str, object]) -> str:
    """The source of a cell."""
    source = cell["source"]
    return "".join(source) if isinstance(source, list) else str(source)


def named(notebook: Notebook, name: str) -> Notebook:
    """Write the student's name into the first cell that asks for one.

    Raises:
        TutorialError: no cell asks for it.
    """
    for cell in cells(notebook):
        if NAME.search(text(cell)):
            cell["source"] = NAME.sub(f'NAME = "{name}"', text(cell))
            return notebook
    raise TutorialError(f'The notebook has no line NAME = "…". {AGAIN}')


def notebook_bytes(notebook: Notebook) -> bytes:
    """A notebook as nbformat writes it."""
    return msgspec.json.format(msgspec.json.encode(notebook), indent=1) + b"\n"


def write_release(
    key: ClassKey, names: Sequence[str], notebook: Path, out: Path
) -> dict[str, Path]:
    """Write `students/NAME/` for each name, with notebook and sheet; name → folder.

    Raises:
        TutorialError: two names are equal, one is none, or a folder cannot be written.
    """
    students = [student_name(name) for name in names]
    twice = sorted({name for name in students if students.count(name) > 1})
    if twice:
        what = f"The names {', '.join(twice)} stand there twice"
        raise TutorialError(f"{what}, capitals aside. Add a letter to one of them.")
    check_writable(out)
    folders = {}
    for name in students:
        folder = out / "students" / name
        folder.mkdir(parents=True, exist_ok=True)
        filled = named(read_notebook(notebook), name)
        write_atomically(folder / NOTEBOOK, notebook_bytes(filled))
        sheet = msgspec.json.encode(make_sheet(key, name))
        write_atomically(folder / sheet_file(name), sheet)
        folders[name] = folder
    return folders
