"""Sweep folders for tests, made from the episodes that an earlier checkpoint of `mini` drove (attempt 2 in training/NOTES.md)."""

import json
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def measured(condition="published"):
    """Rows of one condition on libero_object: 500 published ones, 200 and fewer of the others."""
    if condition == "published":
        path = ROOT / "results/sweeps/mini_attempt_2/episodes.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]
    found = json.loads((ROOT / "tests/data/mini_attempt_2_conditions.json").read_text())
    return found["conditions"][condition]["rows"]


def episode(
    task=0,
    init=0,
    condition="published",
    success=True,
    steps=120,
    first_close=40,
    closes=1,
    **changes,
):
    """One line of `episodes.jsonl`."""
    outcome = {True: "success", False: "failure", None: "error"}[success]
    return {
        "suite": "libero_object",
        "task": task,
        "init": init,
        "condition": condition,
        "success": success,
        "outcome": outcome,
        "steps": steps,
        "first_close": first_close,
        "closes": closes,
        "seconds": round(steps * 0.08 + 2, 2) if steps else None,
        "attempt": 1,
        "folder": f"episodes/{condition}/{task}_{init}",
        "error": None,
    } | changes


def error(task=0, init=0, condition="published"):
    """An episode that broke."""
    return episode(
        task, init, condition, None, None, None, None, error="worker died (signal 11)", attempt=2
    )


def episodes(condition="published", inits=50):
    """The measured episodes of a condition as lines."""
    rows = [r for r in measured(condition) if r["init"] < inits]
    return [
        episode(
            r["task"], r["init"], condition, r["success"], r["steps"], r["first_close"], r["closes"]
        )
        for r in rows
    ]


def write(folder, lines, **config):
    """Write a sweep's folder → its path."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "format": 1,
        "suite": "libero_object",
        "tasks": sorted({e["task"] for e in lines}),
        "inits": sorted({e["init"] for e in lines}),
        "conditions": list(dict.fromkeys(e["condition"] for e in lines)),
        "policy": {"name": "mini", "checkpoint": "mini", "weights": "sha256:ab12"},
        "max_steps": 280,
        "video": "none",
        "command": "vla-tutorial sweep --suite libero_object --policy mini --out out",
        "versions": {"vla-tutorial": "0.1.0", "mujoco": "3.3.2"},
        "machine": {"gpus": [], "cpus": 2, "cpu": "made up"},
        "wiring": {"unnorm_key": None, "embedded_statistics": False},
        "serving": {"batches": "what has arrived, at most 32"},
        "started": "2026-11-25T10:00:00+00:00",
    } | config
    (folder / "sweep.json").write_text(json.dumps(found, indent=1))
    (folder / "episodes.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
    return folder
