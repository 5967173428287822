"""Sweep folders, as far as diagnosis needs them: which episodes there are, and whose names they go under."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.diagnose.rules import Boundary
from vla_tutorial.errors import TutorialError


@dataclass(frozen=True)
class Entry:
    """One line of `episodes.jsonl`; a later attempt at the same episode replaces an earlier one.

    Attributes:
        folder: the episode's, below the sweep's.
        outcome: "success", "failure" or "error".
        first_close: step of the first closing command, or None.
    """

    suite: str
    task: int
    init: int
    condition: str
    outcome: str
    folder: str
    first_close: int | None = None

    @property
    def success(self) -> bool:
        """Whether the task was done."""
        return self.outcome == "success"


def read_entries(sweep: Path) -> list[Entry]:
    """The episodes of a sweep.

    Raises:
        TutorialError: there is no `episodes.jsonl`, it is empty, or a line is broken (its number is named).
    """
    path = sweep / "episodes.jsonl"
    if not path.is_file():
        raise TutorialError(
            f"{sweep} holds no episodes.jsonl; expected a sweep's folder as `vla-tutorial sweep` writes it."
        )
    found = {(e.suite, e.task, e.init, e.condition): e for e in _lines(path)}
    if not found:
        raise TutorialError(
            f"{path} is empty: the sweep was stopped before its first episode ended. Go on with it."
        )
    return list(found.values())


def _lines(path: Path) -> Iterator[Entry]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            kept = {
                key: line[key]
                for key in ("suite", "task", "init", "condition", "outcome", "folder")
            }
            yield Entry(**kept, first_close=line.get("first_close"))
        except (json.JSONDecodeError, KeyError, TypeError) as e:
            raise TutorialError(
                f"{path}, line {number} is not an episode's line ({type(e).__name__}: {e}). It was cut or edited; remove it."
            ) from e


def boundaries(condition: str) -> set[str]:
    """The boundaries that a condition breaks ("a+b" breaks those of both); empty for "published", for names not in the catalogue, and for
    conditions that are no fault of the code."""
    touched: set[str] = {
        CATALOGUE[name].boundary for name in condition.split("+") if name in CATALOGUE
    }
    return touched & set(get_args(Boundary))
