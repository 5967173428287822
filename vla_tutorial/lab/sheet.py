"""A student's sheet: the questions of one variant, and digests with which answers are checked.

The sheet holds no answer. For each question it has a table of replies by digest: the digest of a
right answer leads to "right", the digest of a usual mistake to its hint. Digests are salted and
slow, which stops nobody who tries all eight names or all numbers up to 300. The marks do not
depend on them: `teacher.marks` computes the answers again from the class's key.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from PIL import Image

from vla_tutorial.arrays import Picture
from vla_tutorial.decoding import Count, Name, decode, read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.answers import CheckResult
from vla_tutorial.lab.shown_clip import CURVES, ShownClip

SHEET_FORMAT = 1
ROUNDS = 4000
"""Of PBKDF2 for a digest: a few milliseconds."""

AGAIN = "Copy it again from what your teacher gave you."

LETTERS = ("A", "B", "C", "D", "E")
"""Of the episodes without labels."""

QUESTIONS = {
    "1a": (1, "first closing command"),
    "1b": (1, "changes to close"),
    "1c": (1, "episode recorded"),
    "2": (2, "turn"),
    "3": (2, "prompt"),
    "4a": (4, "decode"),
    "4b": (2, "factors"),
    "4c": (1, "how far"),
    **{f"5{letter}": (2, f"episode {letter}") for letter in LETTERS},
    "6": (3, "fair comparison"),
    "7a": (2, "interval"),
    "7b": (2, "episodes"),
    "7c": (2, "pairs"),
    "7d": (1, "p-value"),
}
"""Question → points, and what it is about in a few words."""

OPEN = {
    "2t": (1, "which mistake img_mean shows"),
    "6t": (2, "prediction"),
    "8": (3, "to take home"),
}
"""Questions that a person marks, with the rubric → points, and what they are about."""

Numbers = Annotated[list[float], msgspec.Meta(max_length=64)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
_Series = Annotated[list[float], msgspec.Meta(max_length=2000)]


class Reply(msgspec.Struct):
    """What a check answers; "{answer}" in `why` stands for the student's answer."""

    right: bool
    why: Annotated[str, msgspec.Meta(max_length=500)]


class Clip(msgspec.Struct):
    """A recorded episode without its name, as `ShownClip` has it."""

    # The bytes of a WebP file, in base64.
    picture: Annotated[str, msgspec.Meta(max_length=200_000)]
    prompt: Annotated[str, msgspec.Meta(max_length=1000)]
    tokens: tuple[int, int, int, int, int, int, int]
    series: dict[str, _Series]


class Case(msgspec.Struct):
    """An input of the function of task 4a."""

    token: Annotated[int, msgspec.Meta(ge=31744, le=31999)]
    q01: float
    q99: float


class Sheet(msgspec.Struct):
    """One student's questions. `teacher.sheets.make_sheet` says how each is drawn.

    Attributes:
        marked: whether a class's key drew it; else it is for practice, and no secret.
        seal: key of the hand-in's seal, in hexadecimal.
        task, init: of the episode of task 1.
        picture: (5, 7, 3) grey levels, for task 2.
        quantiles: key of action statistics → q01 and q99 of x, y and z.
        clips: letter → clip; `good` is a known-good run from the same start.
        pairs: success of the first and of the second condition of `compared`, by start.
        replies: question → digest of an answer → what the check says.
    """

    format: int
    name: Name
    marked: bool
    salt: Digest
    seal: Digest
    task: Annotated[int, msgspec.Meta(ge=0, le=9)]
    init: Annotated[int, msgspec.Meta(ge=0, le=49)]
    picture: list[list[tuple[int, int, int]]]
    instruction: Name
    cases: Annotated[list[Case], msgspec.Meta(min_length=1, max_length=20)]
    quantiles: dict[str, tuple[Numbers, Numbers]]
    steps: Count
    choices: Annotated[list[Name], msgspec.Meta(min_length=2, max_length=20)]
    clips: dict[str, Clip]
    good: Clip
    counted: Name
    successes: Count
    episodes: Count
    rate: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    error: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    compared: tuple[Name, Name]
    pairs: Annotated[list[tuple[bool, bool]], msgspec.Meta(max_length=2000)]
    replies: dict[str, dict[Digest, Reply]]

    def image(self) -> Picture:
        """The picture of task 2: (5, 7, 3) uint8."""
        return np.array(self.picture, np.uint8)

    def reply(self, question: str, forms: Mapping[str, str]) -> CheckResult | None:
        """What the sheet says of an answer in any of its forms, the first known one; None: nothing.

        Args:
            forms: as `forms.py` makes them of an answer.
        """
        known = self.replies.get(question, {})
        for form, text in forms.items():
            found = known.get(digest(self.salt, question, form, text))
            if found is not None:
                return CheckResult(found.right, found.why)
        return None


def digest(salt: str, question: str, form: str, text: str) -> str:
    """The salted digest of one form of an answer, 32 hexadecimal digits."""
    told = "\0".join((question, form, text)).encode(errors="replace")
    return hashlib.pbkdf2_hmac("sha256", told, salt.encode(), ROUNDS, 16).hex()


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    said: str


_NAME = _Rule(
    re.compile(r"[a-z0-9][a-z0-9._-]{0,39}"),
    "1 to 40 letters from a to z, digits, and . _ - after the first",
)


def student_name(name: object) -> str:
    """The name as the sheets have it: in lower case, without spaces around.

    Raises:
        TutorialError: it is no name of `student_name`'s letters, for example because of an umlaut.
    """
    found = name.strip().lower() if isinstance(name, str) else ""
    if not _NAME.pattern.fullmatch(found):
        shown = repr(name)[:60]
        raise TutorialError(f"NAME is {shown}; expected {_NAME.said}. Write it that way.")
    return found


def sheet_file(name: str) -> str:
    """The name of the file that holds the sheet of a student."""
    return f"lab_sheet_{name}.json"


def read_sheet(path: Path) -> Sheet:
    """The sheet in a file.

    Raises:
        TutorialError: the file cannot be read, or is no sheet.
    """
    found = decode(read_bytes(path, AGAIN), Sheet, str(path), AGAIN)
    if found.format != SHEET_FORMAT or set(found.clips) != set(LETTERS):
        what = f"is a sheet of format {found.format}, expected {SHEET_FORMAT} with clips A to E"
        raise TutorialError(f"{path} {what}. {AGAIN}")
    return found


def shown(clip: Clip) -> ShownClip:
    """A clip of a sheet, ready to be drawn.

    Raises:
        TutorialError: its picture is damaged, or a curve is missing.
    """
    missing = [name for name in CURVES if not clip.series.get(name)]
    if missing:
        raise TutorialError(f"A clip of the sheet lacks {', '.join(missing)}. {AGAIN}")
    try:
        with Image.open(io.BytesIO(base64.b64decode(clip.picture))) as poster:
            picture = np.asarray(poster.convert("RGB"))
    except (ValueError, OSError) as e:
        raise TutorialError(f"A picture of the sheet is damaged ({e}). {AGAIN}") from e
    return ShownClip(picture, clip.prompt, clip.tokens, clip.series)
