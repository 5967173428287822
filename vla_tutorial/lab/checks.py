"""Checks of a student's answers. Each says right, or not yet and why, and never gives the answer.

What is right stands nowhere here: the answers are looked up by digest in the sheet. The two that
are about the student's own episodes, tasks 1 and 6, are read from what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vla_tutorial import stats
from vla_tutorial.arrays import Picture
from vla_tutorial.decoding import read_object
from vla_tutorial.errors import unknown
from vla_tutorial.lab import forms
from vla_tutorial.lab.answers import (
    NO_ANSWER,
    CheckResult,
    call,
    not_yet,
    number,
    numbers,
    right,
    short,
)
from vla_tutorial.lab.sheet import Sheet
from vla_tutorial.log import Log

__all__ = [
    "CheckResult",
    "decoder",
    "discordant_pairs",
    "episodes_needed",
    "fair_comparison",
    "first_close",
    "interval",
    "name_of_clip",
    "number_of_closes",
    "orientation",
    "p_value",
    "prompt_text",
    "reach",
    "scale_factors",
]


def first_close(log: Log, answer: object) -> CheckResult:
    """Task 1: the step of the first closing command."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    if given == log.first_close:
        return right("the dotted line in the picture below stands at that step.")
    if not given.is_integer() or not 0 <= given < len(log):
        return not_yet(f"this episode has no step {given:g}; its steps are 0 to {len(log) - 1}.")
    seen = log.gripper[int(given)]
    return not_yet(
        f"at step {given:g} the seventh number is {seen:g}. "
        "Which sign means close? Is there an earlier step with that sign?"
    )


def number_of_closes(log: Log, answer: object) -> CheckResult:
    """Task 1: how often the command changes to close."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    if given == log.closes:
        return right("this is how many times the policy tries to grasp.")
    return not_yet(
        "count the changes from open to close, not the steps in which the gripper is closed."
    )


def orientation(sheet: Sheet, function: Callable[[Picture], Picture]) -> CheckResult:
    """Task 2: a function from the simulator's picture to what the training pictures looked like.

    `function` takes and returns (H, W, 3) uint8, without changing what it was given.
    """
    image = sheet.image()
    found = call(function, image.copy())
    if isinstance(found, CheckResult):
        return found
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.size != image.size:
        got = getattr(found, "shape", type(found).__name__)
        return not_yet(f"expected a picture of shape {image.shape}; got {got}.")
    if found.dtype != np.uint8:
        return not_yet(f"expected numbers of type uint8; got {found.dtype}.")
    known = sheet.reply("2", forms.picture_form(found))
    return known or not_yet("your function moves pixels to other places.")


def prompt_text(sheet: Sheet, text: object) -> CheckResult:
    """Task 3: the whole prompt for the sheet's instruction, as OpenVLA was trained with it."""
    if text is None:
        return NO_ANSWER
    if not isinstance(text, str):
        return not_yet(f"expected a text; got {short(text)}.")
    known = sheet.reply("3", forms.prompt_forms(text, sheet.instruction))
    if known:
        return known
    if sheet.instruction.lower() not in text.lower():
        return not_yet("the instruction itself is not in your prompt.")
    return not_yet("both the text before the instruction and the text after it differ.")


def decoder(sheet: Sheet, function: Callable[[int, float, float], float]) -> CheckResult:
    """Task 4a: a function (token, q01, q99) → the number that the token stands for.

    Tokens are ids from 31744 (the highest bin) to 31999 (the lowest); q01 and q99 are in the
    robot's units. The answer must be right to seven decimals.
    """
    values = decoded(sheet, function)
    if isinstance(values, CheckResult):
        return values
    for i, value in enumerate(values):
        case = sheet.cases[i]
        known = sheet.reply(f"4a {i}", forms.decoded_forms(value))
        given = f"token {case.token} with q01 {case.q01:.3f} and q99 {case.q99:.3f}"
        if known is None:
            return not_yet(f"for {given} your function returns {value:.4f}, which is wrong.")
        if not known.right:
            return not_yet(f"for {given} your function returns {value:.4f}: {known.why}")
    return right("every token that was tried is right.")


def decoded(
    sheet: Sheet, function: Callable[[int, float, float], float]
) -> list[float] | CheckResult:
    """What the student's function returns for each case of the sheet, or what is wrong with it."""
    values: list[float] = []
    for case in sheet.cases:
        found = call(function, case.token, case.q01, case.q99)
        if isinstance(found, CheckResult):
            return found
        if found is None:
            return not_yet("the function returns nothing.")
        value = number(found)
        if isinstance(value, CheckResult):
            what = "the function must return one finite number"
            return not_yet(f"{what}; got {short(found)}.")
        values.append(value)
    return values


def scale_factors(sheet: Sheet, answer: object) -> CheckResult:
    """Task 4b: by what x, y and z are multiplied when `bridge_orig` replaces `libero_object`.

    The answer is three numbers, right to 5 %: the ratios of q99 − q01.
    """
    given = numbers(answer, 3)
    if isinstance(given, CheckResult):
        return given
    axes = zip("xyz", given, strict=True)
    parts = {f"4b {axis}": str(forms.ratio_bucket(float(value))) for axis, value in axes}
    known = _common(sheet, parts, ("ratio", "inverse", "alone"))
    return known or not_yet("compare the spans q99 − q01, axis by axis.")


def _common(sheet: Sheet, parts: Mapping[str, str], names: Sequence[str]) -> CheckResult | None:
    """The reply that all parts of an answer have in one form; None where there is none.

    Args:
        parts: question of the sheet → the bucket of the number.
        names: forms, in the order in which they are tried.
    """
    for form in names:
        replies = [sheet.reply(question, {form: text}) for question, text in parts.items()]
        if all(reply is not None for reply in replies):
            return replies[0]
    return None


def reach(sheet: Sheet, answer: object) -> CheckResult:
    """Task 4c: how far the hand gets at most along x under `bridge_orig`, in centimetres."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    known = sheet.reply("4c", {"ratio": str(forms.ratio_bucket(given))})
    return known or not_yet(
        "multiply the steps, the millimetres a step, and the factor of x from b."
    )


def name_of_clip(sheet: Sheet, letter: str, answer: object) -> CheckResult:
    """Task 5: the condition of a clip. What looks the same in all that is shown is right as well.

    Raises:
        TutorialError: there is no such letter.
    """
    if letter not in sheet.clips:
        raise unknown("episode", str(letter), sheet.clips)
    if answer is None:
        return NO_ANSWER
    known = sheet.reply(f"5{letter}", {"name": str(answer)})
    if known is None or not isinstance(answer, str):
        return not_yet(str(unknown("name", str(answer)[:60], sheet.choices)))
    return CheckResult(known.right, known.why.replace("{answer}", answer))


class Compared(msgspec.Struct):
    """What is compared of an episode's record."""

    suite: str
    task: int
    init: int
    instruction: str
    policy: dict[str, Any]
    conditions: list[str]
    success: bool | None
    wiring: dict[str, Any]


def fair_comparison(first: Path | str, second: Path | str) -> CheckResult:
    """Task 6: whether two recorded episodes differ in one condition and in nothing else.

    `first` and `second` are episode folders. Both must have ended: a stopped one is no result.

    Raises:
        TutorialError: an `episode.json` is damaged.
    """
    entries = []
    for folder in (Path(first), Path(second)):
        path = folder / "episode.json"
        if not path.is_file():
            name = f"{folder.parent.name}/{folder.name}"
            return not_yet(f"{name} holds no episode yet; record one there.")
        entries.append(read_object(path, Compared, "Record the episode again."))
    return compare_records(*entries)


def own_episode(sheet: Sheet, record: dict[str, Any]) -> CheckResult:
    """Task 1: whether an episode is the sheet's, with the published settings, and has ended.

    `record` is the content of its `episode.json`, with what `Compared` says.
    """
    wanted = ("libero_object", sheet.task, sheet.init)
    found = (record["suite"], record["task"], record["init"])
    if found != wanted:
        return not_yet(
            f"expected task {wanted[1]} from initial state {wanted[2]}; "
            f"the episode is of {found[0]}, task {found[1]}, initial state {found[2]}."
        )
    if record["conditions"]:
        names = ", ".join(record["conditions"])
        return not_yet(f"expected no condition, but the episode ran under {names}.")
    if record["success"] is None:
        return not_yet("the episode was stopped before its end.")
    return right("the episode is the one that your sheet asks for.")


def compare_records(a: dict[str, Any], b: dict[str, Any]) -> CheckResult:
    """As `fair_comparison`, of the contents of the two `episode.json`."""
    same = ("suite", "task", "init", "instruction", "policy")
    differing = [key for key in same if a[key] != b[key]]
    if differing:
        return not_yet(
            f"the two episodes also differ in {', '.join(differing)}; that may be the cause."
        )
    if a["wiring"].get("max_steps") != b["wiring"].get("max_steps"):
        return not_yet(
            "the two episodes have different step limits, so one had more time to succeed."
        )
    if None in (a["success"], b["success"]):
        return not_yet("one of the two episodes was stopped before its end.")
    changed = set(a["conditions"]) ^ set(b["conditions"])
    if len(changed) != 1:
        return not_yet(
            f"{len(changed)} conditions differ. If exactly one differs, you know the cause."
        )
    return right(f"only {changed.pop()} differs. It is still one pair of episodes.")


def interval(sheet: Sheet, answer: object) -> CheckResult:
    """Task 7a: the 95 % Wilson interval of a success rate, as shares of one."""
    given = numbers(answer, 2)
    if isinstance(given, CheckResult):
        return given
    ends = zip(("lower", "upper"), given, strict=True)
    parts = {f"7a {end}": str(forms.share_bucket(float(value))) for end, value in ends}
    known = _common(sheet, parts, ("share", "plain", "percent", "reversed"))
    return known or not_yet("binomtest(successes, episodes).proportion_ci(method=…) computes it.")


def episodes_needed(sheet: Sheet, answer: object) -> CheckResult:
    """Task 7b: how many episodes bring the standard error down to what the sheet wants."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    if not 1 <= given <= 1e9:
        return not_yet("expected a number of episodes, at least one.")
    known = sheet.reply("7b", {"count": str(round(given))})
    have = stats.standard_error(sheet.rate, given)
    return known or not_yet(f"with {given:.0f} episodes the standard error is {100 * have:.1f} %.")


def discordant_pairs(sheet: Sheet, answer: object) -> CheckResult:
    """Task 7c: how many pairs only the first condition wins, and how many only the second."""
    given = numbers(answer, 2)
    if isinstance(given, CheckResult):
        return given
    if not np.array_equal(given, np.round(given)):
        return not_yet("expected two whole numbers.")
    known = sheet.reply("7c", {"pairs": forms.joined(given.tolist())})
    return known or not_yet("count only pairs in which exactly one of the two succeeded.")


def p_value(sheet: Sheet, answer: object) -> CheckResult:
    """Task 7d: the exact two-sided p-value of McNemar's test of the pairs."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    known = sheet.reply("7d", {"ratio": str(forms.ratio_bucket(given))})
    return known or not_yet(
        "if neither were better, each pair that disagrees would be like a fair coin. "
        "binomtest(only_first, only_first + only_second) asks how likely such coins are."
    )
