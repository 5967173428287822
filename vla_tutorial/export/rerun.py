"""An episode as a Rerun recording, which `rerun FILE.rrd` opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr

from vla_tutorial.arrays import Floats
from vla_tutorial.export.recorded import ACTION_NAMES, RecordedEpisode
from vla_tutorial.video import CONTROL_HZ

APPLICATION = "vla_tutorial"
TIMELINE = "step"
SECONDS = "time"


def write_rerun(episode: RecordedEpisode, path: Path) -> None:
    """Write one recording.

    Its entities: camera (the video), action/x … action/gripper, tokens/x …, gripper/fingers_mm,
    hand (a point, metres, world frame), picture/mean and picture/sharpness (grey levels), reward,
    waiting (1 where a policy in live mode was thinking), instruction and record as text.
    """
    stream = rr.RecordingStream(APPLICATION, recording_id=str(episode.folder))
    stream.save(path)
    record = json.dumps(episode.about, indent=1, ensure_ascii=False)
    stream.log("instruction", rr.TextDocument(episode.instruction), static=True)
    stream.log("record", rr.TextDocument(record), static=True)
    stream.log("camera", rr.AssetVideo(path=episode.video), static=True)
    times = np.arange(len(episode.log)) / CONTROL_HZ
    _send(stream, "camera", rr.VideoFrameReference.columns_secs(times), times)
    for name, values in _series(episode).items():
        _send(stream, name, rr.Scalars.columns(scalars=values), times)
    _send(stream, "hand", rr.Points3D.columns(positions=episode.log.eef_pos), times)
    stream.flush()
    stream.disconnect()


def _send(stream: Any, entity: str, columns: object, times: Floats) -> None:
    indexes = [
        rr.TimeColumn(TIMELINE, sequence=np.arange(len(times))),
        rr.TimeColumn(SECONDS, duration=times),
    ]
    stream.send_columns(entity, indexes, columns)


def _series(episode: RecordedEpisode) -> dict[str, Floats]:
    """Entity → (T,) float64."""
    log = episode.log
    found = {
        "gripper/fingers_mm": log.fingers,
        "picture/mean": log.image_mean,
        "reward": log.reward,
        "waiting": log.waiting.astype(np.float64),
    }
    if log.sharpness is not None:
        found["picture/sharpness"] = log.sharpness
    for k, name in enumerate(ACTION_NAMES):
        found[f"action/{name}"] = log.actions[:, k]
        found[f"tokens/{name}"] = log.tokens[:, k].astype(np.float64)
    return found
