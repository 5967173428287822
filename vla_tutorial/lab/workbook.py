"""A student's workbook: it checks answers, keeps them, and writes the hand-in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.decoding import decode, read_bytes, read_object
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.files import write_atomically
from vla_tutorial.lab import checks
from vla_tutorial.lab.answers import NO_ANSWER, CheckResult, not_yet
from vla_tutorial.lab.handin import Answers, Event, handin_file, write_handin
from vla_tutorial.lab.kept import Kept, kept
from vla_tutorial.lab.points import claimed, possible
from vla_tutorial.lab.sheet import (
    LETTERS,
    OPEN,
    QUESTIONS,
    Sheet,
    read_sheet,
    sheet_file,
    shown,
    student_name,
)
from vla_tutorial.lab.unlabelled import UnlabelledClip
from vla_tutorial.log import read_log
from vla_tutorial.provenance import versions

MOST_LETTERS = 4000
"""Of an open answer."""

MOST_EVENTS = 2000

DAMAGED = "Delete that file, and run the cells with your answers again."


@dataclass(frozen=True)
class HandedIn:
    """What `Workbook.hand_in` wrote. As the last line of a cell it says so."""

    path: Path
    score: int
    missing: tuple[str, ...]

    def __repr__(self) -> str:
        lines = [
            f"Wrote {self.path}.",
            f"Your checks give {self.score} of {possible()} points. "
            f"A person marks the open answers ({sum(p for p, _ in OPEN.values())} points).",
        ]
        if self.missing:
            lines.append(f"Not answered: {', '.join(self.missing)}.")
        return "\n".join(lines)


class Workbook:
    """The answers of one student, kept in `answers.json` of `folder` from one session to the next.

    Args:
        name: the student's; it chooses the variant.
        folder: where episodes and answers are written.
        sheets: folder of the sheet, `lab_sheet_NAME.json`. None takes the notebook's. Where the
            file is missing, a sheet for practice is made.

    Attributes:
        sheet: the questions.

    Raises:
        TutorialError: the name is none, or a file is damaged.
    """

    def __init__(self, name: str, folder: Path, sheets: Path | None = None) -> None:
        found = student_name(name)
        self.folder = folder
        self._sheets = sheets or Path.cwd()
        self.sheet = _open(found, self._sheets)
        self._path = folder / f"answers_{found}.json"
        self._kept = self._read()
        self._checks = self._make_checks()

    def __repr__(self) -> str:
        kind = "a marked sheet" if self.sheet.marked else "a sheet for practice"
        return f"{self.sheet.name}: {kind}, {possible()} points in the checks."

    def _read(self) -> Answers:
        if not self._path.is_file():
            return Answers()
        text = read_bytes(self._path, DAMAGED)
        return decode(text, Answers, str(self._path), DAMAGED)

    def _make_checks(self) -> dict[str, Callable[[Any], CheckResult]]:
        sheet = self.sheet
        found: dict[str, Callable[[Any], CheckResult]] = {
            "1a": partial(self._of_log, checks.first_close),
            "1b": partial(self._of_log, checks.number_of_closes),
            "1c": self._episode,
            "2": partial(checks.orientation, sheet),
            "3": partial(checks.prompt_text, sheet),
            "4a": partial(checks.decoder, sheet),
            "4b": partial(checks.scale_factors, sheet),
            "4c": partial(checks.reach, sheet),
            "6": self._experiment,
            "7a": partial(checks.interval, sheet),
            "7b": partial(checks.episodes_needed, sheet),
            "7c": partial(checks.discordant_pairs, sheet),
            "7d": partial(checks.p_value, sheet),
        }
        for letter in LETTERS:
            found[f"5{letter}"] = partial(checks.name_of_clip, sheet, letter)
        return found

    def check(self, question: str, answer: object) -> CheckResult:
        """Whether an answer is right, or a hint. Answers that are not None are kept.

        Args:
            question: as the notebook names it, for example "4b".
            answer: a number, a text, a list of numbers or a function; for "1c" the folder of an
                episode, for "6" the folders of two.

        Raises:
            TutorialError: there is no such question, or an episode's file is damaged.
        """
        if question not in self._checks:
            raise unknown("question", str(question), self._checks)
        if answer is None:
            return NO_ANSWER
        try:
            result = self._checks[question](answer)
        except TutorialError as e:
            return not_yet(str(e))
        misspelt = question.startswith("5") and answer not in self.sheet.choices
        if result != NO_ANSWER and (result.right or not misspelt):
            self._keep(question, kept(self.sheet, question, answer), result.right)
        return result

    def write(self, question: str, text: str | None) -> CheckResult:
        """Keep the answer of an open question. Nothing judges it before a person does.

        Raises:
            TutorialError: there is no such open question.
        """
        if question not in OPEN:
            raise unknown("open question", str(question), OPEN)
        if text is None:
            return NO_ANSWER
        if not isinstance(text, str) or not text.strip():
            return not_yet("expected a text.")
        if len(text) > MOST_LETTERS:
            return not_yet(f"your text has {len(text)} letters; expected at most {MOST_LETTERS}.")
        self._kept.texts[question] = text
        self._save()
        return CheckResult(
            True, f"your answer is kept ({len(text.split())} words). A person will mark it."
        )

    def clip(self, letter: str) -> UnlabelledClip:
        """An episode of task 5, which shows itself.

        Raises:
            TutorialError: there is no such letter.
        """
        if letter not in self.sheet.clips:
            raise unknown("episode", str(letter), self.sheet.clips)
        return UnlabelledClip(letter, shown(self.sheet.clips[letter]), shown(self.sheet.good))

    def hand_in(self, folder: Path | None = None) -> HandedIn | CheckResult:
        """Write `handin_NAME.zip` beside the notebook, or into `folder`, as often as you like.

        Raises:
            OSError: it cannot be written.
        """
        if not self._answered() and not self._kept.texts:
            return not_yet("there is nothing to hand in: no question has an answer.")
        path = (folder or self._sheets) / handin_file(self.sheet.name)
        score = claimed(self._kept.right, self._kept.tries)
        write_handin(path, self.sheet, self._kept, score, versions())
        missing = [q for q in QUESTIONS if q not in self._kept.answers]
        missing += [q for q in OPEN if q not in self._kept.texts]
        return HandedIn(path, score, tuple(missing))

    def _answered(self) -> bool:
        """Whether there is more than the notebook as it was given out, run once."""
        untouched = kept(self.sheet, "2", lambda picture: picture).value
        given = {q: answer for q, answer in self._kept.answers.items() if answer is not None}
        if given.get("2") == untouched:
            del given["2"]
        return bool(set(given) - {"1c", "6"})

    def _of_log(self, check: Callable[..., CheckResult], answer: object) -> CheckResult:
        folder = self._kept.folders.get("1")
        if folder is None:
            return not_yet('record the episode first, and run the cell with work.check("1c", …).')
        return check(read_log(folder), answer)

    def _episode(self, folder: object) -> CheckResult:
        if not isinstance(folder, str | Path):
            return not_yet("expected the folder of an episode.")
        path = Path(folder) / "episode.json"
        if not path.is_file():
            return not_yet(f"{Path(folder).name} holds no episode yet. Record one there.")
        self._kept.folders["1"] = str(Path(folder).absolute())
        record = read_object(path, checks.Compared, "Record the episode again.")
        return checks.own_episode(self.sheet, record)

    def _experiment(self, folders: Any) -> CheckResult:
        given = folders if isinstance(folders, list | tuple) else ()
        if len(given) != 2 or not all(isinstance(one, str | Path) for one in given):
            return not_yet("expected the folders of two episodes.")
        for run, folder in zip(("6a", "6b"), folders, strict=True):
            self._kept.folders[run] = str(Path(folder).absolute())
        return checks.fair_comparison(*folders)

    def _keep(self, question: str, answer: Kept, correct: bool) -> None:
        work = self._kept
        if answer.code:
            work.sources[question] = answer.code
        if question not in work.tries or work.answers.get(question) != answer.value:
            work.tries[question] = work.tries.get(question, 0) + 1
        work.answers[question] = answer.value
        work.right[question] = correct
        now = datetime.now(UTC).isoformat(timespec="seconds")
        work.events.append(Event(now, question, correct))
        del work.events[:-MOST_EVENTS]
        self._save()

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, msgspec.json.encode(self._kept))


def _open(name: str, folder: Path) -> Sheet:
    path = folder / sheet_file(name)
    if not path.is_file():
        # Not above: the teacher's side imports this one.
        from vla_tutorial.lab.teacher.sheets import practice_sheet

        return practice_sheet(name)
    sheet = read_sheet(path)
    if sheet.name != name:
        what = f"{path} is the sheet of {sheet.name!r}, but NAME is {name!r}"
        raise TutorialError(f"{what}. Write your own name, and use the file that you were given.")
    return sheet
