"""The cell of notebook 1 that readers edit: the chapter's loop, as it stands and with each of the three edits."""

import contextlib
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from vla_tutorial.player import read_clip_script
from vla_tutorial.recorded import CLIPS

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_success.ipynb"
CELLS = {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
LOOP = CELLS["own-loop"]
RIGHT = '"In: What action should the robot take to {instruction.lower()}?\\nOut:"'
EDITS = {
    "picture": ("obs.image[::-1, ::-1]", "obs.image"),
    "prompt": (f"f{RIGHT}", 'f"What action should the robot take? {instruction}"'),
    "key": ('unnorm_key = "libero_object"', 'unnorm_key = "bridge_orig"'),
}
LINE = re.compile(r"(\d+) ([\d.]+) \[([^]]+)\] ([\d.]+)")


def run(steps, old="", new=""):
    """What the cell prints within `steps`, as rows (step, img_mean, action, reward), and its variables."""
    assert not old or LOOP.count(old) == 1
    source = LOOP.replace(old, new) if old else LOOP
    assert source.count("range(140)") == 1
    printed = io.StringIO()
    variables = {}
    with contextlib.redirect_stdout(printed):
        exec(source.replace("range(140)", f"range({steps})"), variables)
    rows = [
        (int(step), float(mean), np.array(action.split(), float), float(reward))
        for step, mean, action, reward in LINE.findall(printed.getvalue())
    ]
    return rows, variables


@pytest.fixture(scope="module")
def right():
    return run(61)


def test_the_cell_is_short_and_uses_public_faces():
    assert len(LOOP.splitlines()) <= 26
    assert re.findall(r"^from vla_tutorial\.\w+\.\w+|import .*\b_\w+", LOOP, re.M) == []
    assert "def " not in LOOP and "Wiring" not in LOOP


def test_the_page_names_the_edits_that_are_tried_here():
    text = CELLS["own-loop-break"]
    for old, new in EDITS.values():
        for part in (old, new):
            said = part.removeprefix("unnorm_key = ")
            assert f"`{said}`" in text or said == f"f{RIGHT}"


def test_it_is_the_library_s_loop(right):
    """Step by step what the recorded clip of the same start has; that one ends in success."""
    rows, variables = right
    clip = read_clip_script(CLIPS / "0_0" / "published" / "episode.js")
    series = clip["series"]
    assert clip["success"] and [step for step, *_ in rows] == [*range(0, 61, 10)]
    for step, mean, action, reward in rows:
        assert mean == pytest.approx(series["image_mean"][step], abs=0.2)
        assert action[6] == series["gripper"][step]
        assert np.linalg.norm(action[:3]) == pytest.approx(series["motion"][step], abs=0.05)
        assert reward == 0
    assert not variables["done"]


def test_without_the_turn_the_mean_is_right_and_the_hand_elsewhere(right):
    rows, variables = run(21, *EDITS["picture"])
    assert rows[0][1] == pytest.approx(right[0][0][1], abs=0.5)
    assert not np.allclose(rows[0][2], right[0][0][2], atol=0.2)
    # Both hands start at the same place; the published one is above the can at step 60.
    away = np.linalg.norm(variables["obs"].eef_pos - right[1]["obs"].eef_pos)
    assert away > 0.05


def test_with_the_other_prompt_the_gripper_closes_at_once(right):
    rows, _ = run(11, *EDITS["prompt"])
    assert rows[0][1] == right[0][0][1], "the picture is the same"
    assert rows[0][2][6] == 1 and right[0][0][2][6] == -1


def test_with_the_other_key_the_hand_hardly_moves(right):
    rows, _ = run(11, *EDITS["key"])
    assert all(np.abs(action[:3]).max() < 0.06 for _, _, action, _ in rows)
    assert np.abs(right[0][0][2][:3]).max() > 0.5
