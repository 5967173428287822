"""The hand-in: answers, what the checks said, and the logs of the episodes, in one zip file.

    handin_ada.zip
        handin.json
        episodes/1/episode.json, steps.jsonl      the episode of task 1
        episodes/6a/…, episodes/6b/…              the two of task 6

Reading one executes nothing, writes nothing of it outside a temporary folder, and reads only the
files above, each up to a limit.
"""

from __future__ import annotations

import hashlib
import hmac
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from vla_tutorial.decoding import MOST_BYTES, Count, Name, decode, read_object
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import whole_file
from vla_tutorial.lab.checks import Compared
from vla_tutorial.lab.sheet import Digest, Numbers, Sheet
from vla_tutorial.log import Log, read_log

HANDIN_FORMAT = 1
ANSWERS = "handin.json"
RUNS = ("1", "6a", "6b")
FILES = ("episode.json", "steps.jsonl")

AGAIN = "Ask for the file that work.hand_in() wrote."

Text = Annotated[str, msgspec.Meta(max_length=4000)]
Answer = int | float | Text | Numbers | None
_Short = Annotated[str, msgspec.Meta(max_length=100)]


class Event(msgspec.Struct):
    """A check that was made. `time` is the student's clock, in UTC."""

    time: _Short
    question: _Short
    right: bool


class Answers(msgspec.Struct):
    """What a student answered so far; the file `answers.json` of the lab's folder.

    Attributes:
        answers: question → the last answer that was checked.
        right: question → whether the check called it right.
        tries: question → how many different answers were checked.
        texts: open question → what was written.
        sources: question → the code of the student's function.
        folders: run of `RUNS` → folder of the episode.
    """

    answers: dict[_Short, Answer] = {}
    right: dict[_Short, bool] = {}
    tries: dict[_Short, Count] = {}
    texts: dict[_Short, Text] = {}
    sources: dict[_Short, Text] = {}
    folders: dict[_Short, str] = {}
    events: Annotated[list[Event], msgspec.Meta(max_length=5000)] = []


class HandIn(msgspec.Struct):
    """The file `handin.json`.

    Attributes:
        sheet: salt of the sheet that was answered, which is another one for each student.
        score: points of the checks, as the student saw them.
        files: path in the zip → SHA-256.
        seal: HMAC of all other fields with the sheet's `seal`.
    """

    format: int
    name: Name
    marked: bool
    sheet: Digest
    score: Count
    work: Answers
    versions: dict[_Short, str]
    files: dict[_Short, _Short]
    seal: str = ""

    def sealed(self, key: str) -> str:
        """The seal that belongs to the other fields."""
        without = msgspec.structs.replace(self, seal="")
        told = msgspec.json.encode(without)
        return hmac.digest(key.encode(), told, "sha256").hex()


@dataclass(frozen=True)
class Run:
    """A recorded episode of a hand-in: its record as `Compared` has it, and its log."""

    record: dict[str, Any]
    log: Log
    digest: str  # SHA-256 of steps.jsonl


@dataclass(frozen=True)
class Received:
    """A hand-in that was read. `runs` has those episodes that are whole; `broken` says why not."""

    path: Path
    content: HandIn
    runs: Mapping[str, Run]
    broken: tuple[str, ...]


def handin_file(name: str) -> str:
    """The name of a student's hand-in."""
    return f"handin_{name}.zip"


def write_handin(path: Path, sheet: Sheet, work: Answers, score: int, versions: Any) -> HandIn:
    """Write a hand-in to `path`, with the episodes of `work.folders` that are there.

    Raises:
        OSError: it cannot be written.
    """
    files = {}
    for run in RUNS:
        folder = Path(work.folders.get(run, ""))
        for name in FILES:
            if run in work.folders and (folder / name).is_file():
                files[f"episodes/{run}/{name}"] = (folder / name).read_bytes()
    content = HandIn(
        format=HANDIN_FORMAT,
        name=sheet.name,
        marked=sheet.marked,
        sheet=sheet.salt,
        score=score,
        # Where the folders lie on the student's computer is nobody's business.
        work=msgspec.structs.replace(work, folders={}),
        versions={name: str(version) for name, version in versions.items()},
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
    content.seal = content.sealed(sheet.seal)
    with whole_file(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ANSWERS, msgspec.json.format(msgspec.json.encode(content), indent=1))
        for name, data in files.items():
            archive.writestr(name, data)
    return content


def read_handin(path: Path) -> Received:
    """The hand-in in a zip file.

    Raises:
        TutorialError: it cannot be read, is no zip file, or `handin.json` is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except TutorialError:
        raise
    # Of damaged archives zipfile and its decompressors raise errors of many kinds.
    except Exception as e:
        why = str(e) or type(e).__name__
        raise TutorialError(f"{path} is not a whole zip file ({why}). {AGAIN}") from e


def _read(path: Path, archive: zipfile.ZipFile) -> Received:
    where = f"{path.name}, {ANSWERS},"
    content = decode(_member(archive, ANSWERS, path), HandIn, where, AGAIN)
    if content.format != HANDIN_FORMAT:
        raise TutorialError(f"{where} has format {content.format}. Expected {HANDIN_FORMAT}.")
    runs = {}
    broken = []
    for run in RUNS:
        if f"episodes/{run}/{FILES[0]}" in archive.namelist():
            try:
                runs[run] = _read_run(archive, run, path)
            except TutorialError as e:
                broken.append(f"Episode {run} is not whole: {e}")
    return Received(path, content, runs, tuple(broken))


def _read_run(archive: zipfile.ZipFile, run: str, path: Path) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            data = _member(archive, f"episodes/{run}/{name}", path)
            (Path(folder) / name).write_bytes(data)
        try:
            record = read_object(Path(folder) / FILES[0], Compared, AGAIN)
            log = read_log(folder)
        except TutorialError as e:
            raise TutorialError(str(e).replace(folder, f"{path.name}/episodes/{run}")) from e
    return Run(record, log, hashlib.sha256(data).hexdigest())


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if name not in archive.namelist():
        raise TutorialError(f"{path.name} lacks {name}. {AGAIN}")
    with archive.open(name) as opened:
        # What the archive says of sizes may be a lie.
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        allowed = f"expected at most {MOST_BYTES / 2**20:.0f} MiB"
        raise TutorialError(f"{name} in {path.name} is too large, {allowed}. {AGAIN}")
    return data
