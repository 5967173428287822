"""What others measured with `vla-tutorial accept`: their result packs, each shown with its owner.

A pack lies in `results/packs/OWNER.json`; the file's name says whose it is, and nothing in it does.
No Sphinx here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vla_tutorial.accept.judge import Finding
from vla_tutorial.accept.pack import PUBLISHED_OWNER, Pack, read_pack
from vla_tutorial.errors import TutorialError

PACKS = Path(__file__).resolve().parents[2] / "results" / "packs"

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")

_MARKUP = re.compile(r"[\\`*_{}\[\]<>|#~^$&!]")


@dataclass(frozen=True)
class Owned:
    """A pack and whose it is."""

    owner: str
    pack: Pack

    @property
    def ran(self) -> str:
        """The checkpoints that acted, in words."""
        return " and ".join(dict.fromkeys(f"{r.checkpoint}, {r.held}" for r in self.pack.ran))

    @property
    def published(self) -> bool:
        """Whether all of them are published ones."""
        return all(r.checkpoint.startswith(PUBLISHED_OWNER) for r in self.pack.ran)


@cache
def packs() -> tuple[Owned, ...]:
    """Every pack, by owner.

    Raises:
        TutorialError: a file is no pack, or of another version; or its name names nobody.
    """
    found = []
    for path in sorted(PACKS.glob("*.json")):
        if not _OWNER.fullmatch(path.stem):
            expected = "Expected OWNER.json, of letters, digits, dots and dashes."
            raise TutorialError(f"{path}: the name of a pack says whose it is. {expected}")
        found.append(Owned(path.stem, read_pack(path)))
    return tuple(found)


def plain(text: object) -> str:
    """A stranger's text for a page: one line, in which nothing is Markdown or HTML."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(text).split()))


def packed(claim: str) -> list[tuple[Owned, Finding]]:
    """What the packs say of a claim, by its id: those that measured it."""
    found = [(one, one.pack.claims.get(claim)) for one in packs()]
    return [(one, f) for one, f in found if f is not None and f.numbers]
