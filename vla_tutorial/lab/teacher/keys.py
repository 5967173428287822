"""A class's key, and draws from it: equal keys, names and labels draw equal numbers anywhere."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from vla_tutorial.decoding import decode, read_bytes
from vla_tutorial.errors import TutorialError

T = TypeVar("T")

AGAIN = "Restore it from your copy: with another key every student has other questions."


class _KeyFile(msgspec.Struct):
    # 64 hexadecimal digits.
    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class ClassKey:
    """What decides the variants of a class. `marked`: it is a secret, and not the practice key."""

    secret: bytes
    marked: bool = True

    def hexadecimal(self, name: str, label: str) -> str:
        """32 hexadecimal digits for a student and a purpose (HMAC-SHA-256, its first half)."""
        said = f"{name}\0{label}".encode()
        return hmac.digest(self.secret, said, "sha256")[:16].hex()

    def number(self, name: str, label: str, below: int) -> int:
        """A number from 0 to `below` − 1. The 128 bits make every one as likely as another."""
        return int(self.hexadecimal(name, label), 16) % below

    def choice(self, name: str, label: str, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.number(name, label, len(options))]

    def shuffled(self, name: str, label: str, options: Sequence[T]) -> list[T]:
        """The options in an order of the student's own."""
        order = sorted(range(len(options)), key=lambda i: self.hexadecimal(name, f"{label} {i}"))
        return [options[i] for i in order]


PRACTICE = ClassKey(b"practice", marked=False)
"""Whose sheets anybody can make: for those who work on their own."""


def read_key(path: Path) -> ClassKey:
    """The key in a file that `write_key` made.

    Raises:
        TutorialError: the file cannot be read, or holds no key.
    """
    found = decode(read_bytes(path, AGAIN, 4096), _KeyFile, str(path), AGAIN)
    return ClassKey(bytes.fromhex(found.key))


def write_key(path: Path) -> ClassKey:
    """Draw a new key and write it to a new file that only its owner can read.

    Raises:
        TutorialError: the file cannot be written, or is there already.
    """
    secret = secrets.token_bytes(32)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as e:
        remedy = "Choose a new file in a folder that you can write to."
        raise TutorialError(f"Cannot write the key to {path}: {e.strerror}. {remedy}") from e
    with os.fdopen(file, "wb") as opened:
        opened.write(msgspec.json.encode(_KeyFile(secret.hex())) + b"\n")
    return ClassKey(secret)
