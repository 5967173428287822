"""How near `mujoco_drift` comes to the pictures of MuJoCo 3.3.3, and what perturbations of the scene cost.

    python -m pip install --no-deps --target /tmp/mujoco-3.3.3 mujoco==3.3.3
    python benchmarks/perturbations.py --other-mujoco /tmp/mujoco-3.3.3 --out results/perturbations.json     (6 minutes of CPU time)

Drift: the first picture of each task of libero_object (initial state 0) under the pinned MuJoCo, under the pinned one with `mujoco_drift`, and
under the other version, from a process that imports that one. Cost: control steps of one scene with and without each perturbation, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from vla_tutorial.conditions import apply
from vla_tutorial.record import versions, write_atomically
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.perturb import srgb_textures
from vla_tutorial.sim.simulator import NO_OP
from vla_tutorial.training.results import layout
from vla_tutorial.wiring import Wiring

SUITE, TASKS = "libero_object", range(10)
FLOOR = np.s_[16:32, 192:208]
"""A patch of bare floor; rows as MuJoCo gives them."""

COSTED = ("camera_15", "light_50", "noise_10", "second_can", "distractors_swapped", "mujoco_drift", "friction_low", "nudge_1")
WIRING = Wiring(unnorm_key=SUITE)


def scene(task: int, *names: str) -> Scene:
    return apply(names, WIRING, Scene(SUITE, task, 0))[1]


def first_pictures(folder: Path) -> None:
    """Save the first picture of every task, and the numbers of the textures that this MuJoCo takes for sRGB, where it says so."""
    import mujoco

    found = {}
    for task in track(TASKS, f"MuJoCo {mujoco.__version__}"):
        with Simulator(SUITE, task) as simulator:
            found[f"plain_{task}"] = simulator.reset(0).image
            if hasattr(simulator.model, "tex_colorspace"):
                found[f"srgb_{task}"] = np.flatnonzero(simulator.model.tex_colorspace == int(mujoco.mjtColorSpace.mjCOLORSPACE_SRGB))
            else:
                found[f"drift_{task}"] = simulator.reset(0, 10, scene(task, "mujoco_drift").perturbation).image
                found[f"srgb_{task}"] = np.array(srgb_textures(simulator._inner))
    np.savez(folder / "pictures.npz", version=mujoco.__version__, **found)


def pictures_under(mujoco: Path | None) -> dict:
    """`first_pictures` of a process that imports MuJoCo from this folder."""
    path = os.pathsep.join(filter(None, [str(mujoco or ""), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "--pictures", folder], env={**os.environ, "PYTHONPATH": path}, check=True)
        return dict(np.load(Path(folder) / "pictures.npz"))


def drift(other_mujoco: Path) -> dict:
    """Differences in grey levels, mean over pixels and channels, to the other version's picture."""
    pinned, other = pictures_under(None), pictures_under(other_mujoco)
    rows = []
    for task in TASKS:
        plain, ours, theirs = pinned[f"plain_{task}"], pinned[f"drift_{task}"], other[f"plain_{task}"]
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
        "image_mean_error": round(max(abs(r["image_mean"][1] - r["image_mean"][2]) for r in rows), 2),
        "floor_mean_error": round(max(abs(r["floor_mean"][1] - r["floor_mean"][2]) for r in rows), 2),
        "rows": rows,
    }


def cost(rounds: int, steps: int) -> dict:
    """CPU time of a control step, perturbed over unperturbed, measured in turn; and what a perturbation adds to a reset.

    The 10 % quantile stands for each, because neighbours on a shared core only ever add time.
    """
    found: dict[str, dict[str, list[float]]] = {name: {"step": [], "reset": []} for name in (*COSTED, "published")}
    with Simulator(SUITE, 0) as simulator:
        for _ in track(range(rounds), "cost"):
            for name in found:
                perturbation = scene(0, *([] if name == "published" else [name])).perturbation
                simulator.reset(0, 0)  # so that no perturbation is undone on another's account
                found[name]["reset"].append(_milliseconds(lambda p=perturbation: simulator.reset(0, 0, p)))
                found[name]["step"] += [_milliseconds(lambda: simulator.step(NO_OP)) for _ in range(steps)]
    quick = {name: {what: float(np.quantile(v, 0.1)) for what, v in values.items()} for name, values in found.items()}
    base = quick["published"]
    return {
        "step_ms": round(base["step"], 1),
        "reset_ms": round(base["reset"], 1),
        "step_ratio": {name: round(quick[name]["step"] / base["step"], 3) for name in COSTED},
        "reset_extra_ms": {name: round(quick[name]["reset"] - base["reset"], 1) for name in COSTED},
        "steps": rounds * steps,
    }


def _milliseconds(work) -> float:
    started = time.process_time()  # CPU time: other processes on the machine do not count
    work()
    return 1000 * (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/perturbations.json"))
    parser.add_argument(
        "--other-mujoco", type=Path, help="folder with MuJoCo 3.3.3, from pip install --target; without it the file's drift stays"
    )
    parser.add_argument("--rounds", type=int, default=12, help="rounds of the cost measurement")
    parser.add_argument("--steps", type=int, default=10, help="control steps a round and perturbation")
    parser.add_argument("--pictures", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pictures:
        first_pictures(args.pictures)
        return
    result = json.loads(args.out.read_text()) if args.out.exists() else {"command": ""}
    result |= {
        "command": "\n".join(dict.fromkeys([*result["command"].split("\n"), f"python {shlex.join(sys.argv)}"])).strip(),
        "about": "mujoco_drift against MuJoCo 3.3.3's own pictures, and the cost of perturbations. No policy was run.",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU, shared with other work",
        "versions": versions(),
        "cost": cost(args.rounds, args.steps),
        **({"drift": drift(args.other_mujoco)} if args.other_mujoco else {}),
    }
    write_atomically(args.out, layout(result) + "\n")
    print(json.dumps({k: v for k, v in result.get("drift", {}).items() if k != "rows"}, indent=1), json.dumps(result["cost"], indent=1))


if __name__ == "__main__":
    main()
