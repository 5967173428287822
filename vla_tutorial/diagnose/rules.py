"""Rules that turn signatures into findings: what is off, with numbers, at which boundary, and what to do next.

Two kinds. *Measured* faults stand in the log itself: the picture is not a published one, the action is not what the tokens mean, the scene had
not settled. They are checked first, in the order of the boundaries. The *prompt* leaves no such trace, so it is inferred: when everything
measured is right and the answers are nevertheless wrong before the robot has moved, the only thing left that went into them is the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.diagnose.signatures import EARLY, Signatures

Boundary = Literal["pixels", "prompt", "motion", "simulator"]
"""What a finding may name: where code can be wrong. Shifts of the scene and of the language are no faults of the code."""

Rule = Callable[[Signatures, Reference], Iterator["Finding"]]

MISFIT = 3.5
"""Grey levels by which a quarter of the first picture may differ from the nearest task's, at equal brightness. On saved initial states 0–24,
published pictures differ by at most 1.1 from the means in the reference, MuJoCo 3.3.3's by 7 to 11, mirrored ones by 7 and more unless
they are turned back."""

BRIGHTER = 6.0
"""Grey levels beyond the published range of brightness, which is 2 wide. MuJoCo 3.3.3 takes off 36."""

SHARPER = 0.8
"""Grey levels beyond the published range of sharpness. Without the crop, first pictures are 1.8 to 2.4 above it."""

CHROMA = 1.0
"""Grey levels beyond the published range of red + blue − 2 green. Without the JPEG round trip, first pictures are 2 to 2.5 above it."""

FINGERS_MM = 5.0
"""Beyond the published range. The saved states begin with 41.7 mm between the fingers; after settling it is 77.4 mm."""

FIRST_OFF = 8.0
"""Bins, mean of six dimensions, by which a first answer may miss the nearest task's known-good range. On initial states 0–24, answers to
published pictures that were left out of the range miss it by at most 2.3; with a changed prompt (four kinds) by 18 and more."""

EARLIEST_CLOSE = 20
"""Control steps. In 500 successes of `mini` under the published protocol the first close came at step 37 or later (results/mini_libero_object.json)."""

UNDECIDED = 0.05
"""Share of early gripper tokens that may be neither open nor close: of ten, not one. Training data hold only the two."""


@dataclass(frozen=True)
class Finding:
    """One thing that is off.

    Attributes:
        boundary: where.
        evidence: one sentence with its numbers.
        next_step: what to do now.
    """

    boundary: Boundary
    evidence: str
    next_step: str


OPEN_PICTURE = (
    "Open agentview.png: the robot's base belongs at the top, the basket left, the objects right."
)


def turned(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on img_quarters of the first step."""
    if s.picture.turned != "as published" and s.picture.misfit <= MISFIT:
        yield Finding(
            "pixels",
            f"The first picture's quarters fit a published one within {s.picture.misfit:.1f} grey levels only if it is read as {s.picture.turned}.",
            f"{OPEN_PICTURE} Then look at Wiring.orientation: rotate_180 reverses rows and columns.",
        )


def colours(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on img_channels of the first step."""
    low, high = reference.red_minus_blue
    if s.picture.red_minus_blue is not None and -high - 2 <= s.picture.red_minus_blue <= -low + 2:
        yield Finding(
            "pixels",
            f"Red minus blue is {s.picture.red_minus_blue:+.1f} grey levels; published pictures have {low:+.1f} to {high:+.1f}: the two are exchanged.",
            "Open agentview.png: is the floor blue? Find who reads BGR (OpenCV does) and reverse the last axis once.",
        )


def _scene_is_known(s: Signatures, reference: Reference) -> bool:
    low, high = reference.brightness
    return s.picture.misfit <= MISFIT and low - BRIGHTER <= s.picture.brightness <= high + BRIGHTER


def preparation(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on img_sharpness and img_channels of the first step; says nothing when the scene itself is rendered otherwise."""
    p, sharpest = s.picture, reference.sharpness[1]
    if not _scene_is_known(s, reference) or p.sharpness is None or p.chroma is None:
        return
    if p.sharpness > sharpest + SHARPER:
        yield Finding(
            "pixels",
            f"Neighbouring pixels differ by {p.sharpness:.1f} grey levels; published pictures, enlarged from their centre, by at most {sharpest:.1f}.",
            "Look at Wiring.center_crop and camera_size; if both are as published, open agentview.png and look for noise.",
        )
    elif (
        p.chroma > reference.chroma[1] + CHROMA
        and abs(p.red_minus_blue or 0) < reference.red_minus_blue[1] + CHROMA + 2
    ):
        yield Finding(
            "pixels",
            f"Red + blue − 2 green is {p.chroma:+.1f} grey levels; published pictures have at most {reference.chroma[1]:+.1f}, because their JPEG round trip "
            "takes a level each from red and blue.",
            "Look at Wiring.jpeg: the training pictures were JPEGs of quality 95.",
        )


def stale(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on img_quarters and eef_pos of the first two steps."""
    if s.picture.repeats:
        yield Finding(
            "pixels",
            "The second picture is the first one again to 0.01 grey levels, though the hand had moved: pictures come late.",
            "Look for a queue or a buffer between camera and policy, and compare a picture's time with the step's.",
        )


def motion_scale(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on tokens and action of every step, and the statistics that this package ships."""
    m = s.mapping
    if m.key == reference.key:
        return
    if m.key:
        whose = f"exactly what these tokens mean under {m.key}, not under {reference.key}: statistics of another data set"
    else:
        whose = f"not what these tokens mean under {reference.key}, nor under any other statistics that this package ships"
    clipped = (
        f" {m.beyond:.0%} of its numbers lie beyond ±1, where the controller clips."
        if m.beyond
        else ""
    )
    yield Finding(
        "motion",
        f"The logged motion is {whose}. It is {m.scale:.2g} times what it should be, and the hand got {100 * s.travel:.0f} cm from its start.{clipped}",
        f"Look at Wiring.unnorm_key, and decode one step's tokens by hand: actions.decode(tokens, embedded_statistics()[{reference.key!r}]).",
    )


def gripper_mapping(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on the seventh token and the seventh number of every step."""
    words = {
        "inverted": "the sign of what the tokens say: open means close",
        "continuous": "the token's number, not its sign: it was not binarised",
    }
    mapping = s.mapping.gripper
    if mapping != "binarised":
        how = (
            words.get(mapping, f"what the mapping {mapping!r} makes of the tokens")
            if mapping
            else "no known mapping of the tokens"
        )
        closed = (
            "never closed"
            if s.gripper.first_close is None
            else f"was first told to close at step {s.gripper.first_close}"
        )
        yield Finding(
            "motion",
            f"The logged gripper command is {how}; the gripper {closed}.",
            "Look at Wiring.gripper: LIBERO wants −sign(2g−1), −1 open and +1 close.",
        )


def rendering(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on img_mean and img_quarters of the first step, after turning and exchanged colours were ruled out."""
    low, high = reference.brightness
    if not _scene_is_known(s, reference):
        yield Finding(
            "simulator",
            f"The first picture is no published one, whichever way it is turned: brightness {s.picture.brightness:.0f} (published {low:.0f} to {high:.0f}), "
            f"and a quarter is off by {s.picture.misfit:.1f} grey levels at equal brightness.",
            "Run vla-tutorial doctor (MuJoCo's version, GL driver); then compare agentview.png with a published one: light, camera, objects.",
        )


def unsettled(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on gripper_qpos of the first step: settling opens the fingers, and an unsettled scene begins with them half closed."""
    low, high = reference.fingers
    if not low - FINGERS_MM <= s.gripper.fingers <= high + FINGERS_MM:
        yield Finding(
            "simulator",
            f"At the first step the fingers are {s.gripper.fingers:.0f} mm apart; after settling they are {high:.0f}: the policy began too early.",
            "Look at Wiring.settle_steps: ten no-op steps let the objects drop and the fingers open.",
        )


def answers(s: Signatures, reference: Reference) -> Iterator[Finding]:
    """Rests on the tokens of the first ten steps. Only meaningful when nothing measured is off."""
    signs = []
    if s.first_off is not None and s.first_off > FIRST_OFF:
        signs.append(
            f"the first answer is {s.first_off:.0f} bins (mean of six) from any first answer of a good {reference.policy} episode"
        )
    if s.gripper.early_undecided > UNDECIDED:
        signs.append(
            f"{s.gripper.early_undecided:.0%} of the first {EARLY} gripper tokens are neither open nor close, which training data never hold"
        )
    if s.gripper.first_close is not None and s.gripper.first_close < EARLIEST_CLOSE:
        signs.append(
            f"the gripper closes at step {s.gripper.first_close}, before the hand can be anywhere near an object"
        )
    if signs:
        yield Finding(
            "prompt",
            f"Picture, motion and scene check out, and yet {'; '.join(signs)}.",
            "Print the prompt with repr() and its token ids: In:/Out: scaffold, lower case, no period, and the empty token (29871) at the end. "
            "If it is right to the last id, open agentview.png: is there something new in the scene, too small to show in a quarter's mean?",
        )


MEASURED: tuple[Rule, ...] = (
    turned,
    colours,
    preparation,
    stale,
    motion_scale,
    gripper_mapping,
    rendering,
    unsettled,
)
"""In the order pixels, motion, simulator."""
INFERRED: tuple[Rule, ...] = (answers,)


def findings(s: Signatures, reference: Reference) -> tuple[Finding, ...]:
    """Everything measured that is off; only when that is nothing, what must be inferred."""
    measured = tuple(f for rule in MEASURED for f in rule(s, reference))
    return measured or tuple(f for rule in INFERRED for f in rule(s, reference))
