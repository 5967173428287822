"""`steps.jsonl`: one line a control step. `step_line` writes it, `read_log` reads it back as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step

Array = NDArray[np.float64]


def step_line(step: Step) -> dict[str, Any]:
    """One line of `steps.jsonl`.

    Keys: step · img_mean (0–255, of the picture that the policy saw) · img_quarters (means of its
    top-left, top-right, bottom-left and bottom-right quarter) · img_channels (means of red, green and
    blue: they show exchanged colours and a missing JPEG round trip) · img_sharpness (see `sharpness`) ·
    action (7, as LIBERO got it) · reward (after the action) · tokens (7) · eef_pos (m, world frame) and
    gripper_qpos (m), both before the action. Actions are rounded to 1e-6, positions to 10 µm.
    """
    return {
        "step": step.step,
        **picture_fields(step.pixels),
        "action": [round(float(a), 6) for a in step.action],
        "reward": step.reward,
        "tokens": [int(t) for t in step.tokens],
        "eef_pos": [round(float(x), 5) for x in step.observation.eef_pos],
        "gripper_qpos": [round(float(x), 5) for x in step.observation.gripper_qpos],
    }


def picture_fields(image: NDArray[np.uint8]) -> dict[str, Any]:
    """The fields of a line that describe the picture (H, W, 3), in grey levels."""
    rows, columns = (n // 2 for n in image.shape[:2])
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


def sharpness(image: NDArray[np.uint8]) -> float:
    """Mean difference of neighbouring pixels of (H, W, 3), in grey levels, rows plus columns.

    It falls with blur and rises with noise.
    """
    total = 0.0
    for a, b in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
        total += (np.maximum(a, b) - np.minimum(a, b)).mean()
    return float(total)


def closing_steps(commands: ArrayLike) -> NDArray[np.int64]:
    """Steps at which the gripper command changes to close.

    Args:
        commands: (T,) as LIBERO got them. Above 0 closes; 0 does not. The gripper is open before step 0.
    """
    closing = np.asarray(commands, np.float64) > 0
    return np.flatnonzero(np.diff(closing.astype(np.int8), prepend=0) > 0)


Vector2 = Annotated[tuple[float, ...], msgspec.Meta(min_length=2, max_length=2)]
Vector3 = Annotated[tuple[float, ...], msgspec.Meta(min_length=3, max_length=3)]
Vector4 = Annotated[tuple[float, ...], msgspec.Meta(min_length=4, max_length=4)]
Vector7 = Annotated[tuple[float, ...], msgspec.Meta(min_length=7, max_length=7)]
Tokens = Annotated[tuple[int, ...], msgspec.Meta(min_length=7, max_length=7)]


class _Line(msgspec.Struct, gc=False):
    """What a line must hold. Folders of format 1 lack the last two."""

    step: int
    img_mean: float
    img_quarters: Vector4
    action: Vector7
    reward: float
    tokens: Tokens
    eef_pos: Vector3
    gripper_qpos: Vector2
    img_channels: Vector3 | None = None
    img_sharpness: float | None = None


_LINE = msgspec.json.Decoder(_Line)
_LINES = msgspec.json.Decoder(list[_Line])


@dataclass(frozen=True)
class Log:
    """One episode's steps as columns; T control steps. `step_line` says what each column is.

    Attributes:
        reward: (T,) float64, after the action.
        image_mean: (T,) float64 grey levels.
        quarters: (T, 4) float64 grey levels: top left, top right, bottom left, bottom right.
        channels: (T, 3) float64 grey levels of red, green, blue; None for a folder of format 1.
        sharpness: (T,) float64 grey levels; None for a folder of format 1.
        actions: (T, 7) float64 as LIBERO got them.
        tokens: (T, 7) int64.
        eef_pos: (T, 3) float64 metres, world frame, before the action.
        fingers: (T,) float64 millimetres between the fingers, before the action.
    """

    reward: Array
    image_mean: Array
    quarters: Array
    channels: Array | None
    sharpness: Array | None
    actions: Array
    tokens: NDArray[np.int64]
    eef_pos: Array
    fingers: Array

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def gripper(self) -> Array:
        """(T,) the gripper command: −1 open, +1 close."""
        return self.actions[:, 6]

    @property
    def closing(self) -> NDArray[np.bool_]:
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
    def height(self) -> Array:
        """(T,) metres of the end effector above the floor."""
        return self.eef_pos[:, 2]

    @property
    def motion(self) -> Array:
        """(T,) length of the commanded translation, a share of full speed.

        1 is 0.05 m of goal displacement a step.
        """
        return np.asarray(np.linalg.norm(self.actions[:, :3], axis=1))

    @property
    def success(self) -> bool:
        """Whether the last reward is positive."""
        return bool(self.reward[-1] > 0)


def read_log(folder: Path | str) -> Log:
    """The log of the episode in `folder`. Only `steps.jsonl` is read.

    Raises:
        TutorialError: there is no log, it is empty, or a line is cut, edited or lacks a field. The error
            names the line.
    """
    path = Path(folder) / "steps.jsonl"
    if not path.is_file():
        raise TutorialError(
            f"{folder} holds no steps.jsonl. "
            "Expected an episode folder as `vla-tutorial rollout` writes it."
        )
    texts = path.read_bytes().splitlines()
    if not texts:
        raise TutorialError(
            f"{path} holds no step: the episode was stopped before its first action. Run it again."
        )
    return _columns(_decode(texts, path), str(path))


def log_of(lines: Sequence[Mapping[str, Any]], where: str = "the log") -> Log:
    """Lines as `step_line` makes them → columns.

    Args:
        where: what errors call the log.

    Raises:
        TutorialError: no line, or a line that lacks a field or holds a wrong value.
    """
    if not lines:
        raise TutorialError(f"{where} holds no step. Run the episode again.")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.convert(line, _Line))
        except msgspec.ValidationError as e:
            raise _malformed(f"{where}, line {number}", e) from e
    return _columns(found, where)


def _decode(texts: Sequence[bytes], path: Path) -> list[_Line]:
    try:
        # All lines in one call, because a sweep has hundreds of logs.
        found = _LINES.decode(b"[" + b",".join(texts) + b"]")
        if len(found) == len(texts):
            return found
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    # Some line is invalid. Decoding one by one finds it.
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(_LINE.decode(text))
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise _malformed(f"{path}, line {number}", e) from e
    return found


def _malformed(where: str, error: Exception) -> TutorialError:
    return TutorialError(
        f"{where} is not a control step: {error}. "
        "The file was cut or edited. Run the episode again."
    )


def _columns(lines: Sequence[_Line], where: str) -> Log:
    for k, line in enumerate(lines):
        if line.step != k:
            raise TutorialError(
                f"{where}, line {k + 1} is step {line.step}, expected {k}: lines were removed or moved. "
                "Run the episode again."
            )
    qpos = np.array([line.gripper_qpos for line in lines], np.float64)
    return Log(
        reward=np.array([line.reward for line in lines], np.float64),
        image_mean=np.array([line.img_mean for line in lines], np.float64),
        quarters=np.array([line.img_quarters for line in lines], np.float64),
        channels=_optional([line.img_channels for line in lines]),
        sharpness=_optional([line.img_sharpness for line in lines]),
        actions=np.array([line.action for line in lines], np.float64),
        tokens=np.array([line.tokens for line in lines], np.int64),
        eef_pos=np.array([line.eef_pos for line in lines], np.float64),
        fingers=1000 * (qpos[:, 0] - qpos[:, 1]),
    )


def _optional(values: Sequence[Any]) -> Array | None:
    """A column that folders of format 1 lack; None where any line lacks it."""
    if any(value is None for value in values):
        return None
    return np.array(values, np.float64)
