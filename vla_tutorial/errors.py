"""One error type for everything that a user can mend. It says what was wrong, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TutorialError(Exception):
    """A problem with an input or with the machine, told in words; the command line prints it and exits with code 2."""


def unknown(kind: str, value: str, known: Iterable[str], remedy: str = "") -> TutorialError:
    """Error for a name that does not exist: lists those that do and suggests the nearest.

    Args:
        kind: what the name stands for, for example "condition".
        value: the name that was given.
        known: every valid name.
        remedy: one more sentence, where there is more to do than choosing another name.
    """
    names = list(known)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return TutorialError(
        f"Unknown {kind} {value!r}.{hint} Known: {', '.join(names) or 'none'}. {remedy}".strip()
    )
