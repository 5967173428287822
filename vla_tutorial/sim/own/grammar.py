"""The text of a BDDL file as lists of words, and typed lists inside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Tree = str | list["Tree"]
"""A word, or what stands between two parentheses."""

MOST_LEVELS = 20
"""Parentheses inside each other. LIBERO's own files have five."""

_WORD = re.compile(r"[()]|[^\s()]+")
_NUMBER = re.compile(r"[-+]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,3})?")
_COMMENT = re.compile(r";.*$", re.MULTILINE)


class Refused(ValueError):
    """What is wrong with a file, in words that follow its name: "has no :goal"."""


def parse(text: str) -> list[Tree]:
    """What stands in the outermost parentheses, as LIBERO's `bddl` would read it but for capitals.

    Raises:
        Refused: parentheses do not match or are nested deeper than `MOST_LEVELS`, or there is
            something outside of them.
    """
    open_lists: list[list[Tree]] = [[]]
    for word in _WORD.findall(_COMMENT.sub("", text)):
        if word == "(":
            inner: list[Tree] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
        elif word == ")":
            open_lists.pop()
        else:
            open_lists[-1].append(word)
        if not open_lists:
            raise Refused("has a ')' without its '('")
        if len(open_lists) > MOST_LEVELS:
            raise Refused(f"is nested deeper than {MOST_LEVELS} levels")
    if len(open_lists) > 1:
        raise Refused(f"lacks {len(open_lists) - 1} ')' at its end")
    if len(open_lists[0]) != 1 or isinstance(open_lists[0][0], str):
        raise Refused("is not one list in parentheses, '(define …)'")
    return open_lists[0][0]


def write(tree: Tree) -> str:
    """The text of a tree on one line."""
    if isinstance(tree, str):
        return tree
    return f"({' '.join(map(write, tree))})"


def shown(tree: Tree) -> str:
    """A tree for an error: its text, shortened."""
    return f"{write(tree)!r:.80}"


def words(trees: Iterable[Tree], where: str) -> list[str]:
    """All of them in small letters, where none is a list.

    Raises:
        Refused: one is a list; the error names it and `where` it stands.
    """
    found = []
    for tree in trees:
        if not isinstance(tree, str):
            raise Refused(f"has {shown(tree)} in {where}, expected words only")
        found.append(tree.lower())
    return found


def typed_names(trees: Sequence[Tree], where: str) -> dict[str, str]:
    """Name → category of a list such as "milk_1 milk_2 - milk basket_1 - basket".

    Raises:
        Refused: a name is none, stands there twice, or has no category.
    """
    found: dict[str, str] = {}
    waiting: list[str] = []
    rest = iter(words(trees, where))
    for word in rest:
        if word == "-":
            category = name(next(rest, ""), where)
            found |= dict.fromkeys(waiting, category)
            waiting = []
        elif word in found or word in waiting:
            raise Refused(f"has {word!r} twice in {where}")
        else:
            waiting.append(name(word, where))
    if waiting:
        raise Refused(f"has no category for {waiting[0]!r} in {where}, expected 'milk_1 - milk'")
    return found


def name(word: str, where: str) -> str:
    """A word that is a name: small letters, digits and "_", a letter first, at most 100.

    Raises:
        Refused: it is something else.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", word):
        expected = "expected a name of letters, digits and '_'"
        raise Refused(f"has {word!r:.80} in {where}, {expected}")
    return word


def number(tree: Tree, where: str) -> float:
    """A decimal number between −1000 and 1000.

    Raises:
        Refused: it is something else, such as an expression, which LIBERO would evaluate.
    """
    text = tree if isinstance(tree, str) else write(tree)
    if re.fullmatch(
        r"[-+]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})(e[-+]?\d{1,3})?", text, re.ASCII | re.I
    ):
        value = float(text)
        if abs(value) <= 1000:
            return value
    raise Refused(f"has {text!r:.80} in {where}, expected a number from -1000 to 1000")


def numbers(tree: Tree, count: int, where: str) -> list[float]:
    """A list of so many numbers; raises a `Refused` where it is something else."""
    if isinstance(tree, str) or len(tree) != count:
        raise Refused(f"has {shown(tree)} in {where}, expected {count} numbers")
    return [number(each, where) for each in tree]
