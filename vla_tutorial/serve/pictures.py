"""What the server does to a client's picture and instruction before the policy sees them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

import msgspec

from vla_tutorial import pixels, prompt
from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import PolicyInput
from vla_tutorial.policies.wire import MAX_TEXT
from vla_tutorial.wiring import (
    OPENVLA_TEMPLATE,
    ColourOrder,
    LetterCase,
    Orientation,
    Wiring,
)

Named = Literal["finished", "upright", "published"]
"""A picture that is taken as it is; one that LIBERO's client has turned already; the simulator's
own, whose row 0 is at the bottom."""


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of `Wiring` that a server can obey; the others are the client's own."""

    orientation: Orientation = "rotate_180"
    colour_order: ColourOrder = "rgb"
    jpeg: bool = True
    center_crop: bool = True
    prompt_template: Annotated[str, msgspec.Meta(max_length=300)] = OPENVLA_TEMPLATE
    empty_token: bool = True
    letter_case: LetterCase = "lower"


How = Named | Changes
"""What a client's "wiring" may be."""


def read_how(value: Any, default: Named) -> How:
    """A client's "wiring": a name, or an object with fields of `Changes`; None is `default`.

    Raises:
        TutorialError: it is neither.
    """
    if value is None:
        return default
    try:
        how: How = msgspec.convert(value, How)
    except msgspec.ValidationError as e:
        names = ", ".join(get_args(Named))
        fields = ", ".join(Changes.__struct_fields__)
        expected = f"Expected {names}, or an object with {fields}."
        raise TutorialError(f"wiring: {e}. {expected}") from e
    if isinstance(how, Changes):
        _check_template(how.prompt_template)
    return how


def _check_template(template: str) -> None:
    # Nothing but the plain field: "{instruction:>999999999}" would fill the memory.
    if re.search(r"[{}]", template.replace("{instruction}", "")):
        raise TutorialError("wiring: prompt_template may have no braces but {instruction}.")


def _wiring(how: How) -> Wiring:
    published = Wiring(unnorm_key="")
    if isinstance(how, Changes):
        return replace(published, **msgspec.structs.asdict(how))
    return replace(published, orientation="raw" if how == "upright" else "rotate_180")


def prepare(image: Picture, instruction: str, how: How) -> tuple[PolicyInput, str]:
    """What the policy gets, and a sentence (ASCII) that says what was done to the picture.

    Args:
        image: (H, W, 3) uint8.

    Raises:
        TutorialError: the instruction is too long, or the wiring invalid.
    """
    if len(instruction) > MAX_TEXT:
        what = f"The instruction has {len(instruction)} characters"
        raise TutorialError(f"{what}; expected at most {MAX_TEXT}. Shorten it.")
    wiring = _wiring(how)
    text = prompt.build(wiring, instruction)
    height, width = image.shape[:2]
    if how != "finished":
        seen = pixels.prepare(image, wiring)
        return PolicyInput(seen, text), f"{width} x {height}; {_steps(wiring)}"
    seen = pixels.resize_naive(image)
    done = "taken as it is"
    if (width, height) != (pixels.SIZE, pixels.SIZE):
        done = f"{width} x {height}; resized to {pixels.SIZE} x {pixels.SIZE}; nothing else"
    return PolicyInput(seen, text), done


def _steps(wiring: Wiring) -> str:
    steps = [f"orientation {wiring.orientation}"]
    if wiring.colour_order == "bgr":
        steps.append("channels reversed")
    if wiring.jpeg:
        steps.append("JPEG of quality 95")
    steps.append(f"lanczos3 to {pixels.SIZE} x {pixels.SIZE}")
    if wiring.center_crop:
        steps.append("centre crop of 90 %")
    return "; ".join(steps)
