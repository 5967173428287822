"""Rules that turn signatures into findings: what is off, at which boundary, and what to do next.

*Measured* faults show in the log: the picture is not a published one, the action is not what the
tokens mean, or the scene had not settled. The *prompt* leaves no trace, so it is inferred: the text
is the only input left where all that is right and answers are wrong before the robot has moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.diagnose.signatures import EARLY, Signatures

FaultBoundary = Literal["pixels", "prompt", "motion", "simulator"]
"""Boundaries at which code can be wrong. Shifts of scene and language are no faults of the code."""

RULES_VERSION = 1
"""Raise it when a verdict or a signature of some log changes: kept verdicts are then made again."""

MISFIT = 3.5
"""Grey levels by which a quarter of the first picture may differ from the nearest task's, at equal
brightness. On saved initial states 0–24, published pictures differ by at most 1.1 from the means in
the reference, MuJoCo 3.3.3's by 7 to 11, and mirrored ones by at least 7 unless turned back."""

BRIGHTER = 6.0
"""Grey levels beyond the published range of brightness, 2 wide. MuJoCo 3.3.3 takes off 36."""

SHARPER = 0.8
"""Grey levels beyond the published range of sharpness. Without the crop it is 1.8 to 2.4 above."""

CHROMA = 1.0
"""Grey levels beyond the published range of red + blue − 2 green. Without JPEG: 2 to 2.5 above."""

FINGERS_MM = 5.0
"""Millimetres beyond the published range: 41.7 apart in the saved states, 77.4 after settling."""

FIRST_OFF = 8.0
"""Bins, mean of six dimensions, by which a first answer may miss the nearest task's known-good
range. On initial states 0–24, answers to published pictures that were left out of the range miss it
by at most 2.3, and those to a changed prompt (four kinds) by at least 18."""

EARLIEST_CLOSE = 20
"""Control steps. In 500 successes of `mini` under the published protocol the first close came at
step 37 or later (results/sweeps/mini_official)."""

UNDECIDED = 0.05
"""Share of early gripper tokens that may be neither open nor close: of ten, not one."""


@dataclass(frozen=True)
class Finding:
    """One thing that is off: where, a sentence with its numbers, and what to do now."""

    boundary: FaultBoundary
    evidence: str
    next_step: str


Rule = Callable[[Signatures, Reference], Finding | None]


def turned(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on img_quarters of the first step."""
    if s.picture.turned == "as published" or s.picture.misfit > MISFIT:
        return None
    return Finding(
        "pixels",
        f"The first picture's quarters fit a published one within {s.picture.misfit:.1f} grey "
        f"levels only if it is read as {s.picture.turned}.",
        "Open agentview.png: the robot's base belongs at the top, the basket left, the objects "
        "right. Then look at Wiring.orientation: rotate_180 reverses rows and columns.",
    )


def colours(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on img_channels of the first step."""
    low, high = reference.red_minus_blue
    found = s.picture.red_minus_blue
    if found is None or not -high - 2 <= found <= -low + 2:
        return None
    return Finding(
        "pixels",
        f"Red minus blue is {found:+.1f} grey levels; published pictures have {low:+.1f} to "
        f"{high:+.1f}: the two are exchanged.",
        "Open agentview.png: is the floor blue? Find who reads BGR (OpenCV does), and reverse the "
        "last axis once.",
    )


def _scene_is_known(s: Signatures, reference: Reference) -> bool:
    low, high = reference.brightness
    return s.picture.misfit <= MISFIT and low - BRIGHTER <= s.picture.brightness <= high + BRIGHTER


def preparation(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on img_sharpness and img_channels of the first step of a scene that is known."""
    p = s.picture
    if not _scene_is_known(s, reference) or p.sharpness is None or p.chroma is None:
        return None
    sharpest = reference.sharpness[1]
    if p.sharpness > sharpest + SHARPER:
        return Finding(
            "pixels",
            f"Neighbouring pixels differ by {p.sharpness:.1f} grey levels; published pictures, "
            f"enlarged from their centre, by at most {sharpest:.1f}.",
            "Look at Wiring.center_crop and camera_size; if both are as published, open "
            "agentview.png and look for noise.",
        )
    most = reference.chroma[1]
    widest = reference.red_minus_blue[1] + CHROMA + 2
    if p.chroma <= most + CHROMA or abs(p.red_minus_blue or 0) >= widest:
        return None
    return Finding(
        "pixels",
        f"Red + blue − 2 green is {p.chroma:+.1f} grey levels; published pictures have at most "
        f"{most:+.1f}, because their JPEG round trip takes a level each from red and blue.",
        "Look at Wiring.jpeg: the training pictures were JPEGs of quality 95.",
    )


def stale(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on img_quarters and eef_pos of the first two steps."""
    if not s.picture.repeats:
        return None
    return Finding(
        "pixels",
        "The second picture is the first one again to 0.01 grey levels, though the hand had moved: "
        "pictures come late.",
        "Look for a queue or buffer between camera and policy: compare a picture's time and step.",
    )


def motion_scale(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on tokens and action of every step, and the statistics that this package ships."""
    m = s.mapping
    key = reference.key
    if m.key == key:
        return None
    whose = f"not what these tokens mean under {key}, nor under any other shipped statistics"
    if m.key:
        whose = f"exactly what these tokens mean under {m.key}, not under {key}: another data set"
    clipped = ""
    if m.beyond:
        clipped = f" {m.beyond:.0%} of its numbers lie beyond ±1, where the controller clips."
    return Finding(
        "motion",
        f"The logged motion is {whose}. It is {m.scale:.2g} times what it should be, and the hand "
        f"got {100 * s.travel:.0f} cm from its start.{clipped}",
        "Look at Wiring.unnorm_key, and decode one step's tokens by hand: "
        f"actions.decode(tokens, embedded_statistics()[{key!r}]).",
    )


GRIPPER_STORIES = {
    None: "no known mapping of the tokens",
    "inverted": "the sign of what the tokens say: open means close",
    "continuous": "the token's number, not its sign: it was not binarised",
}


def gripper_mapping(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on the seventh token and the seventh number of every step."""
    mapping = s.mapping.gripper
    if mapping == "binarised":
        return None
    how = GRIPPER_STORIES.get(mapping, f"what the mapping {mapping!r} makes of the tokens")
    closed = "never closed"
    if s.gripper.first_close is not None:
        closed = f"was first commanded to close at step {s.gripper.first_close}"
    return Finding(
        "motion",
        f"The logged gripper command is {how}; the gripper {closed}.",
        "Look at Wiring.gripper: LIBERO wants −sign(2g−1), −1 open and +1 close.",
    )


def rendering(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on img_mean and img_quarters of the first step, after turning and exchanged colours."""
    if _scene_is_known(s, reference):
        return None
    low, high = reference.brightness
    return Finding(
        "simulator",
        "The first picture is not a published one, whichever way it is turned: brightness "
        f"{s.picture.brightness:.0f} (published {low:.0f} to {high:.0f}), and a quarter is off by "
        f"{s.picture.misfit:.1f} grey levels at equal brightness.",
        "Run vla-tutorial doctor (MuJoCo's version, GL driver); then compare agentview.png with a "
        "published one: light, camera, objects.",
    )


def unsettled(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on gripper_qpos of the first step: settling opens fingers that are half closed."""
    low, high = reference.fingers
    if low - FINGERS_MM <= s.gripper.fingers <= high + FINGERS_MM:
        return None
    return Finding(
        "simulator",
        f"At the first step the fingers are {s.gripper.fingers:.0f} mm apart; after settling they "
        f"are {high:.0f}: the policy began too early.",
        "Look at Wiring.settle_steps: ten no-op steps let the objects drop and the fingers open.",
    )


def answers(s: Signatures, reference: Reference) -> Finding | None:
    """Rests on the tokens of the first ten steps. Only meaningful when nothing measured is off."""
    signs = []
    gripper = s.gripper
    if s.first_off is not None and s.first_off > FIRST_OFF:
        signs.append(
            f"the first answer is {s.first_off:.0f} bins (mean of six) from any first answer of a "
            f"good {reference.policy} episode"
        )
    if gripper.early_undecided > UNDECIDED:
        signs.append(
            f"{gripper.early_undecided:.0%} of the first {EARLY} gripper tokens are neither open "
            "nor close, which training data never hold"
        )
    if gripper.first_close is not None and gripper.first_close < EARLIEST_CLOSE:
        step = gripper.first_close
        signs.append(f"the gripper closes at step {step}, before the hand is near any object")
    if not signs:
        return None
    return Finding(
        "prompt",
        f"Picture, motion and scene check out, and yet {'; '.join(signs)}.",
        "Print the prompt with repr() and its token ids: In:/Out: scaffold, lower case, no period, "
        "and the empty token (29871) at the end. If it is right to the last id, open "
        "agentview.png: is something new in the scene, too small to show in a quarter's mean?",
    )


MEASURED: tuple[Rule, ...] = (
    turned, colours, preparation, stale, motion_scale, gripper_mapping, rendering, unsettled
)  # fmt: skip
"""In the order of the boundaries: pixels, motion, simulator."""


def findings(s: Signatures, reference: Reference) -> list[Finding]:
    """Everything measured that is off; only when that is nothing, what must be inferred."""
    measured = list(filter(None, [rule(s, reference) for rule in MEASURED]))
    return measured or list(filter(None, [answers(s, reference)]))
