"""A hand-in's marks: its answers are checked again, against the sheet that the key makes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from vla_tutorial.lab import checks, forms
from vla_tutorial.lab.answers import CheckResult
from vla_tutorial.lab.handin import Answer, Received
from vla_tutorial.lab.kept import picture_of, replayed
from vla_tutorial.lab.points import points
from vla_tutorial.lab.sheet import LETTERS, QUESTIONS, Sheet

PARTS = {"4b": ("ratio", "x", "y", "z"), "7a": ("share", "lower", "upper")}
"""Question → the form of its numbers, and the names of its parts in a sheet's replies."""

BUCKETS: dict[str, Callable[[float], int | None]] = {
    "ratio": forms.ratio_bucket,
    "share": forms.share_bucket,
}


def mark(sheet: Sheet, received: Received) -> dict[str, int]:
    """Points of every question."""
    work = received.content.work
    return {
        question: points(question, parts(sheet, received, question), work.tries.get(question, 1))
        for question in QUESTIONS
    }


def parts(sheet: Sheet, received: Received, question: str) -> list[bool]:
    """Which parts of an answer are right; empty where there is no answer.

    Nothing is taken from what the hand-in says is right.
    """
    answer = received.content.work.answers.get(question)
    if question in ("1a", "1b", "1c"):
        return _of_episode(sheet, received, question, answer)
    if question == "6":
        return _of_experiment(received)
    if question == "4a":
        return _of_numbers(sheet, answer)
    if question in PARTS:
        return _of_parts(sheet, question, answer)
    return [_check(sheet, question, answer).right]


def _check(sheet: Sheet, question: str, answer: Answer) -> CheckResult:
    """What the check of a question with one part says of a kept answer."""
    if question == "2":
        picture = picture_of(answer)
        return checks.orientation(sheet, lambda _: picture)
    if question[1:] in LETTERS:
        return checks.name_of_clip(sheet, question[1:], answer)
    found: dict[str, Callable[[Sheet, object], CheckResult]] = {
        "3": checks.prompt_text,
        "4c": checks.reach,
        "7b": checks.episodes_needed,
        "7c": checks.discordant_pairs,
        "7d": checks.p_value,
    }
    return found[question](sheet, answer)


def _of_episode(sheet: Sheet, received: Received, question: str, answer: Answer) -> list[bool]:
    run = received.runs.get("1")
    if run is None or not checks.own_episode(sheet, run.record).right:
        return [False]
    if question == "1c":
        return [True]
    check = checks.first_close if question == "1a" else checks.number_of_closes
    return [check(run.log, answer).right]


def _of_experiment(received: Received) -> list[bool]:
    both = [received.runs.get(run) for run in ("6a", "6b")]
    records = [run.record for run in both if run is not None]
    return [len(records) == 2 and checks.compare_records(*records).right]


def _of_numbers(sheet: Sheet, answer: Answer) -> list[bool]:
    """Task 4a, case by case."""
    if not isinstance(answer, list) or len(answer) != len(sheet.cases):
        return []
    if isinstance(checks.decoded(sheet, replayed(answer)), CheckResult):
        return []
    replies = []
    for i, value in enumerate(answer):
        replies.append(sheet.reply(f"4a {i}", forms.decoded_forms(value)))
    return [reply is not None and reply.right for reply in replies]


def _of_parts(sheet: Sheet, question: str, answer: Answer) -> list[bool]:
    form, *names = PARTS[question]
    if not isinstance(answer, list) or len(answer) != len(names):
        return []
    found = []
    for name, value in zip(names, answer, strict=True):
        bucket = BUCKETS[form](value)
        reply = sheet.reply(f"{question} {name}", {form: str(bucket)})
        found.append(reply is not None and reply.right)
    return found


def calls_the_library(code: str) -> bool:
    """Whether a student's function names something of this package; it is parsed, never run."""
    try:
        tree = ast.parse(code)
    # It may be anything, such as a lambda cut from its line, or nested too deeply.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "vla_tutorial" in code
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return bool(imported) or bool(names & {"vla_tutorial", "actions", "pixels", "prompt", "lab"})


def fits(sheet: Sheet, received: Received, questions: Sequence[str]) -> int:
    """How many of some questions a hand-in answers rightly for a sheet."""
    found = (parts(sheet, received, question) for question in questions)
    return sum(bool(rights) and all(rights) for rights in found)
