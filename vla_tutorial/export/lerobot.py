"""Episodes as a LeRobot data set, version 3 of its layout (`lerobot/datasets`, CODEBASE v3.0).

meta/info.json  meta/stats.json  meta/tasks.parquet
meta/episodes/chunk-000/file-000.parquet   one row an episode: where its data and video are
data/chunk-000/file-000.parquet            one row a frame
videos/<key>/chunk-000/file-000.mp4        a file an episode
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_tutorial.export.recorded import ACTION_NAMES, STATE_NAMES, RecordedEpisode
from vla_tutorial.video import CONTROL_HZ

CODEBASE = "v3.0"
VIDEO_KEY = "observation.images.agentview"

FILES_PER_CHUNK = 1000
"""Of a folder chunk-000; LeRobot's default."""

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
"""As LeRobot's own data sets have them beside min, max, mean and std."""

DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"

Columns = dict[str, NDArray[Any]]


def write_lerobot(episodes: Sequence[RecordedEpisode], folder: Path) -> None:
    """Write a data set of at least one episode into a folder that is new or empty."""
    tasks = list(dict.fromkeys(episode.instruction for episode in episodes))
    frames: list[Columns] = []
    rows: list[dict[str, Any]] = []
    pictures: list[NDArray[Any]] = []
    start = 0
    for number, episode in enumerate(episodes):
        frames.append(frame_columns(episode, number, start, tasks.index(episode.instruction)))
        pictures.append(picture_rows(episode))
        columns = {**frames[-1], VIDEO_KEY: pictures[-1]}
        rows.append(_episode_row(episode, number, start, columns))
        start += len(episode.log)
        _copy_video(episode, folder / VIDEOS.format(video_key=VIDEO_KEY, **_place(number)))
    together = {name: np.concatenate([one[name] for one in frames]) for name in frames[0]}
    _write_table(_arrow(together), folder / DATA.format(**_place(0)))
    _write_table(pa.Table.from_pylist(rows), folder / EPISODES)
    _write_table(_tasks_table(tasks), folder / "meta/tasks.parquet")
    about = info(len(episodes), start, len(tasks), _picture_size(episodes[0]))
    _write_json(about, folder / "meta/info.json")
    everything = {**together, VIDEO_KEY: np.concatenate(pictures)}
    _write_json(_statistics(everything), folder / "meta/stats.json")


def _copy_video(episode: RecordedEpisode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(episode.video, path)


def frame_columns(episode: RecordedEpisode, number: int, start: int, task: int) -> Columns:
    """One value a frame, by the names of `features`; `start` is the first one's index."""
    count = len(episode.log)
    index = np.arange(count)
    done = np.zeros(count, bool)
    done[-1] = True
    return {
        "observation.state": episode.state.astype(np.float32),
        "action": episode.log.actions.astype(np.float32),
        "next.reward": episode.log.reward.astype(np.float32),
        "next.done": done,
        "next.success": episode.log.reward > 0,
        "timestamp": (index / CONTROL_HZ).astype(np.float32),
        "frame_index": index,
        "episode_index": np.full(count, number),
        "index": start + index,
        "task_index": np.full(count, task),
    }


def picture_rows(episode: RecordedEpisode) -> NDArray[Any]:
    """(n, 3) float32 in 0 … 1: some pixels of each frame, for the statistics of channels."""
    # Every 16th pixel both ways is 256 of a frame, as LeRobot looks at reduced pictures.
    sampled = [frame[::16, ::16].reshape(-1, 3) for frame in episode.frames()]
    return (np.concatenate(sampled) / 255).astype(np.float32)


def info(episodes: int, frames: int, tasks: int, size: tuple[int, int]) -> dict[str, Any]:
    """What `meta/info.json` says; `size` is a picture's height and width."""
    return {
        "codebase_version": CODEBASE,
        "robot_type": "panda",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": CONTROL_HZ,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA,
        "video_path": VIDEOS,
        "features": features(size),
    }


def features(size: tuple[int, int]) -> dict[str, Any]:
    """Name → dtype, shape and names of each column, and of the video."""
    found = {
        VIDEO_KEY: _video_feature(*size),
        "observation.state": _feature("float32", len(STATE_NAMES), list(STATE_NAMES)),
        "action": _feature("float32", len(ACTION_NAMES), list(ACTION_NAMES)),
        "next.reward": _feature("float32"),
        "next.done": _feature("bool"),
        "next.success": _feature("bool"),
        "timestamp": _feature("float32"),
    }
    for name in ("frame_index", "episode_index", "index", "task_index"):
        found[name] = _feature("int64")
    return found


def _video_feature(height: int, width: int) -> dict[str, Any]:
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": CONTROL_HZ,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def _feature(dtype: str, length: int = 1, names: list[str] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [length], "names": names}


def _picture_size(episode: RecordedEpisode) -> tuple[int, int]:
    height, width, _ = next(iter(episode.frames())).shape
    return height, width


def _place(number: int) -> dict[str, int]:
    """Chunk and file of the file with a number."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def _episode_row(
    episode: RecordedEpisode, number: int, start: int, columns: Columns
) -> dict[str, Any]:
    count = len(episode.log)
    row: dict[str, Any] = {
        "episode_index": number,
        "tasks": [episode.instruction],
        "length": count,
        "dataset_from_index": start,
        "dataset_to_index": start + count,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        f"videos/{VIDEO_KEY}/from_timestamp": 0.0,
        f"videos/{VIDEO_KEY}/to_timestamp": count / CONTROL_HZ,
    }
    row |= {f"data/{name}": value for name, value in _place(0).items()}
    row |= {f"videos/{VIDEO_KEY}/{name}": value for name, value in _place(number).items()}
    for key, found in _statistics(columns).items():
        for name, value in found.items():
            row[f"stats/{key}/{name}"] = value
    return row


def _statistics(columns: Columns) -> dict[str, dict[str, Any]]:
    """Feature → statistic → a list; of the video (3, 1, 1), as LeRobot has it."""
    found = {}
    for key, values in columns.items():
        rows = values.reshape(len(values), -1).astype(np.float64)
        one = {
            "min": rows.min(0),
            "max": rows.max(0),
            "mean": rows.mean(0),
            "std": rows.std(0),
            **{name: np.quantile(rows, share, 0) for name, share in QUANTILES.items()},
        }
        if key == VIDEO_KEY:
            one = {name: value.reshape(3, 1, 1) for name, value in one.items()}
        found[key] = {name: value.tolist() for name, value in one.items()}
        found[key]["count"] = [len(rows)]
    return found


def _arrow(columns: Columns) -> Any:
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 1:
            arrays[name] = pa.array(values)
        else:
            flat = pa.array(values.ravel())
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(arrays)


def _tasks_table(tasks: Sequence[str]) -> Any:
    """The tasks as pandas writes them: LeRobot looks them up by pandas' index."""
    index = "__index_level_0__"
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: tasks})
    about = {
        "index_columns": [index],
        "column_indexes": [_pandas_column(None, None, "object")],
        "columns": [
            _pandas_column("task_index", "task_index", "int64"),
            _pandas_column(None, index, "object"),
        ],
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _pandas_column(name: str | None, field: str | None, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": field,
        "pandas_type": "int64" if kind == "int64" else "unicode",
        "numpy_type": kind,
        "metadata": None,
    }


def _write_table(table: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(value: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8")


def check_alike(episodes: Iterable[RecordedEpisode]) -> str | None:
    """What keeps episodes out of one data set: another picture size, in words; else None."""
    sizes = {_picture_size(episode): episode.folder for episode in episodes}
    if len(sizes) < 2:
        return None
    listed = ", ".join(f"{folder} {h} × {w}" for (h, w), folder in sizes.items())
    return f"The episodes' pictures have different sizes: {listed}."
