"""Every setting around the policy that can affect success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vla_tutorial.errors import TutorialError

PINNED_MUJOCO = "3.3.2"
"""From 3.3.3 LIBERO-object's floor is darker and success falls (openvla issues 282, 335)."""

OPENVLA_TEMPLATE = "In: What action should the robot take to {instruction}?\nOut:"
"""The scaffold that OpenVLA was trained with (openvla, `PurePromptBuilder`)."""

Orientation = Literal["rotate_180", "flip_vertical", "raw"]
ColourOrder = Literal["rgb", "bgr"]
LetterCase = Literal["lower", "as_given", "upper"]
GripperMapping = Literal["binarised", "inverted", "continuous", "unscaled"]
WhileWaiting = Literal["last", "zero"]
Camera = Literal["agentview", "wrist"]
Resize = Literal["lanczos3", "bilinear"]
ActionBounds = Literal["quantiles", "extremes"]

LOWEST = {
    "frame_delay": 0,
    "latency": 0,
    "stale_chunks": 0,
    "settle_steps": 0,
    "replan_steps": 1,
    "camera_size": 1,
    "max_steps": 1,
    "vocabulary": 256,
}
"""The lowest value of each whole number of a wiring."""


@dataclass(frozen=True)
class Wiring:
    """The settings between a policy and a robot.

    The defaults are OpenVLA's published LIBERO protocol (`run_libero_eval.py`), which works.

    Attributes:
        unnorm_key: whose action statistics turn the bins into motion; no default would be safe.
        embedded_statistics: whether this package's statistics may replace a key that the policy
            does not bring. False for a checkpoint: it was trained with its own keys.
        camera: whose picture the policy gets: the one that looks at the robot, as published, or the
            one at its wrist.
        orientation: what is done to the simulator's picture, which arrives upside down *and*
            mirrored relative to the training data.
        colour_order: order of the channels that reach the policy; published: red, green, blue.
        frame_delay: control steps by which the picture is old; the first one is shown until then.
        jpeg: whether the picture makes a JPEG round trip at quality 95, as the training data did.
        resize: how the picture becomes 224 pixels wide. Published: lanczos3 with antialiasing.
            `bilinear` has none, as TensorFlow's and OpenCV's resize do it unless told otherwise.
        center_crop: whether the middle 90 % of the area is cut out and enlarged (the policy was
            trained with random crops of that size).
        camera_size: width and height of the rendered picture in pixels; published: 256.
        prompt_template: text with `{instruction}` in it.
        empty_token: whether token 29871 ends the prompt.
        letter_case: what is done to the instruction's letters.
        vocabulary: how many ids the token of bin 0 is counted down from. Llama-2's text has 32000;
            checkpoints pad it to 32064.
        action_bounds: what −1 and 1 mean: the 1 % and 99 % quantiles of the training data's
            actions, as published, or their smallest and largest value.
        action_mask: whether numbers that the statistics mask (the gripper) stay as they are.
        gripper: how the seventh number becomes the simulator's command; see `actions.to_libero`.
            `binarised`: −sign(2g−1).
        translation_gain: factor on x, y and z, which the controller clips to [−1, 1] afterwards.
        realtime: control steps a second that pass while the policy thinks, by the clock: live mode.
            None, as published: the simulator waits for each answer.
        latency: control steps that pass from each question to its answer, whatever the clock says.
        while_waiting: what the arm gets meanwhile: its last action again, or no motion.
        replan_steps: actions of a chunk that are executed before the policy is asked again; None
            takes the policy's own number. A policy that answers with one action is asked each step.
        stale_chunks: how many questions old the executed chunk is.
        settle_steps: no-op control steps in which objects, which start inside the floor, drop.
        max_steps: control steps after which the episode has failed; None takes the suite's
            published limit.
        mujoco: the simulator version that the protocol stands on.

    Raises:
        TutorialError: the template has no `{instruction}` or cannot be filled, a number is below
            the lowest possible, or the gain or `realtime` is not positive and finite.
    """

    unnorm_key: str
    embedded_statistics: bool = False
    camera: Camera = "agentview"
    orientation: Orientation = "rotate_180"
    colour_order: ColourOrder = "rgb"
    frame_delay: int = 0
    jpeg: bool = True
    resize: Resize = "lanczos3"
    center_crop: bool = True
    camera_size: int = 256
    prompt_template: str = OPENVLA_TEMPLATE
    empty_token: bool = True
    letter_case: LetterCase = "lower"
    vocabulary: int = 32000
    action_bounds: ActionBounds = "quantiles"
    action_mask: bool = True
    gripper: GripperMapping = "binarised"
    translation_gain: float = 1.0
    realtime: float | None = None
    latency: int = 0
    while_waiting: WhileWaiting = "last"
    replan_steps: int | None = None
    stale_chunks: int = 0
    settle_steps: int = 10
    max_steps: int | None = None
    mujoco: str = PINNED_MUJOCO

    def __post_init__(self) -> None:
        """Refuse settings that no episode could run with."""
        _check_template(self.prompt_template)
        for name, low in LOWEST.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise TutorialError(f"{name} is {value}; expected {low} or more.")
        for name in ("translation_gain", "realtime"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise TutorialError(f"{name} is {value}; expected a positive number.")


def _check_template(template: str) -> None:
    try:
        filled = template.format(instruction="<instruction>")
    # A brace without its partner; another name; a number; an attribute of the instruction.
    except (ValueError, KeyError, IndexError, AttributeError) as e:
        raise TutorialError(
            f"The prompt template {template!r:.200} cannot be filled ({e!r:.80}). Expected "
            "{instruction} in it, and other braces doubled."
        ) from e
    if "<instruction>" not in filled:
        raise TutorialError(
            f"The prompt template {template!r:.200} must have {{instruction}} in it."
        )
