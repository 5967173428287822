"""Who may ask: a file of tokens, one a line, each with a student's name if there are several."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_tutorial.decoding import printable, read_lines
from vla_tutorial.errors import TutorialError
from vla_tutorial.serve.limits import Refusal

SHORTEST = 8
"""Characters of a token. `python -c "import secrets; print(secrets.token_urlsafe(12))"` has 16."""

MOST_BYTES = 2**20
MOST_LINES = 10_000

_REMEDY = "Write one token a line, or a name, a space and a token."


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        key: whose turn it takes, and whose limits count.
        name: as the status page shows it.
    """

    key: str
    name: str


@dataclass(frozen=True)
class Access:
    """The tokens, by the SHA-256 of their text: a look-up's time then tells nothing about them."""

    names: Mapping[bytes, str] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path) -> Access:
        """Read a file of tokens. Empty lines and those that begin with # count as nothing.

        Raises:
            TutorialError: it cannot be read, holds no token, a short one or one twice.
        """
        names: dict[bytes, str] = {}
        lines = read_lines(path, _REMEDY, MOST_BYTES, MOST_LINES)
        for number, line in enumerate(lines, 1):
            words = line.decode("utf-8", "replace").split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) > 2 or len(words[-1]) < SHORTEST:
                what = f"{path}, line {number} is not a token of {SHORTEST} or more characters"
                raise TutorialError(f"{what}. {_REMEDY}")
            digest = _digest(words[-1])
            if digest in names:
                raise TutorialError(f"{path}, line {number} repeats a token. Delete that line.")
            names[digest] = printable(words[0])[:40] if len(words) == 2 else f"line {number}"
        if not names:
            raise TutorialError(f"{path} holds no token. {_REMEDY}")
        return cls(names)

    def visitor(
        self, headers: Mapping[str, str], query: Mapping[str, str], address: str, own: str
    ) -> Visitor:
        """Who asks, by the token in `Authorization` or, for clients without headers, in `?token=`.

        Args:
            headers: with keys in lower case.
            own: what tells this client from others at the same address.

        Raises:
            Refusal: there is no token, or a wrong one.
        """
        if not self.names:
            return Visitor(f"{address} {own}", address)
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() not in ("bearer", "api-key"):
            given = ""
        given = given.strip() or query.get("token", "")
        name = self.names.get(_digest(given))
        if name is None:
            found = "There is no token."
            if given:
                found = "The token is not one that this server knows."
            remedy = "Send the header `Authorization: Bearer TOKEN`, or ?token=TOKEN in the address"
            raise Refusal(401, f"{found} {remedy}.")
        if len(self.names) > 1:
            # However many connections a student opens, it is one student.
            return Visitor(name, name)
        return Visitor(f"{address} {own}", address)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def check_exposure(host: str, access: Access, insecure: bool) -> None:
    """Refuse to serve everybody by accident.

    Raises:
        TutorialError: other machines can reach `host`, and there is neither a token nor `insecure`.
    """
    if access.names or insecure or _is_own(host):
        return
    what = f"At {host} other machines can ask without a token."
    remedy = "Give --token-file, or --insecure if everybody may ask, or use --host 127.0.0.1."
    raise TutorialError(f"{what} {remedy}")


def _is_own(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
