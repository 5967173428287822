"""`steps.jsonl`: one line a control step. `step_line` writes it, `read_log` reads it as columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_tutorial.arrays import Bools, Floats, Ints, Picture
from vla_tutorial.decoding import Count, decode, is_file, read_lines
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step


def step_line(step: Step) -> dict[str, Any]:
    """One line of `steps.jsonl`; `json.dumps` of it is the line's text.

    Beside `picture_fields`, after the action: reward. Before it, in metres rounded to 10 µm:
    eef_pos (3, world frame) and gripper_qpos (2). The action itself: tokens (7) as the policy
    answered, and action (7) as LIBERO got it, rounded to 1e-6. In live mode, where the policy was
    still thinking, `waiting` is true; otherwise the line does not have it.
    """
    line = {
        "step": step.step,
        **picture_fields(step.pixels),
        "action": [round(float(a), 6) for a in step.action],
        "reward": step.reward,
        "tokens": [int(t) for t in step.tokens],
        "eef_pos": [round(float(x), 5) for x in step.observation.eef_pos],
        "gripper_qpos": [round(float(x), 5) for x in step.observation.gripper_qpos],
    }
    if step.waiting:
        line["waiting"] = True
    return line


def picture_fields(image: Picture) -> dict[str, Any]:
    """The fields of a line that describe the picture (H, W, 3), in grey levels (0–255).

    img_mean; img_quarters: the means of its top-left, top-right, bottom-left and bottom-right
    quarter; img_channels: the means of red, green and blue, which show exchanged colours and a
    missing JPEG round trip; img_sharpness.
    """
    rows = image.shape[0] // 2
    columns = image.shape[1] // 2
    # Sums are whole numbers, so the order of adding changes nothing.
    halves = np.add.reduceat(image, [0, rows], axis=0, dtype=np.uint32)
    parts = np.add.reduceat(halves, [0, columns], axis=1, dtype=np.float64)
    area = np.outer([rows, len(image) - rows], [columns, image.shape[1] - columns])
    return {
        "img_mean": round(float(parts.sum() / image.size), 2),
        "img_quarters": [round(float(q), 2) for q in (parts.sum(-1) / (3 * area)).ravel()],
        "img_channels": [round(float(c), 2) for c in 3 * parts.sum((0, 1)) / image.size],
        "img_sharpness": round(sharpness(image), 2),
    }


def sharpness(image: Picture) -> float:
    """Mean difference of neighbouring pixels in grey levels (0–255): down by blur, up by noise.

    Args:
        image: (H, W, 3) uint8. Differences down and across, of each channel, are averaged apart,
            and their two means are added.
    """
    total = 0.0
    for a, b in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
        # Not a - b: uint8 wraps around below 0.
        total += float((np.maximum(a, b) - np.minimum(a, b)).mean())
    return total


def closing_steps(commands: ArrayLike) -> Ints:
    """Steps at which the gripper command changes to close: (n,) int64, ascending.

    Args:
        commands: (T,) as LIBERO got them. Above 0 closes; 0 does not. Before step 0 it is open.
    """
    closing = np.asarray(commands, np.float64) > 0
    return np.flatnonzero(np.diff(closing.astype(np.int8), prepend=0) > 0)


# Bounds that no step reaches. NaN and infinity fail them.
Number = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
Token = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

MOST_BYTES = 32 * 2**20
MOST_STEPS = 100_000
"""Bytes and steps of a log: more than an hour. A step takes about 350 bytes."""

AGAIN = "The file was cut or edited. Run the episode again."


class _Line(msgspec.Struct, gc=False):
    """What a line must hold."""

    step: Count
    img_mean: Number
    img_quarters: tuple[Number, Number, Number, Number]
    action: tuple[Number, Number, Number, Number, Number, Number, Number]
    reward: Number
    tokens: tuple[Token, Token, Token, Token, Token, Token, Token]
    eef_pos: tuple[Number, Number, Number]
    gripper_qpos: tuple[Number, Number]
    # Folders of format 1 lack these two.
    img_channels: tuple[Number, Number, Number] | None = None
    img_sharpness: Number | None = None
    # Only live mode writes it.
    waiting: bool = False


_LINES = msgspec.json.Decoder(list[_Line])


@dataclass(frozen=True)
class Log:
    """One episode's steps as columns of T control steps; `step_line` says what each column is."""

    reward: Floats  # (T,) float64, after the action
    image_mean: Floats  # (T,) float64 grey levels
    quarters: Floats  # (T, 4) float64 grey levels: top left, top right, bottom left, bottom right
    channels: Floats | None  # (T, 3) float64 grey levels of red, green, blue; None in format 1
    sharpness: Floats | None  # (T,) float64 grey levels; None in format 1
    actions: Floats  # (T, 7) float64 as LIBERO got them
    tokens: Ints  # (T, 7)
    eef_pos: Floats  # (T, 3) float64 metres, world frame, before the action
    fingers: Floats  # (T,) float64 millimetres between the fingers, before the action
    waiting: Bools  # (T,) whether the policy was still thinking: live mode

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def gripper(self) -> Floats:
        """(T,) the gripper command: −1 open, +1 close."""
        return self.actions[:, 6]

    @property
    def closing(self) -> Bools:
        """(T,) whether the command closes the gripper. A command of 0 does not."""
        return self.gripper > 0

    @property
    def first_close(self) -> int | None:
        """Step of the first closing command, or None."""
        steps = closing_steps(self.gripper)
        return int(steps[0]) if len(steps) else None

    @property
    def closes(self) -> int:
        """How often the command changes to close."""
        return len(closing_steps(self.gripper))

    @property
    def height(self) -> Floats:
        """(T,) metres of the end effector above the floor."""
        return self.eef_pos[:, 2]

    @property
    def motion(self) -> Floats:
        """(T,) length of the commanded translation; 1 is 0.05 m of goal displacement a step."""
        return np.asarray(np.linalg.norm(self.actions[:, :3], axis=1))

    @property
    def success(self) -> bool:
        """Whether the last reward is positive."""
        return bool(self.reward[-1] > 0)


def read_log(folder: Path | str) -> Log:
    """The log of the episode in `folder`. Only `steps.jsonl` is read.

    Raises:
        TutorialError: there is no log, it is empty or has more than `MOST_BYTES` or `MOST_STEPS`,
            or a line is cut, edited or missing; names the line, and the key with its value.
    """
    path = Path(folder) / "steps.jsonl"
    if not is_file(path):
        expected = "Expected an episode folder as `vla-tutorial rollout` writes it."
        raise TutorialError(f"{folder} holds no steps.jsonl. {expected}")
    return _log(read_lines(path, AGAIN, MOST_BYTES, MOST_STEPS), str(path))


def log_of(lines: Sequence[Mapping[str, Any]], where: str = "the log") -> Log:
    """Lines as `step_line` makes them → columns.

    Args:
        where: what errors name in place of a file.

    Raises:
        TutorialError: as `read_log`, for lines.
    """
    return _log([json.dumps(line).encode() for line in lines], where)


def _log(texts: Sequence[bytes], where: str) -> Log:
    if not texts:
        why = "the episode was stopped before its first action"
        raise TutorialError(f"{where} holds no step: {why}. Run the episode again.")
    lines = _decode(texts, where)
    for k, line in enumerate(lines):
        if line.step != k:
            raise _malformed(where, k + 1, f"is step {line.step}, expected {k}")
    left, right = _column(lines, "gripper_qpos").T
    return Log(
        reward=_column(lines, "reward"),
        image_mean=_column(lines, "img_mean"),
        quarters=_column(lines, "img_quarters"),
        channels=_optional_column(lines, "img_channels", where),
        sharpness=_optional_column(lines, "img_sharpness", where),
        actions=_column(lines, "action"),
        tokens=_column(lines, "tokens"),
        eef_pos=_column(lines, "eef_pos"),
        fingers=1000 * (left - right),
        waiting=_column(lines, "waiting"),
    )


def _column(lines: Sequence[_Line], name: str) -> NDArray[Any]:
    return np.array([getattr(line, name) for line in lines])


def _optional_column(lines: Sequence[_Line], name: str, where: str) -> Floats | None:
    """A column that folders of format 1 lack. A log has it in every line or in none."""
    lacking = [k for k, line in enumerate(lines, 1) if getattr(line, name) is None]
    if not lacking:
        return _column(lines, name)
    if len(lacking) < len(lines):
        raise _malformed(where, lacking[0], f"lacks {name}, other lines hold it")
    return None


def _decode(texts: Sequence[bytes], where: str) -> list[_Line]:
    with suppress(ValueError, RecursionError):
        # All lines in one call, because a sweep has hundreds of logs.
        found = _LINES.decode(b"[" + b",".join(texts) + b"]")
        if len(found) == len(texts):
            return found
    # Some line is invalid. Decoding one by one finds it.
    numbered = enumerate(texts, 1)
    return [decode(text, _Line, f"{where}, line {number}", AGAIN) for number, text in numbered]


def _malformed(where: str, number: int, what: str) -> TutorialError:
    return TutorialError(f"{where}, line {number} {what}. {AGAIN}")
