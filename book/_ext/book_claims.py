"""The reader of `claims.yml`: every claim checked, errors with file, line and key. No Sphinx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from vla_tutorial.decoding import decode_object, read_bytes
from vla_tutorial.errors import TutorialError

MOST_BYTES = 256 * 2**10
"""Bytes of the file, eight times what it has. YAML is read at about a megabyte a second."""

REMEDY = "The comment at the top of the file says what a claim has."

Verdict = Literal["holds", "holds with a correction", "does not hold", "needs the 7B checkpoint"]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    """One claim; the comment at the top of `claims.yml` says what each field is."""

    # It becomes an anchor.
    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*\Z")]
    title: Text
    where: Text
    claim: Text
    test: Text
    command: str
    result: Text
    verdict: Verdict
    sources: list[Text]


def read_claims(path: Path) -> list[dict[str, Any]]:
    """The claims, in the file's order, as `Claim` has them; templates in them are not filled.

    Raises:
        TutorialError: the file is too large or no YAML, or a claim is not as `Claim` has it; then
            the error names its line, key and value.
    """
    text = read_bytes(path, REMEDY, MOST_BYTES)
    try:
        # All values are strings, lists and objects here: nothing is read as a date or a tag.
        places = yaml.compose(text, yaml.BaseLoader)
        listed = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as e:
        why = " ".join(str(e).split())
        raise TutorialError(f"{path} is not YAML ({why}). {REMEDY}") from e
    if not isinstance(listed, list):
        raise TutorialError(f"{path} is no list of claims. {REMEDY}")
    found = []
    for entry, place in zip(listed, places.value, strict=True):
        where = f"{path}, line {place.start_mark.line + 1}: a claim"
        found.append(decode_object(_json(entry, where), Claim, where, REMEDY))
    return found


def _json(entry: Any, where: str) -> bytes:
    try:
        return json.dumps(entry).encode()
    except (ValueError, TypeError, RecursionError) as e:
        raise TutorialError(f"{where} holds more than text and lists ({e}). {REMEDY}") from e
