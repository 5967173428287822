"""One error type for everything that a user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TutorialError(Exception):
    """A problem with an input or the machine: the value, what was expected, and what to do.

    The command line prints its text and exits with code 2.
    """


def unknown(
    kind: str, value: str, known: Iterable[str], remedy: str = "", *, likeness: float = 0.5
) -> TutorialError:
    """An error for a `kind` of name that does not exist: lists those that do, suggests the nearest.

    `remedy` is one more sentence, where choosing another name is not enough. A name is suggested
    from a `likeness` on, 1 for equal ones (difflib).
    """
    names = list(known)
    near = difflib.get_close_matches(value, names, n=1, cutoff=likeness)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names) or "none"
    return TutorialError(f"Unknown {kind} {value!r}.{hint} Known: {listed}. {remedy}".strip())
