"""The page's rules (`page/diagnose.js`) against `vla_tutorial.diagnose` on the same logs: verdict, sentences, numbers."""

import json
import lzma
import random
import shutil
import subprocess
import tarfile
from dataclasses import asdict
from pathlib import Path

import pytest

from vla_tutorial.diagnose import diagnose
from vla_tutorial.live.diagnosis_data import diagnosis_data
from vla_tutorial.log import log_of

DATA = Path(__file__).parents[1] / "data"
PAGE = Path(__file__).parents[2] / "vla_tutorial" / "live" / "page"
NODE = shutil.which("node")
JUDGE = """
import { readFileSync } from "node:fs";
const { diagnose } = await import(process.argv[1]);
const { data, logs } = JSON.parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify(logs.map((log) => diagnose(log, data))));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed")


def recorded_logs():
    """Every log of this repository, and shortened ones of each."""
    found = []
    with tarfile.open(DATA / "diagnose" / "logs.tar.gz") as archive:
        for member in archive.getmembers():
            text = archive.extractfile(member).read().decode()
            found.append([json.loads(line) for line in text.splitlines()])
    for path in sorted((DATA / "logs").glob("*.jsonl.xz")):
        found.append([json.loads(line) for line in lzma.decompress(path.read_bytes()).splitlines()])
    return found + [log[: max(1, len(log) // 2)] for log in found]


def mutated(log, rng):
    """A log with one thing changed at random; most of them break a boundary."""
    log = json.loads(json.dumps(log))
    kind = rng.randrange(8)
    for line in log:
        if kind == 0:
            line["img_quarters"] = [q * rng.choice([0.5, 0.97, 1.04]) for q in line["img_quarters"]]
        elif kind == 1:
            line["img_quarters"] = line["img_quarters"][::-1]
        elif kind == 2:
            line["img_channels"] = line["img_channels"][::-1]
        elif kind == 3:
            line["tokens"] = [31999 - rng.randrange(256) for _ in range(7)]
        elif kind == 4:
            line["action"] = [round(a * 1.5, 6) for a in line["action"]]
        elif kind == 5:
            line["gripper_qpos"] = [0.02 + 0.001 * rng.random(), -0.02]
        elif kind == 6:
            line["img_sharpness"] = line["img_sharpness"] + 1
        else:
            line["eef_pos"] = [x + 0.02 * rng.random() for x in line["eef_pos"]]
    if rng.random() < 0.2:
        for line in log:
            del line["img_channels"], line["img_sharpness"]
    return log


def camel(name):
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def renamed(value):
    if isinstance(value, dict):
        return {camel(key): renamed(part) for key, part in value.items()}
    return value


def judged_in_javascript(logs, tmp_path):
    (tmp_path / "given.json").write_text(json.dumps({"data": diagnosis_data(), "logs": logs}))
    command = [NODE, "--input-type=module", "-e", JUDGE]
    shown = subprocess.run(
        [*command, str(PAGE / "diagnose.js"), str(tmp_path / "given.json")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def assert_close(found, expected, path=""):
    assert found.keys() == expected.keys(), path
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_close(found[key], value, f"{path}.{key}")
        elif isinstance(value, float):
            assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-9), f"{path}.{key}"
        else:
            assert found[key] == value, f"{path}.{key}"


def test_verdicts_sentences_and_numbers_are_python_s(tmp_path):
    rng = random.Random(0)
    recorded = recorded_logs()
    logs = recorded + [mutated(rng.choice(recorded), rng) for _ in range(150)]
    found = judged_in_javascript(logs, tmp_path)
    seen = set()
    for log, answer in zip(logs, found, strict=True):
        expected = diagnose(log_of(log))
        assert answer["verdict"] == expected.verdict
        assert answer["evidence"] == list(expected.evidence)
        assert (answer["nextStep"], answer["notes"]) == (expected.next_step, list(expected.notes))
        assert_close(answer["signatures"], renamed(asdict(expected.signatures)))
        seen.add(expected.verdict)
    assert seen >= {"pixels", "prompt", "motion", "simulator", "nothing wrong"}
