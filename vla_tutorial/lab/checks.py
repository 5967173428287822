"""Check cells for the classroom: each looks at an answer and says right or not yet and why, without giving the answer away."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.conditions import PUBLISHED, find
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import Log
from vla_tutorial.stats import rates as stats
from vla_tutorial.wiring import Wiring

MYSTERIES = {
    "A": "wrong_unnorm_key",
    "B": "no_flip",
    "C": PUBLISHED,
    "D": "wrong_prompt",
    "E": "gripper_inverted",
}
"""Letter → what is on in the recorded episode that the class sees without its name."""


@dataclass(frozen=True)
class Verdict:
    """What a check says; as the last line of a cell it shows itself."""

    right: bool
    why: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.why}"


def _no_answer(*answers: object) -> Verdict | None:
    return (
        Verdict(False, "there is no answer; replace None by yours.")
        if any(a is None for a in answers)
        else None
    )


def _try(function: Callable[..., Any], *arguments: object) -> Any:
    """The function's answer, or a verdict that says how it broke."""
    try:
        return function(*arguments)
    except Exception as e:  # a student's code may raise anything
        return Verdict(
            False,
            f"{getattr(function, '__name__', 'your function')} raised {type(e).__name__}: {e}",
        )


def gripper_story(log: Log, first: int | None, times: int | None) -> Verdict:
    """The step of the first closing command, and how often the command changes to close."""
    if missing := _no_answer(first, times):
        return missing
    if first != log.first_close:
        seen = log.gripper[first] if isinstance(first, int) and 0 <= first < len(log) else None
        return Verdict(
            False,
            f"at step {first} the seventh number is {seen}. Which sign closes, and is there an earlier step with it?",
        )
    if times != log.closes:
        return Verdict(
            False,
            "the first close is right, but count the changes from open to close, not the steps that are closed.",
        )
    return Verdict(True, "the plot's dotted line stands at that step.")


def turned(function: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Verdict:
    """A function from the simulator's picture to what the training pictures looked like."""
    image = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(6, 6, 3)
    found = _try(function, image.copy())
    if isinstance(found, Verdict):
        return found
    if not isinstance(found, np.ndarray) or found.shape != image.shape:
        return Verdict(
            False,
            f"expected a picture of shape {image.shape}; got {getattr(found, 'shape', type(found).__name__)}.",
        )
    hints = {
        "unchanged": (image, "this is the picture as MuJoCo renders it. Which way is up?"),
        "rows": (image[::-1], "up is up now. Is left left? Think of the label on a can."),
        "columns": (image[:, ::-1], "only left and right changed places; up is still down."),
        "transposed": (
            image.transpose(1, 0, 2),
            "rows became columns; nothing has to be transposed here.",
        ),
        "colours": (image[..., ::-1], "red and blue changed places; the last axis is colour."),
    }
    if np.array_equal(found, pixels.orient(image, "rotate_180")):
        return Verdict(True, "rows and columns are both reversed, as in the training data.")
    return Verdict(
        False,
        next(
            (why for other, why in hints.values() if np.array_equal(found, other)),
            "that moves other pixels.",
        ),
    )


def scaffold(text: str | None, instruction: str) -> Verdict:
    """The whole prompt for `instruction`, as OpenVLA was trained with it."""
    if missing := _no_answer(text):
        return missing
    wanted, given = prompt.build(Wiring(unnorm_key="libero_object"), instruction).text, str(text)
    if given == wanted:
        return Verdict(
            True, "character for character; the tokenizer adds the beginning and the empty token."
        )
    if given.lower() == wanted.lower():
        return Verdict(
            False,
            "only capital letters differ. What does the protocol do to an instruction before it enters the template?",
        )
    if "".join(given.split()).lower() == "".join(wanted.split()).lower():
        return Verdict(False, "only spaces or line breaks differ; print(repr(…)) shows them.")
    if instruction.lower() not in given.lower():
        return Verdict(False, "the instruction itself is not in it.")
    k = next(
        (i for i, (a, b) in enumerate(zip(given, wanted, strict=False)) if a != b),
        min(len(given), len(wanted)),
    )
    return Verdict(
        False,
        f"right up to character {k} ({given[max(0, k - 12) : k]!r}), then it differs or ends.",
    )


def decoder(function: Callable[[int, float, float], float]) -> Verdict:
    """A function (token, q01, q99) → the number that the token stands for."""
    for key in ("libero_object", "bridge_orig"):
        statistics = actions.embedded_statistics()[key]
        low, high = float(statistics.q01[0]), float(statistics.q99[0])
        for token in (31999, 31872, 31745, 31800, 31744):
            found = _try(function, token, low, high)
            if isinstance(found, Verdict):
                return found
            if found is None:
                return Verdict(False, "the function returns nothing.")
            wanted = float(actions.decode([token] * 7, statistics)[0])
            if not np.isclose(found, wanted, atol=1e-9):
                return Verdict(False, _decoder_hint(token, float(found), wanted, low, high))
    return Verdict(True, "every token tried gives what `actions.decode` gives.")


def _decoder_hint(token: int, found: float, wanted: float, low: float, high: float) -> str:
    if token == 31744:
        return "every token but the last is right: 256 edges have 255 spaces between them, so which centre is left for 31744?"
    if np.isclose(found, actions.BIN_CENTERS[min(31999 - token, 254)]):
        return (
            "that is the centre of the bin in [−1, 1]; it still has to be stretched to q01 … q99."
        )
    if np.isclose(found, wanted, rtol=0, atol=(high - low) / 250):
        return "within a bin of the right value: the centre of the bin, not its edge."
    return f"token {token} with q01 {low:.3f} and q99 {high:.3f} gives {found:.4f}. 31999 is the lowest bin, and tokens count downwards."


def shrinkage(answer: Sequence[float] | None) -> Verdict:
    """By what number x, y and z are multiplied when `bridge_orig` replaces `libero_object`."""
    if answer is None or any(a is None for a in answer):
        return Verdict(False, "there is no answer; replace None by yours.")
    known = actions.embedded_statistics()
    spans = {key: (known[key].q99 - known[key].q01)[:3] for key in ("libero_object", "bridge_orig")}
    wanted, given = spans["bridge_orig"] / spans["libero_object"], np.asarray(answer, float)
    if given.shape != (3,):
        return Verdict(False, "three numbers: for x, y and z.")
    if np.allclose(given, wanted, rtol=0.05):
        return Verdict(True, "so the arm hardly moves, while rotation and gripper look normal.")
    if np.allclose(given, 1 / wanted, rtol=0.05):
        return Verdict(
            False,
            "the size is right, the direction is not: is the motion larger or smaller than it should be?",
        )
    if np.allclose(given, known["bridge_orig"].q99[:3] / known["libero_object"].q99[:3], rtol=0.02):
        return Verdict(
            False,
            "that compares q99 alone; a token is stretched over the whole span from q01 to q99.",
        )
    return Verdict(False, "compare the spans q99 − q01, axis by axis.")


def diagnosis(letter: str, answer: str | None) -> Verdict:
    """Which condition is on in mystery `letter`, or "published"."""
    if missing := _no_answer(answer):
        return missing
    wanted = MYSTERIES[letter]
    try:
        boundary = None if answer == PUBLISHED else find(str(answer)).boundary
    except TutorialError as e:
        return Verdict(False, str(e))
    if answer == wanted:
        return Verdict(True, "say which of the three curves, or the picture, told you.")
    if PUBLISHED in (wanted, answer):
        return Verdict(False, "does the hand go down to the object, close once or twice, and lift?")
    if boundary == find(wanted).boundary:
        return Verdict(False, "the boundary is right, the fault is another one.")
    return Verdict(
        False,
        f"a fault of {boundary} would look otherwise. Look at the picture first, then at the size of motion, then at the gripper.",
    )


def fair(first: Path | str, second: Path | str) -> Verdict:
    """Whether two recorded episodes differ in one condition and in nothing else that matters."""
    entries = []
    for folder in map(Path, (first, second)):
        if not (folder / "episode.json").is_file():
            return Verdict(
                False, f"{folder.parent.name}/{folder.name} holds no episode yet; record one there."
            )
        entries.append(json.loads((folder / "episode.json").read_text(encoding="utf-8")))
    a, b = entries
    if differing := [
        key for key in ("suite", "task", "init", "instruction", "policy") if a[key] != b[key]
    ]:
        return Verdict(
            False,
            f"the two also differ in {', '.join(differing)}: whatever you see may come from that.",
        )
    if a["wiring"]["max_steps"] != b["wiring"]["max_steps"]:
        return Verdict(False, "the two have different step limits, so one had longer to succeed.")
    if None in (a["success"], b["success"]):
        return Verdict(False, "one of the two was stopped before its end.")
    changed = set(a["conditions"]) ^ set(b["conditions"])
    if len(changed) != 1:
        return Verdict(
            False,
            f"{len(changed)} conditions differ; with exactly one you know what made the difference.",
        )
    return Verdict(True, f"only {changed.pop()} differs. It is still one pair of episodes.")


def interval(successes: int, episodes: int, answer: Sequence[float] | None) -> Verdict:
    """The 95 % Wilson interval of a success rate."""
    if answer is None or any(a is None for a in answer):
        return Verdict(False, "there is no answer; replace None by yours.")
    measured, given = stats.rate(successes, episodes), np.asarray(answer, float)
    wilson = measured.interval
    if given.shape != (2,) or given[0] > given[1]:
        return Verdict(False, "two numbers: the lower and the upper end.")
    if np.allclose(given, wilson, atol=0.003):
        return Verdict(True, "and it never leaves 0 … 1.")
    wald = measured.rate + np.array([-1, 1]) * norm.ppf(0.975) * measured.standard_error
    if np.allclose(given, wald, atol=0.003):
        return Verdict(
            False,
            "that is ±1.96 standard errors, which fails near 0 and 1. Wilson's interval is another one.",
        )
    if np.allclose(given, 100 * np.asarray(wilson), atol=0.3):
        return Verdict(False, "as shares of one, please, not in per cent.")
    return Verdict(False, "binomtest(successes, episodes).proportion_ci(method=…) has it.")


def episodes_needed(answer: int | None, rate: float = 0.9, error: float = 0.02) -> Verdict:
    """How many episodes bring the standard error down to `error`."""
    if missing := _no_answer(answer):
        return missing
    n = float(np.asarray(answer, float))
    needed = rate * (1 - rate) / error**2
    if abs(n - needed) <= 1:
        return Verdict(
            True,
            f"for one standard error of {error:.0%}; a 95 % interval of that half-width needs almost four times as many.",
        )
    if abs(n - norm.ppf(0.975) ** 2 * needed) <= 5:
        return Verdict(
            False,
            "that makes the 95 % interval so narrow; the question is about one standard error.",
        )
    have = stats.standard_error(rate, n) if n > 0 else np.inf
    return Verdict(False, f"with {n:.0f} episodes the standard error is {have:.1%}.")


def mcnemar(
    only_first: int | None, only_second: int | None, pairs: Sequence[tuple[bool, bool]]
) -> Verdict:
    """How many pairs only the first episode wins, and how many only the second."""
    if missing := _no_answer(only_first, only_second):
        return missing
    wanted = (sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
    if (only_first, only_second) == wanted:
        return Verdict(True, "the pairs that agree say nothing about the difference.")
    if (only_second, only_first) == wanted:
        return Verdict(False, "the right numbers, the wrong way round.")
    return Verdict(False, "count only pairs in which exactly one of the two succeeded.")
