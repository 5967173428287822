"""Runs the page's modules in Node, for tests that compare them with Python."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "vla_tutorial" / "live" / "page"
NODE = shutil.which("node")

needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed")

_BEFORE = """
import { readFileSync, writeFileSync } from "node:fs";
const folder = process.argv[1];
const given = JSON.parse(readFileSync(`${folder}/given.json`, "utf8"));
const bytes = (name) => new Uint8Array(readFileSync(`${folder}/${name}`));
const page = (name) => import(`file://%s/${name}`);
"""

_AFTER = """
writeFileSync(`${folder}/found.json`, JSON.stringify(found));
"""


def in_node(folder, script, given=None, **arrays):
    """Run `script`, which reads `given`, `bytes(name)` and `await page(module)`, and sets `found`.

    Arrays are written as they are, under their names, into `folder`.
    """
    (folder / "given.json").write_text(json.dumps(given))
    for name, array in arrays.items():
        np.ascontiguousarray(array).tofile(folder / name)
    text = _BEFORE % PAGE + script + _AFTER
    command = [NODE, "--input-type=module", "-e", text, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


def binary(folder, name, dtype, shape):
    """What a script wrote into `folder` as bytes."""
    return np.fromfile(folder / name, dtype).reshape(shape)
