"""Checks of a reader's answers. Each says right, or not yet and why, and never gives the answer."""

from __future__ import annotations

import json
import os.path
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from vla_tutorial import actions, pixels, prompt, stats
from vla_tutorial.arrays import Picture
from vla_tutorial.log import Log
from vla_tutorial.spec import PUBLISHED_WIRING

KEYS = ("libero_object", "bridge_orig")
"""Keys of the action statistics that the classroom compares: the right ones and the wrong ones."""


@dataclass(frozen=True)
class CheckResult:
    """What a check says; `why` is a hint if the answer is not right. It shows itself in a cell."""

    right: bool
    why: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.why}"


def right(why: str) -> CheckResult:
    """The answer is right."""
    return CheckResult(True, why)


def not_yet(why: str) -> CheckResult:
    """The answer is not right."""
    return CheckResult(False, why)


NO_ANSWER = not_yet("there is no answer; replace None by yours.")


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    """What the reader's function returns, or a `CheckResult` that says how it failed."""
    try:
        return function(*arguments)
    # A reader's code may raise anything.
    except Exception as e:
        name = getattr(function, "__name__", "your function")
        return not_yet(f"{name} raised {type(e).__name__}: {e}")


def gripper_closes(log: Log, first: int | None, times: int | None) -> CheckResult:
    """The step of the first closing command, and how often the command changes to close."""
    if first is None or times is None:
        return NO_ANSWER
    if first != log.first_close:
        seen = dict(enumerate(log.gripper)).get(first)
        return not_yet(
            f"at step {first} the seventh number is {seen}. "
            "Which sign closes, and is there an earlier step with it?"
        )
    if times != log.closes:
        return not_yet("count the changes from open to close, not the steps that are closed.")
    return right("the plot's dotted line stands at that step.")


def orientation(function: Callable[[Picture], Picture]) -> CheckResult:
    """A function from the simulator's picture to what the training pictures looked like."""
    image = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(6, 6, 3)
    found = _call(function, image.copy())
    if isinstance(found, CheckResult):
        return found
    if not isinstance(found, np.ndarray) or found.shape != image.shape:
        got = getattr(found, "shape", type(found).__name__)
        return not_yet(f"expected a picture of shape {image.shape}; got {got}.")
    if np.array_equal(found, pixels.orient(image, "rotate_180")):
        return right("rows and columns are both reversed, as in the training data.")
    mistakes = (
        (image, "this is the picture as MuJoCo renders it. Which way is up?"),
        (image[::-1], "up is up now. Is left left? Think of the label on a can."),
        (image[:, ::-1], "only left and right changed places; up is still down."),
        (image.transpose(1, 0, 2), "rows became columns; nothing has to be transposed here."),
        (image[..., ::-1], "red and blue changed places; the last axis is colour."),
    )
    for mistake, hint in mistakes:
        if np.array_equal(found, mistake):
            return not_yet(hint)
    return not_yet("that moves other pixels.")


def prompt_text(text: str | None, instruction: str) -> CheckResult:
    """The whole prompt for `instruction`, as OpenVLA was trained with it."""
    if text is None:
        return NO_ANSWER
    wanted = prompt.build(PUBLISHED_WIRING, instruction).text
    if text == wanted:
        return right("the tokenizer adds the token of the beginning and the empty token.")
    if text.lower() == wanted.lower():
        return not_yet("only capital letters differ. What does the protocol do to them?")
    if "".join(text.split()).lower() == "".join(wanted.split()).lower():
        return not_yet("only spaces or line breaks differ; print(repr(…)) shows them.")
    if instruction.lower() not in text.lower():
        return not_yet("the instruction itself is not in it.")
    start = os.path.commonprefix([text, wanted])  # noqa: RUF071 (of characters, as wanted)
    return not_yet(f"right up to character {len(start)} ({start[-12:]!r}), then it differs.")


def decoder(function: Callable[[int, float, float], float]) -> CheckResult:
    """A function (token, q01, q99) → the number that the token stands for."""
    for key in KEYS:
        statistics = actions.embedded_statistics()[key]
        low = float(statistics.q01[0])
        high = float(statistics.q99[0])
        for token in (31999, 31872, 31745, 31800, 31744):
            found = _call(function, token, low, high)
            if isinstance(found, CheckResult):
                return found
            if found is None:
                return not_yet("the function returns nothing.")
            wanted = actions.decode([token] * actions.ACTION_DIMENSIONS, statistics)[0]
            if not np.isclose(found, wanted, atol=1e-9):
                return _decoder_hint(token, found, wanted, low, high)
    return right("every token tried gives what `actions.decode` gives.")


def _decoder_hint(token: int, found: float, wanted: float, low: float, high: float) -> CheckResult:
    if token == 31744:
        return not_yet(
            "every token but the last is right. 256 edges have 255 spaces between them: "
            "which centre is left for 31744?"
        )
    if np.isclose(found, actions.BIN_CENTERS[actions.token_bins(token)]):
        return not_yet("that is the bin's centre in [−1, 1]. Stretch it to q01 … q99.")
    if np.isclose(found, wanted, rtol=0, atol=(high - low) / 250):
        return not_yet("within a bin of the right value: take the bin's centre, not its edge.")
    return not_yet(
        f"token {token} with q01 {low:.3f} and q99 {high:.3f} gives {found:.4f}. "
        "31999 is the lowest bin, and tokens count downwards."
    )


def scale_factors(answer: Sequence[float] | None) -> CheckResult:
    """By what x, y and z are multiplied when `bridge_orig` replaces `libero_object`."""
    if answer is None or None in list(answer):
        return NO_ANSWER
    libero, bridge = (actions.embedded_statistics()[key] for key in KEYS)
    wanted = (bridge.q99 - bridge.q01)[:3] / (libero.q99 - libero.q01)[:3]
    given = np.asarray(answer, float)
    if given.shape != (3,):
        return not_yet("three numbers: for x, y and z.")
    if np.allclose(given, wanted, rtol=0.05):
        return right("so the arm hardly moves, while rotation and gripper look normal.")
    if np.allclose(given, 1 / wanted, rtol=0.05):
        return not_yet("the size is right, the direction is not: is the motion larger or smaller?")
    if np.allclose(given, bridge.q99[:3] / libero.q99[:3], rtol=0.02):
        return not_yet("that compares q99 alone; a token is stretched over all of q01 … q99.")
    return not_yet("compare the spans q99 − q01, axis by axis.")


def fair_comparison(first: Path | str, second: Path | str) -> CheckResult:
    """Whether two recorded episodes differ in one condition and in nothing else that matters."""
    entries = []
    for folder in (Path(first), Path(second)):
        path = folder / "episode.json"
        if not path.is_file():
            name = f"{folder.parent.name}/{folder.name}"
            return not_yet(f"{name} holds no episode yet; record one there.")
        entries.append(json.loads(path.read_bytes()))
    a, b = entries
    same = ("suite", "task", "init", "instruction", "policy")
    differing = [key for key in same if a[key] != b[key]]
    if differing:
        return not_yet(f"the two also differ in {', '.join(differing)}; that may be the cause.")
    if a["wiring"]["max_steps"] != b["wiring"]["max_steps"]:
        return not_yet("the two have different step limits, so one had longer to succeed.")
    if None in (a["success"], b["success"]):
        return not_yet("one of the two was stopped before its end.")
    changed = set(a["conditions"]) ^ set(b["conditions"])
    if len(changed) != 1:
        return not_yet(f"{len(changed)} conditions differ; with exactly one you know the cause.")
    return right(f"only {changed.pop()} differs. It is still one pair of episodes.")


def interval(successes: int, episodes: int, answer: Sequence[float] | None) -> CheckResult:
    """The 95 % Wilson interval of a success rate, as shares of one."""
    if answer is None or None in list(answer):
        return NO_ANSWER
    measured = stats.rate(successes, episodes)
    given = np.asarray(answer, float)
    if given.shape != (2,) or given[0] > given[1]:
        return not_yet("two numbers: the lower and the upper end.")
    if np.allclose(given, measured.interval, atol=0.003):
        return right("and it never leaves 0 … 1.")
    wald = measured.rate + np.array([-1, 1]) * norm.ppf(0.975) * measured.standard_error
    if np.allclose(given, wald, atol=0.003):
        return not_yet("that is ±1.96 standard errors, which fails near 0 and 1. Use Wilson's.")
    if np.allclose(given / 100, measured.interval, atol=0.003):
        return not_yet("give shares of one, not per cent.")
    return not_yet("binomtest(successes, episodes).proportion_ci(method=…) has it.")


def episodes_needed(answer: int | None, rate: float = 0.9, error: float = 0.02) -> CheckResult:
    """How many episodes bring the standard error down to `error`, at a success rate of `rate`."""
    if answer is None:
        return NO_ANSWER
    given = float(answer)
    needed = rate * (1 - rate) / error**2
    if abs(given - needed) <= 1:
        return right(
            f"for one standard error of {error:.0%}. "
            "A 95 % interval of that half-width needs almost four times as many."
        )
    if abs(given - norm.ppf(0.975) ** 2 * needed) <= 5:
        return not_yet("that is for the 95 % interval; the question is about one standard error.")
    if given < 1:
        return not_yet("at least one episode is needed.")
    have = stats.standard_error(rate, given)
    return not_yet(f"with {given:.0f} episodes the standard error is {have:.1%}.")


def discordant_pairs(
    only_first: int | None, only_second: int | None, pairs: Sequence[tuple[bool, bool]]
) -> CheckResult:
    """How many pairs only the first episode wins, and how many only the second."""
    if only_first is None or only_second is None:
        return NO_ANSWER
    wanted = (pairs.count((True, False)), pairs.count((False, True)))
    if (only_first, only_second) == wanted:
        return right("the pairs that agree say nothing about the difference.")
    if (only_second, only_first) == wanted:
        return not_yet("the right numbers, the wrong way round.")
    return not_yet("count only pairs in which exactly one of the two succeeded.")
