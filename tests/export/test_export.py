"""Exports against the two tools' own descriptions, and against the records that they come from."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from vla_tutorial.cli.app import app
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import read_log
from vla_tutorial.loop import Step
from vla_tutorial.record import Recorder
from vla_tutorial.sim import Observation

pytest.importorskip("pyarrow", reason="the extra dev is not installed")

import pyarrow.parquet as pq

from vla_tutorial.export import read_episode

SENTENCES = ("pick up the milk", "pick up the butter", "pick up the milk")
LENGTHS = (4, 3, 5)


def record(folder, number, size=64):
    """A made-up episode whose pictures get brighter step by step."""
    about = {
        "suite": "libero_object",
        "task": 0,
        "init": number,
        "instruction": SENTENCES[number],
        "conditions": [],
        "policy": {"name": "made up"},
        "wiring": {},
        "warnings": [],
        "versions": {},
    }
    rng = np.random.default_rng(number)
    with Recorder(folder, about, pictures=False) as recorder:
        for k in range(LENGTHS[number]):
            seen = Observation(
                np.full((size, size, 3), 20 * k, np.uint8),
                rng.normal(size=3),
                np.array([0, 0, 0, 1.0]),
                np.array([0.03, -0.03]),
                np.zeros(7),
            )
            done = k == LENGTHS[number] - 1 and number < 2
            action = rng.uniform(-1, 1, 7)
            tokens = np.arange(31800, 31807)
            recorder.write(Step(k, seen, seen.image, tokens, action, float(done), done, k == 1))
        recorder.success = number < 2
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("recorded")
    return [record(root / str(number), number) for number in range(3)]


@pytest.fixture(scope="module")
def data_set(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("lerobot") / "set"
    done = CliRunner().invoke(
        app, ["export", *map(str, folders), "--to", "lerobot", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    return out


def test_lerobots_layout(data_set):
    info = json.loads((data_set / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20
    counts = [info[f"total_{what}"] for what in ("episodes", "frames", "tasks")]
    assert counts == [3, 12, 2] and info["splits"] == {"train": "0:3"}
    frames = pq.read_table(data_set / info["data_path"].format(chunk_index=0, file_index=0))
    stored = {k: v for k, v in info["features"].items() if v["dtype"] != "video"}
    assert set(frames.column_names) == set(stored)
    for name, feature in stored.items():
        kind = frames.schema.field(name).type
        if feature["shape"] == [1]:
            assert str(kind).replace("float", "float32") == feature["dtype"], name
        else:
            assert (kind.list_size, str(kind.value_type)) == (feature["shape"][0], "float"), name
    stats = json.loads((data_set / "meta/stats.json").read_text())
    assert set(stats) == set(info["features"])
    assert np.shape(stats["observation.images.agentview"]["mean"]) == (3, 1, 1)
    assert stats["observation.images.agentview"]["max"][0][0][0] == pytest.approx(
        80 / 255, abs=0.02
    )


def test_lerobots_rows_are_the_records(folders, data_set):
    frames = pq.read_table(data_set / "data/chunk-000/file-000.parquet").to_pydict()
    episodes = pq.read_table(data_set / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    tasks = pq.read_table(data_set / "meta/tasks.parquet")
    named = dict(
        zip(tasks["__index_level_0__"].to_pylist(), tasks["task_index"].to_pylist(), strict=True)
    )
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]
    assert frames["index"] == list(range(12))
    for number, (folder, row) in enumerate(zip(folders, episodes, strict=True)):
        log = read_log(folder)
        part = slice(row["dataset_from_index"], row["dataset_to_index"])
        assert row["length"] == len(log) == part.stop - part.start
        assert row["tasks"] == [SENTENCES[number]]
        assert set(frames["task_index"][part]) == {named[SENTENCES[number]]}
        assert np.array_equal(frames["action"][part], log.actions.astype(np.float32))
        assert np.allclose(np.array(frames["observation.state"][part])[:, :3], log.eef_pos)
        assert np.allclose(frames["timestamp"][part], np.arange(len(log)) / 20)
        assert frames["next.success"][part][-1] is log.success
        key = "videos/observation.images.agentview"
        place = f"chunk-{row[f'{key}/chunk_index']:03d}/file-{row[f'{key}/file_index']:03d}.mp4"
        video = data_set / key / place
        assert video.read_bytes() == (folder / "episode.mp4").read_bytes()
        assert row[f"{key}/to_timestamp"] == pytest.approx(len(log) / 20)


def test_reruns_own_tool_reads_the_recordings(folders, tmp_path):
    # 171 MB, which `dev` does without.
    pytest.importorskip("rerun", reason="the extra export is not installed")
    out = tmp_path / "rerun"
    done = CliRunner().invoke(
        app, ["export", *map(str, folders), "--to", "rerun", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    files = sorted(out.glob("*.rrd"))
    assert len(files) == 3
    tool = [sys.executable, "-m", "rerun"]
    given = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    verified = subprocess.run([*tool, "rrd", "verify", *map(str, files)], **given)
    assert verified.returncode == 0, verified.stderr
    printed = subprocess.run([*tool, "rrd", "print", str(files[0])], **given)
    assert printed.returncode == 0, printed.stderr
    for entity in ("camera", "action/gripper", "tokens/x", "hand", "instruction", "waiting"):
        assert f"/{entity}" in printed.stdout, entity


def test_what_cannot_be_exported_says_why(folders, tmp_path):
    record(tmp_path / "large", 0, size=96)
    no_video = record(tmp_path / "blind", 1)
    (no_video / "episode.mp4").unlink()

    def said(*arguments):
        done = CliRunner().invoke(
            app, ["export", *map(str, arguments), "--out", str(tmp_path / "x")]
        )
        assert done.exit_code == 2
        return " ".join(done.output.split())

    assert "no episode.mp4" in said(no_video, "--to", "rerun")
    assert "different sizes" in said(folders[0], tmp_path / "large", "--to", "lerobot")
    assert "no episode.json" in said(tmp_path, "--to", "rerun")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept").touch()
    assert "is not empty" in said(folders[0], "--to", "rerun")


def test_a_video_of_another_length_is_refused(folders, tmp_path):
    odd = record(tmp_path / "odd", 0)
    (odd / "episode.mp4").write_bytes((folders[2] / "episode.mp4").read_bytes())
    with pytest.raises(TutorialError, match=r"5 frames, and .* 4 steps"):
        read_episode(odd)
    (odd / "episode.mp4").write_bytes(b"no video")
    with pytest.raises(TutorialError, match="not a video"):
        read_episode(odd)
    assert read_episode(folders[0]).instruction == SENTENCES[0]
