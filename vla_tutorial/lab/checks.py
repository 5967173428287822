"""Checks of a reader's answers. Each says right, or not yet and why, and never gives the answer."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.decoding import read_object
from vla_tutorial.lab.answers import NO_ANSWER, CheckResult, call, not_yet, number, numbers, right
from vla_tutorial.lab.counting import discordant_pairs, episodes_needed, interval
from vla_tutorial.log import Log
from vla_tutorial.spec import PUBLISHED_WIRING

__all__ = [
    "CheckResult",
    "decoder",
    "discordant_pairs",
    "episodes_needed",
    "fair_comparison",
    "gripper_closes",
    "interval",
    "orientation",
    "prompt_text",
    "reach",
    "scale_factors",
]

KEYS = ("libero_object", "bridge_orig")
"""Keys of the action statistics that the classroom compares: the right ones and the wrong ones."""

FULL_SPEED_MM = 12.5
"""How far the hand gets at most in a control step at full command along x, in millimetres.

Measured: `full_speed` in `results/chapter_claims.json`.
"""


def gripper_closes(log: Log, first: int | None, times: int | None) -> CheckResult:
    """The step of the first closing command, and how often the command changes to close."""
    given = numbers([first, times], 2)
    if isinstance(given, CheckResult):
        return given
    if first != log.first_close:
        seen = dict(enumerate(log.gripper)).get(int(given[0]))
        return not_yet(
            f"at step {first} the seventh number is {seen}. "
            "Which sign closes, and is there an earlier step with it?"
        )
    if times != log.closes:
        return not_yet("count the changes from open to close, not the steps that are closed.")
    return right("the plot's dotted line stands at that step.")


def orientation(function: Callable[[Picture], Picture]) -> CheckResult:
    """A function from the simulator's picture to what the training pictures looked like.

    `function` takes and returns (H, W, 3) uint8, without changing what it was given.
    """
    image = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(
        6,
        6,
        3,
    )
    found = call(function, image.copy())
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
    if not isinstance(text, str):
        return not_yet(f"a text is expected here; got {text!r}.")
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
    """A function (token, q01, q99) → the number that the token stands for.

    Tokens are ids from 31744 (the highest bin) to 31999 (the lowest); q01 and q99 are in the
    robot's units. The answer must agree with `actions.decode` to 1e-9.
    """
    for key in KEYS:
        statistics = actions.embedded_statistics()[key]
        low = float(statistics.q01[0])
        high = float(statistics.q99[0])
        for token in (31999, 31872, 31745, 31800, 31744):
            found = call(function, token, low, high)
            if isinstance(found, CheckResult):
                return found
            if found is None:
                return not_yet("the function returns nothing.")
            if not isinstance(found, int | float | np.integer | np.floating):
                return not_yet(f"the function must return one number; got {found!r}.")
            wanted = actions.decode([token] * actions.ACTION_DIMENSIONS, statistics)[0]
            if not np.isclose(found, wanted, atol=1e-9):
                return _decoder_hint(token, float(found), wanted, low, high)
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


def _factors() -> Floats:
    """By what each of the seven numbers is multiplied when the wrong key replaces the right one."""
    libero, bridge = (actions.embedded_statistics()[key] for key in KEYS)
    return (bridge.q99 - bridge.q01) / (libero.q99 - libero.q01)


def scale_factors(answer: Sequence[float] | None) -> CheckResult:
    """By what x, y and z are multiplied when `bridge_orig` replaces `libero_object`.

    The answer is three numbers, right to 5 %: the ratios of q99 − q01.
    """
    given = numbers(answer, 3)
    if isinstance(given, CheckResult):
        return given
    libero, bridge = (actions.embedded_statistics()[key] for key in KEYS)
    wanted = _factors()[:3]
    if np.allclose(given, wanted, rtol=0.05):
        rotations = ", ".join(f"{factor:.2f}" for factor in _factors()[3:6])
        return right(
            "the arm hardly moves. Rotations are multiplied by only "
            f"{rotations}, and the gripper is not changed."
        )
    if np.allclose(given, 1 / wanted, rtol=0.05):
        return not_yet("the size is right, the direction is not: is the motion larger or smaller?")
    if np.allclose(given, bridge.q99[:3] / libero.q99[:3], rtol=0.02):
        return not_yet("that compares q99 alone; a token is stretched over all of q01 … q99.")
    return not_yet("compare the spans q99 − q01, axis by axis.")


def reach(answer: float | None, steps: int = 280) -> CheckResult:
    """How far the hand gets at most along x under `bridge_orig` in `steps`, in centimetres."""
    given = number(answer)
    if isinstance(given, CheckResult):
        return given
    full = steps * FULL_SPEED_MM / 10
    wanted = full * _factors()[0]
    if np.allclose(given, wanted, rtol=0.15):
        return right("the object is about twice as far away, so the hand cannot get there.")
    if np.allclose(given, full, rtol=0.15):
        return not_yet("that is the way under the right key. What does the wrong key do to x?")
    if np.allclose(given, 10 * wanted, rtol=0.15):
        return not_yet("give centimetres, not millimetres.")
    return not_yet("multiply the steps, the millimetres a step, and the factor of x from b.")


class _Compared(msgspec.Struct):
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
    """Whether two recorded episodes differ in one condition and in nothing else that matters.

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
        entries.append(read_object(path, _Compared, "Record the episode again."))
    a, b = entries
    same = ("suite", "task", "init", "instruction", "policy")
    differing = [key for key in same if a[key] != b[key]]
    if differing:
        return not_yet(f"the two also differ in {', '.join(differing)}; that may be the cause.")
    if a["wiring"].get("max_steps") != b["wiring"].get("max_steps"):
        return not_yet("the two have different step limits, so one had longer to succeed.")
    if None in (a["success"], b["success"]):
        return not_yet("one of the two was stopped before its end.")
    changed = set(a["conditions"]) ^ set(b["conditions"])
    if len(changed) != 1:
        return not_yet(f"{len(changed)} conditions differ; with exactly one you know the cause.")
    return right(f"only {changed.pop()} differs. It is still one pair of episodes.")
