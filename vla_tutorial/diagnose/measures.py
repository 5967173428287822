"""Numbers of an episode's boundaries: how far what came out is from what the protocol makes of it.

Each belongs to one boundary and knows no fault. Which values are normal is learned from published
episodes (`normal`). A number is None where the record lacks what it rests on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vla_tutorial import actions, pixels
from vla_tutorial.arrays import Floats
from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.diagnose.signatures import MOVED_MM
from vla_tutorial.diagnose.traces import Traces
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import picture_fields
from vla_tutorial.sim.protocol import task_instructions
from vla_tutorial.wiring import OPENVLA_TEMPLATE, PINNED_MUJOCO, Wiring

Place = Literal["pixels", "prompt", "motion", "simulator", "world"]
"""A boundary of the code, or the world: what the camera shows and what the sentence asks."""

FREE_STEPS = 15
"""Control steps in which the hand, which starts 0.25 m above the floor, has touched nothing."""


@dataclass(frozen=True)
class Standard:
    """What numbers are compared with.

    Attributes:
        reference: the suite's pictures and the key of its statistics.
        taps: (K,) float64, millimetres that the hand moves in a step for a unit commanded in this
            step, the one before, and so on: learned from published episodes.
    """

    reference: Reference
    taps: Floats


Compute = Callable[[Traces, Standard], float | None]


@dataclass(frozen=True)
class Measure:
    """One number: whose it is, what it says, and the smallest difference that means something."""

    name: str
    place: Place
    says: str
    resolution: float
    compute: Compute


def picture_path(t: Traces, standard: Standard) -> float | None:
    """Grey levels between what the policy saw and the published transformation of the camera's."""
    if t.camera is None or t.seen is None:
        return None
    expected = pixels.prepare(t.camera, Wiring(standard.reference.key)).astype(float)
    if expected.shape != t.seen.shape:
        return 255.0
    return float(np.abs(expected - t.seen).mean())


def picture_age(t: Traces, standard: Standard) -> float | None:
    """Share of the hand's moves after which the picture was the same as before."""
    moved = 1000 * np.linalg.norm(np.diff(t.log.eef_pos, axis=0), axis=1) > MOVED_MM
    same = (np.diff(t.log.quarters, axis=0) == 0).all(axis=1)
    return float((same & moved).sum() / moved.sum()) if moved.any() else None


def prompt_text(t: Traces, standard: Standard) -> float | None:
    """0 where the prompt is the published one of the instruction, else 1."""
    if t.prompt is None or t.instruction is None:
        return None
    expected = OPENVLA_TEMPLATE.format(instruction=t.instruction.lower())
    return float(t.prompt.text != expected)


def prompt_end(t: Traces, standard: Standard) -> float | None:
    """0 where the empty token ends the prompt, else 1."""
    return None if t.prompt is None else float(not t.prompt.empty_token)


def prompt_last_id(t: Traces, standard: Standard) -> float | None:
    """The last id that the policy got; which one is normal depends on its vocabulary."""
    ids = None if t.prompt is None else t.prompt.ids
    return float(ids[-1]) if ids else None


def decoding(t: Traces, standard: Standard) -> float | None:
    """Largest difference of a logged action from what its tokens mean under the suite's key."""
    statistics = actions.embedded_statistics()[standard.reference.key]
    meant = actions.to_libero(actions.decode(t.log.tokens, statistics))
    return float(np.abs(meant - t.log.actions).max())


def waiting(t: Traces, standard: Standard) -> float | None:
    """Share of steps in which the arm moved on while the policy was still thinking."""
    return float(t.log.waiting.mean())


def gain(t: Traces, standard: Standard) -> float | None:
    """The hand's motion over what its commands should give, before any contact (least squares)."""
    found = _free_motion(t, standard)
    if found is None:
        return None
    expected, achieved = found
    power = float((expected**2).sum())
    return float((expected * achieved).sum()) / power if power > 0 else None


def unexplained(t: Traces, standard: Standard) -> float | None:
    """Millimetres a step (r.m.s.) that do not follow from the commands, before any contact."""
    found = _free_motion(t, standard)
    if found is None:
        return None
    expected, achieved = found
    return float(np.sqrt(((achieved - expected) ** 2).mean()))


def _free_motion(t: Traces, standard: Standard) -> tuple[Floats, Floats] | None:
    """Expected and achieved millimetres of `FREE_STEPS` steps (n, 3); None for too few steps."""
    if len(t.log) <= FREE_STEPS:
        return None
    achieved = 1000 * np.diff(t.log.eef_pos[: FREE_STEPS + 1], axis=0)
    commanded = np.clip(t.log.actions[:FREE_STEPS, :3], -1, 1)
    return lagged(commanded, len(standard.taps)) @ standard.taps, achieved


def lagged(commanded: Floats, taps: int) -> Floats:
    """(n, 3) commands → (n, 3, taps): each with those of the steps before it, none before 0."""
    padded = np.vstack([np.zeros((taps - 1, 3)), commanded])
    return np.stack([padded[taps - 1 - k : len(padded) - k] for k in range(taps)], axis=-1)


def fingers_against(t: Traces, standard: Standard) -> float | None:
    """Share of steps in which the fingers moved against the command by more than 1 mm."""
    change = np.diff(t.log.fingers)
    commanded = np.sign(t.log.gripper[:-1])
    return float((change * commanded > 1.0).mean()) if len(change) else None


def fingers_at_first(t: Traces, standard: Standard) -> float | None:
    """Millimetres between the fingers before the first action: settling opens them."""
    return float(t.log.fingers[0])


def _start(axis: int) -> Compute:
    def compute(t: Traces, standard: Standard) -> float | None:
        """Metres, world frame: where the hand is before the first action."""
        return float(t.log.eef_pos[0, axis])

    return compute


def version(t: Traces, standard: Standard) -> float | None:
    """0 where the simulator is the pinned one, else 1."""
    return None if t.mujoco is None else float(t.mujoco != PINNED_MUJOCO)


def instruction(t: Traces, standard: Standard) -> float | None:
    """0 where the instruction is the task's own, else 1."""
    if t.suite is None or t.task is None or t.instruction is None:
        return None
    try:
        own = task_instructions(t.suite)
    except TutorialError:
        return None
    return float(t.task >= len(own) or t.instruction != own[t.task])


def _scene(name: str) -> Compute:
    def compute(t: Traces, standard: Standard) -> float | None:
        """A number of the camera's first picture after the published transformation."""
        if t.camera is None:
            return None
        fields = picture_fields(pixels.prepare(t.camera, Wiring(standard.reference.key)))
        red, _, blue = fields["img_channels"]
        quarters = np.array(fields["img_quarters"])
        found = {
            "brightness": fields["img_mean"],
            "red_minus_blue": red - blue,
            "sharpness": fields["img_sharpness"],
            "misfit": np.abs(standard.reference.quarters - quarters).max(axis=1).min(),
        }
        return float(found[name])

    return compute


MEASURES: tuple[Measure, ...] = (
    Measure("picture_path", "pixels", "the policy's first picture differs from the published "
            "transformation of the camera's, by grey levels", 0.05, picture_path),
    Measure("picture_age", "pixels", "share of the hand's moves that no picture shows", 0.01,
            picture_age),
    Measure("prompt_text", "prompt", "the prompt is not the published one of the instruction "
            "(1: so)", 0.1, prompt_text),
    Measure("prompt_end", "prompt", "the empty token is missing at the end (1: so)", 0.1,
            prompt_end),
    Measure("prompt_last_id", "prompt", "last id of the prompt", 0.1, prompt_last_id),
    Measure("decoding", "motion", "largest difference of an action from what its tokens mean",
            1e-5, decoding),
    Measure("waiting", "motion", "share of steps without an answer", 0.01, waiting),
    Measure("gain", "motion", "the hand's motion over what its commands should give", 0.02, gain),
    Measure("unexplained", "motion", "millimetres a step that no command explains", 0.5,
            unexplained),
    Measure("fingers_against", "motion", "share of steps with fingers against the command", 0.02,
            fingers_against),
    Measure("fingers_at_first", "simulator", "millimetres between the fingers at first", 2.0,
            fingers_at_first),
    Measure("start_x", "simulator", "hand at first, x in metres", 0.01, _start(0)),
    Measure("start_y", "simulator", "hand at first, y in metres", 0.01, _start(1)),
    Measure("start_z", "simulator", "hand at first, z in metres", 0.01, _start(2)),
    Measure("version", "simulator", "the simulator's version is not the pinned one (1: so)", 0.1,
            version),
    Measure("instruction", "world", "the sentence is not the task's (1: so)", 0.1, instruction),
    Measure("brightness", "world", "brightness of the scene", 0.5, _scene("brightness")),
    Measure("red_minus_blue", "world", "red minus blue of the scene", 0.5,
            _scene("red_minus_blue")),
    Measure("sharpness", "world", "sharpness of the scene", 0.2, _scene("sharpness")),
    Measure("misfit", "world", "grey levels of a quarter of the scene from the nearest task's",
            0.5, _scene("misfit")),
)  # fmt: skip
"""In the order of a step: picture, prompt, motion, simulator; the world last."""


def measure(traces: Traces, standard: Standard) -> dict[str, float | None]:
    """Every number of an episode by its name."""
    return {m.name: m.compute(traces, standard) for m in MEASURES}
