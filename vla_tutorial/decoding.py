"""JSON that somebody else may have damaged: decoded by type, in bounds, with errors that name it.

Every file of JSON is read here, so all have the same errors: the file, the line, the key, and the
value that stands there.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import msgspec

from vla_tutorial.errors import TutorialError

T = TypeVar("T")

MOST_BYTES = 4 * 2**20
"""Bytes of a JSON file. Free values of that size take at most 0.3 GB of memory."""

MOST_LEVELS = 40
"""Levels of lists and objects inside each other, in values of any type."""

MOST_EXPLAINED = 2**20
"""Bytes of a text up to which an error shows the value at fault."""

Name = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text on one line. A control character could move a terminal's cursor, and no SVG holds one."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""Of steps, tasks, episodes."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""Of wall time. NaN and infinity are no JSON."""


def is_file(path: Path) -> bool:
    """Whether a file is there that one may look at; a name that no disk takes is none."""
    # `Path.is_file` raises an error where a name is too long or a folder is closed to us.
    return os.path.isfile(path)


def read_bytes(path: Path, remedy: str, most: int = MOST_BYTES) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        TutorialError: the file cannot be read, or is larger. The text ends with `remedy`.
    """
    try:
        size = path.stat().st_size
        if size <= most and path.is_file():
            return path.read_bytes()
    except OSError as e:
        raise TutorialError(f"{path} cannot be read: {e.strerror}. {remedy}") from e
    if size > most:
        allowed = f"expected at most {most / 2**20:.0f} MiB"
        raise TutorialError(f"{path} has {size / 2**20:.0f} MiB, {allowed}. {remedy}")
    raise TutorialError(f"{path} is not a file. {remedy}")


def read_lines(path: Path, remedy: str, most_bytes: int, most_lines: int) -> list[bytes]:
    """The lines of a file, each with its end.

    Raises:
        TutorialError: as `read_bytes`, or the file has more than `most_lines` lines.
    """
    text = read_bytes(path, remedy, most_bytes)
    # Counted first, since millions of empty lines would fill the memory.
    found = text.count(b"\n") + text.count(b"\r")
    if found > most_lines:
        allowed = f"expected at most {most_lines}"
        raise TutorialError(f"{path} has {found} lines, {allowed}. {remedy}")
    return text.splitlines(keepends=True)


def read_object(path: Path, kind: Any, remedy: str, most: int = MOST_BYTES) -> dict[str, Any]:
    """The object in a JSON file, with all of its keys; those that `kind` has are of its types.

    Args:
        kind: what msgspec decodes to, such as a `Struct`. None of its fields may be renamed.
        remedy: a sentence at the end of every error.
        most: bytes that the file may have.

    Raises:
        TutorialError: the file cannot be read or is too large, it holds no JSON, a key of `kind` is
            missing or has a wrong value, or values are nested deeper than `MOST_LEVELS`.
    """
    return decode_object(read_bytes(path, remedy, most), kind, str(path), remedy)


def decode_object(text: bytes, kind: Any, where: str, remedy: str) -> dict[str, Any]:
    """The object in `text`, as `read_object` has it. Errors begin with `where`."""
    decode(text, kind, where, remedy)
    found = decode(text, dict[str, Any], where, remedy)
    if _levels_exceed([found], MOST_LEVELS):
        raise TutorialError(f"{where} is nested deeper than {MOST_LEVELS} levels. {remedy}")
    return found


def decode(text: bytes, kind: type[T], where: str, remedy: str) -> T:
    """The JSON in `text` as `kind`.

    Raises:
        TutorialError: it begins with `where`, says what `fault` says, and ends with `remedy`.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as e:
        raise TutorialError(f"{where} {fault(text, kind, e)}. {remedy}") from e


def is_json(text: bytes) -> bool:
    """Whether `text` is JSON of any type and depth; Python's own NaN and Infinity count as well."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return True
    except msgspec.DecodeError:
        return _lenient(text) is not _UNKNOWN
    return True


def fault(text: bytes, kind: Any, error: Exception) -> str:
    """Why msgspec refused `text` as `kind` with `error`, beginning with a verb.

    It names the keys that are missing, or the first wrong key and its value where that is known.
    """
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    found = _lenient(text)
    if not isinstance(error, msgspec.ValidationError):
        # Python also reads what is no JSON, such as NaN, and then the key can be named.
        error = _refused(found, kind) or error
    if not isinstance(error, msgspec.ValidationError):
        infinite = _infinite(found)
        return f"holds {infinite}, no number of JSON" if infinite else f"is not JSON ({error})"
    missing = _missing(found, kind)
    if missing:
        return f"lacks {', '.join(missing)}"
    expected, _, key = str(error).partition(" - at `$")
    expected = expected[:1].lower() + expected[1:]
    key = key.rstrip("`").lstrip(".")
    if not key:
        return f"is not as expected ({expected})"
    return f"holds {key}{_value_at(found, key)} ({expected})"


def printable(text: str) -> str:
    """`text` on one line, with "�" for what no terminal, SVG or file of UTF-8 should get.

    That is control characters, and the halves of letters that Python makes of a file's name which
    is no UTF-8.
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


# All but the characters of XML 1.0, without its control characters.
_UNPRINTABLE = re.compile("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def script_json(value: object) -> str:
    """`value` as JSON for a script: no letter of it begins a tag or a comment of HTML.

    "<" is written as an escape of JSON, since "</script>" would end the element, and after "<!--"
    its own end would not end it.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", r"\u003c")


_UNKNOWN = object()
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60
_SHORT.maxother = 60


def _lenient(text: bytes) -> Any:
    if len(text) > MOST_EXPLAINED:
        return _UNKNOWN
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _UNKNOWN


def _refused(found: Any, kind: Any) -> Exception | None:
    try:
        if found is not _UNKNOWN:
            msgspec.convert(found, kind)
    except msgspec.ValidationError as e:
        return e
    except UnicodeEncodeError:
        # Python also reads half of a surrogate pair.
        return None
    return None


def _infinite(found: Any) -> str | None:
    """The key and value of a NaN or an infinity, which Python writes though JSON has none."""
    waiting = [("", found)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return f"{key[:200].lstrip('.')} {value}"
        if isinstance(value, dict):
            waiting += [(f"{key}.{name}", child) for name, child in value.items()]
        if isinstance(value, list):
            waiting += [(f"{key}[{i}]", child) for i, child in enumerate(value)]
    return None


def _missing(found: Any, kind: Any) -> list[str]:
    """The required fields of a class `kind` that an object lacks."""
    if get_origin(kind) is not None or not isinstance(found, dict):
        return []
    fields = getattr(msgspec.inspect.type_info(kind), "fields", ())
    return [field.name for field in fields if field.required and field.name not in found]


def _value_at(found: Any, key: str) -> str:
    """The value at a key such as "tasks[2]" as text after a space; nothing where it is unknown."""
    for part in key.replace("[", ".[").lstrip(".").split("."):
        index = part.strip("[]")
        if isinstance(found, dict):
            found = found.get(part, _UNKNOWN)
        elif isinstance(found, list) and index.isdigit():
            found = found[int(index)]
        else:
            return ""
    if found is _UNKNOWN:
        return ""
    return f" {_SHORT.repr(found)}"


def _levels_exceed(values: list[Any], most: int) -> bool:
    for _ in range(most):
        values = list(chain.from_iterable(map(_children, values)))
        if not values:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()
