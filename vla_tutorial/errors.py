"""One error type for everything that a user can fix.

Its text names the value, says what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TutorialError(Exception):
    """A problem with an input or with the machine.

    The command line prints its text and exits with code 2.
    """


def unknown(kind: str, value: str, known: Iterable[str], remedy: str = "") -> TutorialError:
    """An error for a name that does not exist: lists those that do and suggests the nearest.

    Args:
        kind: what the name stands for, for example "condition".
        value: the name that was given.
        known: every valid name.
        remedy: one more sentence, where choosing another name is not enough.
    """
    names = list(known)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names) or "none"
    return TutorialError(f"Unknown {kind} {value!r}.{hint} Known: {listed}. {remedy}".strip())
