"""Shards that the page exports: `join`, `report` and `diagnose` of this library take them."""

import io
import json
import lzma
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from vla_tutorial.diagnose import diagnose_sweep
from vla_tutorial.episodes import read_sweep
from vla_tutorial.sweep import join_shards

DATA = Path(__file__).parents[1] / "data"
PAGE = Path(__file__).parents[2] / "vla_tutorial" / "live" / "page"
NODE = shutil.which("node")
EXPORT = """
import { readFileSync } from "node:fs";
const { shardFiles, episodesOf, folderOf } = await import(process.argv[1] + "/sweep.js");
const { zip } = await import(process.argv[1] + "/zip.js");
const { plan, log } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const keys = episodesOf(plan);
const rows = keys.map((key) => ({ suite: plan.suite, ...key, success: true, outcome: "success",
  steps: 60, first_close: 40, closes: 1, seconds: 31.25, attempt: 1, folder: folderOf(key), error: null,
  travel: 0.2501 }));
const logs = new Map(keys.map((key) => [folderOf(key), log]));
process.stdout.write(Buffer.from(await (await zip(shardFiles(plan, rows, logs))).arrayBuffer()));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed")


def plan(inits, provider):
    about = {
        "policy": {"name": "mini", "checkpoint": "vla_tutorial/weights/mini", "weights": "d36539"},
        "versions": {"vla-tutorial": "0.1.0", "mujoco-js": "0.0.7"},
        "serving": {"provider": provider},
        "machine": {"gpus": [], "cpus": 2, "cpu": f"a browser with {provider}"},
    }
    return {
        "id": "x",
        "started": "2026-01-01T10:00:00Z",
        "suite": "libero_object",
        "tasks": [3],
        "inits": inits,
        "conditions": ["published", "no_flip+wrong_prompt"],
        "about": about,
    }


def test_a_shard_of_layouts_says_so(tmp_path):
    log = lzma.decompress((DATA / "logs" / "published.jsonl.xz").read_bytes()).decode()
    folder = export(tmp_path, "ada", plan([0, 5], "wasm") | {"starts": "layouts"}, log)
    assert json.loads((folder / "sweep.json").read_text())["starts"] == "layouts"
    other = export(tmp_path, "kofi", plan([1], "wasm") | {"starts": "layouts"}, log)
    joined = join_shards([folder, other], tmp_path / "class")
    assert joined.ended == 6
    assert [e.init for e in read_sweep(tmp_path / "class").of("published")] == [0, 1, 5]


def export(tmp_path, name, plan, log):
    (tmp_path / "given.json").write_text(json.dumps({"plan": plan, "log": log}))
    command = [NODE, "--input-type=module", "-e", EXPORT, str(PAGE), str(tmp_path / "given.json")]
    shown = subprocess.run(command, capture_output=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    folder = tmp_path / name
    with zipfile.ZipFile(io.BytesIO(shown.stdout)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


def test_two_pupils_shards_are_one_sweep(tmp_path):
    log = lzma.decompress((DATA / "logs" / "published.jsonl.xz").read_bytes()).decode()
    shards = [
        export(tmp_path, "ada", plan([0, 1], "wasm"), log),
        export(tmp_path, "kofi", plan([2, 7], "webgpu"), log),
    ]
    joined = join_shards(shards, tmp_path / "class")
    assert (joined.ended, joined.notes) == (8, ())
    sweep = read_sweep(tmp_path / "class")
    assert [e.init for e in sweep.of("published")] == [0, 1, 2, 7]
    assert all(e.travel == 0.2501 for e in sweep.episodes)
    found = diagnose_sweep(tmp_path / "class")
    assert not found.unreadable
    assert sum(found.counts()["no_flip+wrong_prompt"].values()) == 4
