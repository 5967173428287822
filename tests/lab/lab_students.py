"""What tests of the lab need: a class, and students who fill in the notebook's answer cells."""

import contextlib
import io
import json
from pathlib import Path

from vla_tutorial.lab import Workbook
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.teacher.release import cells, read_notebook, text, write_release
from vla_tutorial.lab.teacher.solutions import answers
from vla_tutorial.lab.teacher.variants import make_variant

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks/lab_classroom.ipynb"
KEY = ClassKey(bytes(range(32)))
NAMES = ("ada", "bob", "chloe")


def record(folder, sheet, conditions=(), first_close=40, **changes):
    """A made-up episode of the sheet's start, as short as a log can be. It needs no simulator."""
    folder.mkdir(parents=True)
    lines = []
    for k in range(first_close + 5):
        lines.append(
            {
                "step": k,
                "img_mean": 130.0 + sheet.task,
                "img_quarters": [130.0] * 4,
                "action": [
                    0.1,
                    0.0,
                    0.001 * sheet.init,
                    0.0,
                    0.0,
                    0.0,
                    1.0 if k >= first_close else -1.0,
                ],
                "reward": float(k == first_close + 4),
                "tokens": [31872] * 7,
                "eef_pos": [0.0, 0.0, 0.25],
                "gripper_qpos": [0.04, -0.04],
            }
        )
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = {
        "suite": "libero_object",
        "task": sheet.task,
        "init": sheet.init,
        "instruction": "x",
        "policy": {"name": "mini"},
        "conditions": list(conditions),
        "success": True,
        "wiring": {"max_steps": None},
        **changes,
    }
    (folder / "episode.json").write_text(json.dumps(entry))
    return folder


def about(cell):
    return cell.get("metadata", {}).get("nbgrader", {}).get("grade_id", "")


def is_mine(cell):
    """Cells that are run: questions and checks, not those that simulate or draw."""
    source = text(cell)
    return bool(about(cell)) or source.startswith("work.hand_in()")


def play(folder, name, filled, first_close=40, tampered=""):
    """A student fills in answer cells of the released notebook and runs its cells from top to bottom.

    `filled`: cell → code. `tampered`: code that runs before all of it. Returns the hand-in and what the cells said.
    """
    workbook = Workbook(name, folder / "out", sheets=folder)
    run = record(folder / "out/published", workbook.sheet, first_close=first_close)
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    scope = {
        "work": workbook,
        "RUN": run,
        "OUT": folder / "out",
        "steps": steps,
        "sheet": workbook.sheet,
    }
    exec(tampered, scope)
    said = []
    for cell in cells(read_notebook(folder / "lab_classroom.ipynb")):
        if cell["cell_type"] == "code" and is_mine(cell):
            *lines, last = filled.get(about(cell), text(cell)).splitlines()
            body = (
                "\n".join([*lines, f"_ = {last}"])
                if last.startswith("work.")
                else "\n".join([*lines, last])
            )
            with contextlib.redirect_stdout(io.StringIO()):
                exec(body, scope)
            if last.startswith("work."):
                said.append(scope["_"])
    return scope["_"].path, said


def released(folder):
    return write_release(KEY, NAMES, NOTEBOOK, folder)


def solved(name):
    return answers(make_variant(KEY, name))


def experiment(folder, sheet):
    """Two episodes for task 6 that differ in one condition."""
    record(folder / "out/experiments/001", sheet)
    record(folder / "out/experiments/002", sheet, ["no_flip"])
