"""How near `mujoco_drift` comes to the pictures of MuJoCo 3.3.3, and what perturbations of the scene cost.

    python -m pip install --no-deps --target /tmp/mujoco-3.3.3 mujoco==3.3.3
    python benchmarks/perturbations.py --other-mujoco /tmp/mujoco-3.3.3 \\
        --out results/perturbations.json

It takes 6 minutes of CPU time. Drift: the first picture of each task of libero_object (initial
state 0) under the pinned MuJoCo, under the pinned one with `mujoco_drift`, and under the other
version, from a process that imports that one. Cost: control steps of one scene with and without
each perturbation, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from vla_tutorial.conditions import apply
from vla_tutorial.files import write_atomically
from vla_tutorial.provenance import versions
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.perturb import srgb_textures
from vla_tutorial.sim.simulator import NO_OP
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
TASKS = range(10)
FLOOR = np.s_[16:32, 192:208]
"""A patch of bare floor; rows as MuJoCo gives them."""

COSTED = (
    "camera_15",
    "light_50",
    "noise_10",
    "second_can",
    "distractors_swapped",
    "mujoco_drift",
    "friction_low",
    "nudge_1",
)
NOTHING = "nothing"
WIRING = Wiring(unnorm_key=SUITE)


def scene(task: int, *names: str) -> Scene:
    return apply(names, WIRING, Scene(SUITE, task, 0))[1]


def first_pictures(folder: Path) -> None:
    """Save the first picture of every task, and the numbers of its sRGB textures.

    They are those that this MuJoCo takes for sRGB, where it says so.
    """
    import mujoco

    found = {}
    for task in track(TASKS, f"MuJoCo {mujoco.__version__}"):
        with Simulator(SUITE, task) as simulator:
            found[f"plain_{task}"] = simulator.reset(0).image
            if hasattr(simulator.model, "tex_colorspace"):
                srgb = int(mujoco.mjtColorSpace.mjCOLORSPACE_SRGB)
                found[f"srgb_{task}"] = np.flatnonzero(simulator.model.tex_colorspace == srgb)
            else:
                perturbation = scene(task, "mujoco_drift").perturbation
                found[f"drift_{task}"] = simulator.reset(0, 10, perturbation).image
                found[f"srgb_{task}"] = np.array(srgb_textures(simulator._inner))
    np.savez(folder / "pictures.npz", version=mujoco.__version__, **found)


def pictures_under(mujoco: Path | None) -> dict:
    """`first_pictures` of a process that imports MuJoCo from this folder."""
    path = os.pathsep.join(filter(None, [str(mujoco or ""), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, __file__, "--pictures", folder],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
        )
        return dict(np.load(Path(folder) / "pictures.npz"))


def drift(other_mujoco: Path) -> dict:
    """Differences in grey levels, mean over pixels and channels, to the other version's picture."""
    pinned = pictures_under(None)
    other = pictures_under(other_mujoco)
    rows = []
    for task in TASKS:
        plain = pinned[f"plain_{task}"]
        ours = pinned[f"drift_{task}"]
        theirs = other[f"plain_{task}"]
        rest = np.abs(ours.astype(int) - theirs)
        rows.append(
            {
                "task": task,
                "same_textures": pinned[f"srgb_{task}"].tolist() == other[f"srgb_{task}"].tolist(),
                "difference_without": round(float(np.abs(plain.astype(int) - theirs).mean()), 2),
                "difference": round(float(rest.mean()), 3),
                "largest": int(rest.max()),
                "image_mean": [round(float(p.mean()), 1) for p in (plain, ours, theirs)],
                "floor_mean": [round(float(p[FLOOR].mean()), 1) for p in (plain, ours, theirs)],
            }
        )
    return {
        "pinned": str(pinned["version"]),
        "other": str(other["version"]),
        "order": "image_mean and floor_mean: pinned, pinned with mujoco_drift, the other version",
        "difference_without": max(r["difference_without"] for r in rows),
        "difference": max(r["difference"] for r in rows),
        "largest": max(r["largest"] for r in rows),
        "image_mean_error": largest_error(rows, "image_mean"),
        "floor_mean_error": largest_error(rows, "floor_mean"),
        "rows": rows,
    }


def largest_error(rows: list[dict], key: str) -> float:
    """Grey levels between `mujoco_drift` and the other version in the worst task."""
    return round(max(abs(row[key][1] - row[key][2]) for row in rows), 2)


def cost(rounds: int, steps: int) -> dict:
    """CPU time of a step, perturbed over unperturbed, and what a perturbation adds to a reset.

    Each round visits all in another order and compares with its own unperturbed steps, since a
    shared machine's speed drifts. The median over rounds counts. `nothing` is the unperturbed scene
    once more: what it differs from 1 is the measurement's error.
    """
    names = ("published", NOTHING, *COSTED)
    rounds_of: list[dict[str, tuple[float, float]]] = []
    with Simulator(SUITE, 0) as simulator:
        for seed in track(range(rounds), "cost"):
            order = random.Random(seed).sample(names, len(names))
            rounds_of.append({name: _round(simulator, name, steps) for name in order})
    result = {
        "step_ms": round(statistics.median(r["published"][0] for r in rounds_of), 1),
        "reset_ms": round(statistics.median(r["published"][1] for r in rounds_of), 1),
        "step_ratio": {},
        "step_ratio_standard_error": {},
        "reset_extra_ms": {},
        "steps": rounds * steps,
    }
    for name in names[1:]:
        ratios = [r[name][0] / r["published"][0] for r in rounds_of]
        extra = [r[name][1] - r["published"][1] for r in rounds_of]
        result["step_ratio"][name] = round(statistics.median(ratios), 3)
        result["step_ratio_standard_error"][name] = round(_error_of_median(ratios), 3)
        result["reset_extra_ms"][name] = round(statistics.median(extra), 1)
    return result


def _round(simulator: Simulator, name: str, steps: int) -> tuple[float, float]:
    """CPU milliseconds of a control step (the least disturbed half's median) and of a reset."""
    names = [] if name in ("published", NOTHING) else [name]
    perturbation = scene(0, *names).perturbation
    simulator.reset(0, 0)  # so that no perturbation is undone on another's account
    reset = _milliseconds(lambda: simulator.reset(0, 0, perturbation))
    taken = sorted(_milliseconds(lambda: simulator.step(NO_OP)) for _ in range(steps))
    half = (steps + 1) // 2
    return statistics.median(taken[:half]), reset


def _error_of_median(values: list[float]) -> float:
    """Standard error of a median, by its asymptotic ratio to the mean's."""
    return 1.2533 * statistics.stdev(values) / len(values) ** 0.5


def _milliseconds(work) -> float:
    started = time.process_time()  # CPU time: other processes on the machine do not count
    work()
    return 1000 * (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/perturbations.json"))
    parser.add_argument(
        "--other-mujoco",
        type=Path,
        help="folder with MuJoCo 3.3.3, from pip install --target; without it the file's drift stays",
    )
    parser.add_argument("--rounds", type=int, default=24, help="rounds of the cost measurement")
    parser.add_argument(
        "--steps", type=int, default=8, help="control steps a round and perturbation"
    )
    parser.add_argument("--pictures", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pictures:
        first_pictures(args.pictures)
        return
    result = json.loads(args.out.read_text()) if args.out.exists() else {"command": ""}
    commands = dict.fromkeys([*result["command"].split("\n"), f"python {shlex.join(sys.argv)}"])
    result |= {
        "command": "\n".join(commands).strip(),
        "about": "mujoco_drift against MuJoCo 3.3.3's own pictures, and the cost of perturbations. "
        "No policy was run.",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU, shared with other work",
        "versions": versions(),
        "cost": cost(args.rounds, args.steps),
    }
    if args.other_mujoco:
        result["drift"] = drift(args.other_mujoco)
    write_atomically(args.out, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    summary = {key: value for key, value in result.get("drift", {}).items() if key != "rows"}
    print(json.dumps(summary, indent=1), json.dumps(result["cost"], indent=1))


if __name__ == "__main__":
    main()
