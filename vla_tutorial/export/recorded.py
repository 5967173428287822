"""An episode's folder as exports need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.decoding import is_file
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import Log, read_log
from vla_tutorial.player.episode_data import read_record

STATE_NAMES = ("x", "y", "z", "fingers")
"""Of `state`: the grip site in metres, world frame, and metres between the fingers."""

ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""Of `Log.actions`, as LIBERO got them; gripper −1 open, +1 close."""


@dataclass(frozen=True)
class RecordedEpisode:
    """What `read_episode` found.

    Attributes:
        folder: where it was recorded.
        about: what `episode.json` holds.
        log: what `steps.jsonl` holds.
        video: the file with one frame a step, upright.
    """

    folder: Path
    about: dict[str, Any]
    log: Log
    video: Path

    @property
    def instruction(self) -> str:
        """What the policy was asked, without the template."""
        return str(self.about["instruction"])

    @property
    def state(self) -> Floats:
        """(T, 4) float64, `STATE_NAMES`, before each action."""
        return np.column_stack([self.log.eef_pos, self.log.fingers / 1000])

    def frames(self) -> Iterator[Picture]:
        """The video's frames, (H, W, 3) uint8 each."""
        reader = imageio_ffmpeg.read_frames(str(self.video))
        width, height = next(reader)["size"]
        for data in reader:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def read_episode(folder: Path) -> RecordedEpisode:
    """The episode in a folder.

    Raises:
        TutorialError: it is none, it is damaged, or it has no video or one of another length.
    """
    about = read_record(folder)
    log = read_log(folder)
    video = folder / "episode.mp4"
    if not is_file(video):
        remedy = "Record it with `vla-tutorial rollout`, or a sweep with --video all."
        raise TutorialError(f"{folder} has no episode.mp4, which an export needs. {remedy}")
    found = RecordedEpisode(folder, about, log, video)
    try:
        frames, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    except RuntimeError as e:
        raise TutorialError(f"{video} is not a video. Run the episode again.") from e
    if frames != len(log):
        what = f"{video} has {frames} frames, and steps.jsonl has {len(log)} steps"
        raise TutorialError(f"{what}; expected one frame a step. Run the episode again.")
    return found
