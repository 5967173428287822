"""The result pack: one small file with every episode and every figure, and nothing private.

It holds no path, no name of a person or a machine, and no picture. Who ran it, the file's name
says once it lies in the book's folder of packs: `OWNER.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from vla_tutorial.accept.judge import Finding
from vla_tutorial.accept.rows import Row
from vla_tutorial.decoding import Name, decode, read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically

PACK_FORMAT = 1
"""Version of the file. Another meaning of a key is another version."""

MOST_BYTES = 5 * 10**6
"""A pack is no larger: 8,000 episodes of 600 bytes would fit, and a run has at most 2,300."""

AGAIN = "Ask its owner for the file pack.json of `vla-tutorial accept` again."

PUBLISHED_OWNER = "openvla/"
"""Hub ids that begin so are named in a pack; another checkpoint is called `OTHER`."""

OTHER = "other"

_PRIVATE = re.compile(r"(^|[\s\"'(=])(/|~|[A-Za-z]:\\|\\\\)|file:|\S@\S")
"""What a path or an address looks like at the beginning of a word."""

Sixteen = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]


class Ran(msgspec.Struct, frozen=True):
    """A checkpoint that acted.

    Attributes:
        checkpoint: "mini", the id of a published one, or "other".
        weights: hash of its files (`provenance.weights_hash`).
        held: how its weights were held: bf16, int8, fp8 or int4.
        suites: that it ran on.
    """

    checkpoint: Name
    weights: Sixteen
    held: Name
    dtype: Name
    suites: list[Name]


class Pack(msgspec.Struct, frozen=True):
    """All that a run says.

    Attributes:
        ran: the checkpoints.
        gpu: name of the device that the model ran on.
        machine: CPU and number of cores, as `provenance.machine` has them.
        checks: what was measured before the episodes.
        claims: what came out for each claim, by its id.
        episodes: those of finished rounds.
    """

    format: int
    ran: list[Ran]
    gpu: Name
    machine: dict[Name, Any]
    versions: dict[Name, Name]
    date: Name
    hours: float
    checks: dict[Name, Any]
    claims: dict[Name, Finding]
    episodes: list[Row]


class _Format(msgspec.Struct):
    format: int


def public_name(checkpoint: str | None) -> str:
    """How a pack calls a checkpoint: "mini", a published hub id, or "other"."""
    if checkpoint in (None, "mini"):
        return "mini"
    known = str(checkpoint).startswith(PUBLISHED_OWNER) and str(checkpoint).count("/") == 1
    return str(checkpoint) if known else OTHER


def write_pack(path: Path, pack: Pack) -> None:
    """Write a pack.

    Raises:
        TutorialError: it is larger than `MOST_BYTES`, or a text in it looks like a path.
    """
    check_private(msgspec.to_builtins(pack), "the pack")
    text = msgspec.json.encode(pack)
    if len(text) > MOST_BYTES:
        what = f"The pack has {len(text) / 1e6:.1f} MB, expected at most {MOST_BYTES / 1e6:.0f}."
        raise TutorialError(f"{what} Give fewer starts; a smaller --budget has fewer.")
    write_atomically(path, text + b"\n")


def read_pack(path: Path) -> Pack:
    """Read a pack, of whoever made it.

    Raises:
        TutorialError: the file cannot be read or is too large, it is of another version, it is no
            pack, or it holds a path.
    """
    text = read_bytes(path, AGAIN, MOST_BYTES)
    found = decode(text, _Format, str(path), AGAIN).format
    if found != PACK_FORMAT:
        raise TutorialError(
            f"{path} is a pack of version {found}; this version reads {PACK_FORMAT}: use the "
            "vla-tutorial that wrote it, or run accept again."
        )
    pack = decode(text, Pack, str(path), AGAIN)
    check_private(msgspec.to_builtins(pack), str(path))
    return pack


def check_private(value: Any, where: str) -> None:
    """Raise a TutorialError if a text anywhere in `value` looks like a path or an address."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_private(key, where)
            check_private(inner, where)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_private(inner, where)
    elif isinstance(value, str) and _PRIVATE.search(value):
        expected = "Expected no path and no address in a pack that others will see."
        raise TutorialError(f"{where} holds {value!r:.80}. {expected} {AGAIN}")
