"""What an episode's folder holds of its boundaries: what went in, and what came out.

The wiring, the perturbation and the conditions' names stand in episode.json too. They are not read:
a log of other code does not have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from vla_tutorial.arrays import Picture
from vla_tutorial.decoding import decode, is_file
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import AGAIN, Log, read_log

MOST_BYTES = 2**20
"""Of an episode.json. One has 3 kB."""


class PromptEntry(msgspec.Struct, frozen=True):
    """What the policy was asked: the text, and whether the empty token ended it."""

    text: str
    empty_token: bool = True
    ids: list[int] | None = None


class _Versions(msgspec.Struct, frozen=True):
    mujoco: str | None = None


class _Entry(msgspec.Struct, frozen=True):
    suite: str | None = None
    task: int | None = None
    instruction: str | None = None
    prompt: PromptEntry | None = None
    versions: _Versions = _Versions()


@dataclass(frozen=True)
class Traces:
    """One episode's boundaries; None is what the folder lacks.

    Attributes:
        log: steps.jsonl.
        camera: (H, W, 3) uint8, the first picture as the simulator gave it.
        seen: (224, 224, 3) uint8, the first picture as the policy got it.
        suite, task, instruction: what was asked for.
        prompt: what the policy was asked.
        mujoco: the simulator's version.
    """

    log: Log
    camera: Picture | None = None
    seen: Picture | None = None
    suite: str | None = None
    task: int | None = None
    instruction: str | None = None
    prompt: PromptEntry | None = None
    mujoco: str | None = None


def read_traces(folder: Path) -> Traces:
    """What `folder` holds; only steps.jsonl must be there.

    Raises:
        TutorialError: a file is damaged (`log.read_log` for steps.jsonl).
    """
    log = read_log(folder)
    path = folder / "episode.json"
    entry = _Entry()
    if is_file(path):
        entry = decode(path.read_bytes()[:MOST_BYTES], _Entry, str(path), AGAIN)
    return Traces(
        log,
        _picture(folder / "camera.png"),
        _picture(folder / "agentview.png"),
        entry.suite,
        entry.task,
        entry.instruction,
        entry.prompt,
        entry.versions.mujoco,
    )


def _picture(path: Path) -> Picture | None:
    if not is_file(path):
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise TutorialError(f"{path} is not a picture ({e!s:.100}). {AGAIN}") from e
