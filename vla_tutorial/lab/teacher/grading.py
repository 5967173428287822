"""A folder of hand-ins → marks, with a sentence for everything that a teacher should look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.handin import Received, handin_file, read_handin
from vla_tutorial.lab.points import claimed
from vla_tutorial.lab.sheet import LETTERS, OPEN, QUESTIONS, Sheet, student_name
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.teacher.marks import calls_the_library, fits, mark, parts
from vla_tutorial.lab.teacher.sheets import make_sheet

DRAWN = ("2", "3", "7a", "7c", *(f"5{letter}" for letter in LETTERS))
"""Questions whose right answers differ from student to student."""

MOST_FILES = 1000


@dataclass(frozen=True)
class Graded:
    """The marks of one file.

    Attributes:
        name: the student's, from the file's name.
        points: question → points; empty where the file cannot be read.
        texts: open question → what was written.
        remarks: sentences on what is wrong or should be looked at.
    """

    path: Path
    name: str
    points: Mapping[str, int]
    texts: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def total(self) -> int | None:
        """Points of all checked questions; None where the file cannot be read."""
        return sum(self.points.values()) if self.points else None


def grade_folder(folder: Path, key: ClassKey) -> list[Graded]:
    """The marks of every `handin_*.zip` in a folder, by name; a second or two a student.

    A file that cannot be read gets a remark and no points. Nothing from a hand-in is executed.

    Raises:
        TutorialError: there is no such folder, it holds no hand-in, or too many.
    """
    paths = sorted(folder.glob("*.zip")) if folder.is_dir() else []
    if not 1 <= len(paths) <= MOST_FILES:
        expected = f"expected 1 to {MOST_FILES}, one for each student"
        raise TutorialError(f"{folder} holds {len(paths)} zip files; {expected}.")
    class_ = _Class(key, paths)
    return [class_.grade(path) for path in paths]


class _Class:
    """What is known of all hand-ins before one of them is marked."""

    def __init__(self, key: ClassKey, paths: Sequence[Path]) -> None:
        self._key = key
        self._received: dict[Path, Received] = {}
        self._broken: dict[Path, str] = {}
        self._sheets: dict[str, Sheet] = {}
        for path in paths:
            try:
                self._received[path] = read_handin(path)
            except TutorialError as e:
                self._broken[path] = str(e)

    def _sheet(self, name: str) -> Sheet:
        if name not in self._sheets:
            self._sheets[name] = make_sheet(self._key, name)
        return self._sheets[name]

    def grade(self, path: Path) -> Graded:
        if path in self._broken:
            return Graded(path, _named(path), {}, {}, (self._broken[path],))
        received = self._received[path]
        try:
            name = student_name(_named(path))
        except TutorialError as e:
            what = f"{path.name} names no student ({e}). Expected {handin_file('ada')}."
            return Graded(path, _named(path), {}, {}, (what,))
        sheet = self._sheet(name)
        found = mark(sheet, received)
        remarks = [*self._remarks(sheet, received), *received.broken]
        return Graded(path, name, found, received.content.work.texts, tuple(remarks))

    def _remarks(self, sheet: Sheet, received: Received) -> Iterator[str]:
        content = received.content
        if content.name != sheet.name:
            yield f"The file says that it is of {content.name!r}."
        if content.sheet != sheet.salt:
            yield "It answers another sheet than the one that was made for this student."
        elif content.seal != content.sealed(sheet.seal):
            yield "It was edited after it was written: its seal is not that of its content."
        yield from self._unlike_files(received)
        yield from _unlike_checks(sheet, received)
        yield from self._others(sheet, received)
        for question, code in content.work.sources.items():
            if calls_the_library(code):
                yield f"The function of task {question} imports or calls something: read its code."

    def _unlike_files(self, received: Received) -> Iterator[str]:
        for run, found in received.runs.items():
            said = received.content.files.get(f"episodes/{run}/steps.jsonl")
            if said != found.digest:
                yield f"The log of episode {run} was exchanged after the hand-in was written."

    def _others(self, sheet: Sheet, received: Received) -> Iterator[str]:
        """Signs that it was copied from another hand-in of the folder."""
        mine = fits(sheet, received, DRAWN)
        digests = {run.digest for run in received.runs.values()}
        for path, other in self._received.items():
            if path == received.path:
                continue
            if digests & {run.digest for run in other.runs.values()}:
                yield f"It holds an episode that {path.name} holds as well, to the last digit."
            if mine + 2 >= len(DRAWN):
                continue
            theirs = self._fits_their_sheet(path, received)
            if theirs > mine + 2:
                what = f"{theirs} of {len(DRAWN)} answers are right for the sheet of"
                yield f"{what} {_named(path)!r}, {mine} for this student's own."

    def _fits_their_sheet(self, path: Path, received: Received) -> int:
        try:
            other = self._sheet(student_name(_named(path)))
        except TutorialError:
            return 0
        return fits(other, received, DRAWN)


def _unlike_checks(sheet: Sheet, received: Received) -> Iterator[str]:
    """Checks that are said to have been right though their answers are not, and another score."""
    work = received.content.work
    wrong = []
    right: dict[str, bool] = {}
    for question in QUESTIONS:
        rights = parts(sheet, received, question)
        right[question] = bool(rights) and all(rights)
        if work.right.get(question) and not right[question]:
            wrong.append(question)
    if wrong:
        yield f"It says that {', '.join(wrong)} were right; those answers are not."
    said = received.content.score
    told = claimed(work.right, work.tries)
    if said != told:
        yield f"It says {said} points; its own checks give {told}."
    strange = sorted(set(work.right) - set(QUESTIONS))
    if strange:
        yield f"It answers questions that there are not: {', '.join(strange)[:100]}."


def _named(path: Path) -> str:
    """The student's name in the name of a file, "handin_ada.zip" → "ada"."""
    return path.stem.removeprefix("handin_")


COLUMNS = ("name", *QUESTIONS, "checked", *OPEN, "remarks", "file")
"""Of the table of marks. Those of open questions are empty, for the teacher to fill in."""


def marks_csv(graded: Sequence[Graded]) -> str:
    """A row a hand-in, as CSV. A cell that a spreadsheet would take for a formula is quoted."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in graded:
        found = [one.points.get(question, "") for question in QUESTIONS]
        total = "" if one.total is None else one.total
        blanks = ["" for _ in OPEN]
        remarks = _harmless(" ".join(one.remarks))
        row = [_harmless(one.name), *found, total, *blanks, remarks, _harmless(one.path.name)]
        writer.writerow(row)
    return text.getvalue()


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    line = " ".join(text.split())
    return f"'{line}" if line[:1] in ("=", "+", "-", "@") else line
