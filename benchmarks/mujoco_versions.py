"""What later versions of MuJoCo change in LIBERO: the floor's brightness, and where a bowl comes to rest.

    python benchmarks/mujoco_versions.py --out results/mujoco_versions.json
    python benchmarks/mujoco_versions.py --versions 3.3.2 3.4.0 --episodes 3 --out results/mujoco_episodes.json

The first takes some 15 minutes on two CPU cores. With `--episodes` no bowl is settled. Each version is installed into a folder
of its own, without dependencies, and measured by a process that imports it from there. So the
installation that this runs in keeps its pinned version.

- `floor`: mean of the bare floor's grey levels in the first picture of libero_object's task 0.
- `bowl`: libero_spatial's task 5, "pick up the black bowl on the ramekin". Each saved start takes
  the published protocol's settling steps; then the bowl's place on the ramekin is measured.
- `episodes`: a policy on the first tasks of libero_object from saved start 0. From one start, all
  versions begin with the same state, so that the episodes are pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from vla_tutorial.doctor import FLOOR
from vla_tutorial.files import write_atomically
from vla_tutorial.sim import Simulator

VERSIONS = ("3.3.2", "3.3.3", "3.3.7", "3.4.0", "3.5.0", "3.9.0")

SETTLE_STEPS = 10
"""Of the published protocol."""

BOWL = "akita_black_bowl_1"
RAMEKIN = "glazed_rim_porcelain_ramekin_1"
STARTS = 50
SLIPPED_MM = 10.0
"""Millimetres by which a bowl lies elsewhere than under the pinned version, to be counted."""


def accept_either_order() -> None:
    """Let `mj_fullM` take its arguments as robosuite 1.4 gives them, and as newer code does.

    MuJoCo exchanged them once. The benchmark package chooses by the version that pip knows, which
    is not the one that is imported here.
    """
    import mujoco

    theirs = mujoco.mj_fullM

    def either(model: Any, first: Any, second: Any) -> None:
        try:
            theirs(model, first, second)
        except TypeError:
            data = first if isinstance(first, mujoco.MjData) else None
            if data is None:
                raise
            theirs(model, second, data.qM)

    mujoco.mj_fullM = either


def tilt(rotation: np.ndarray) -> float:
    """Degrees between a body's own z axis and the world's; `rotation` is (9,), row by row."""
    return float(np.degrees(np.arccos(np.clip(rotation[8], -1, 1))))


def bowls() -> list[dict[str, Any]]:
    """Where the bowl lies on the ramekin after settling, for each saved start; metres, degrees."""
    found = []
    # MuJoCo's own memory handling: the small one needs a function that later versions lack.
    with Simulator("libero_spatial", 5, render=False, lean=False) as simulator:
        bowl = simulator.bodies[BOWL]
        ramekin = simulator.bodies[RAMEKIN]
        for start in range(STARTS):
            simulator.reset(start, SETTLE_STEPS)
            offset = simulator.data.xpos[bowl] - simulator.data.xpos[ramekin]
            found.append(
                {
                    "offset": np.round(offset, 5).tolist(),
                    "tilt": round(tilt(simulator.data.xmat[bowl]), 2),
                }
            )
    return found


def episodes(number: int, policy_name: str) -> list[dict[str, Any]]:
    """A policy on tasks 0, 1, … of libero_object."""
    from vla_tutorial.loop import rollout
    from vla_tutorial.spec import EpisodeSpec

    found = []
    policy = None
    for task in range(number):
        spec = EpisodeSpec("libero_object", task, 0, policy=policy_name)
        policy = policy or spec.load_policy()
        with Simulator("libero_object", task, lean=False) as simulator:
            *_, last = rollout(policy, simulator, *spec.settings())
        found.append({"task": task, "success": last.done, "steps": last.step + 1})
        print(found[-1], file=sys.stderr, flush=True)
    return found


def measure(out: Path, number: int, policy_name: str) -> None:
    """What this process's MuJoCo does, into a file."""
    import mujoco

    accept_either_order()
    with Simulator("libero_object", 0, lean=False) as simulator:
        image = simulator.reset(0).image
    found = {
        "mujoco": mujoco.__version__,
        "floor": round(float(image[FLOOR].mean()), 1),
        "image_mean": round(float(image.mean()), 1),
        "bowls": [] if number else bowls(),
        "episodes": episodes(number, policy_name),
    }
    out.write_text(json.dumps(found))


def measured_under(version: str, number: int, policy_name: str) -> dict[str, Any]:
    """`measure` of a process that imports this version."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "mujoco"
        install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder))
        subprocess.run([sys.executable, *install, f"mujoco=={version}"], check=True)
        earlier = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join(filter(None, (str(folder), earlier)))
        out = Path(place) / "found.json"
        command = [sys.executable, __file__, "--measure", str(out), "--episodes", str(number)]
        command += ["--policy", policy_name]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True)
        return json.loads(out.read_text())


def summary(found: dict[str, Any], pinned: dict[str, Any]) -> dict[str, Any]:
    """One row of the result: `found` beside the pinned version's."""
    return {
        "mujoco": found["mujoco"],
        "floor": found["floor"],
        "floor_change": round(found["floor"] - pinned["floor"], 1),
        "image_mean": found["image_mean"],
        "bowl": bowl_summary(found["bowls"], pinned["bowls"]),
        "episodes": found["episodes"],
        "successes": sum(one["success"] for one in found["episodes"]),
    }


def bowl_summary(found: list[Any], pinned: list[Any]) -> dict[str, Any] | None:
    """How far the bowl lies from its place under the pinned version; None if it was not settled."""
    if not found:
        return None
    here = np.array([bowl["offset"] for bowl in found])
    there = np.array([bowl["offset"] for bowl in pinned])
    moved = 1000 * np.linalg.norm(here - there, axis=1)
    return {
        "starts": len(moved),
        "elsewhere": int((moved > SLIPPED_MM).sum()),
        "moved_mm_median": round(float(np.median(moved)), 1),
        "moved_mm_largest": round(float(moved.max()), 1),
        "tilt_median": round(statistics.median(bowl["tilt"] for bowl in found), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/mujoco_versions.json"))
    parser.add_argument("--versions", nargs="+", default=VERSIONS, help="the first is compared to")
    parser.add_argument("--episodes", type=int, default=0, help="tasks to try instead of the bowl")
    parser.add_argument("--policy", default="mini", help="who tries them; expert sees no picture")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.episodes, given.policy)
        return
    versions = track(given.versions, "versions")
    rows = [measured_under(one, given.episodes, given.policy) for one in versions]
    result = {
        "command": shlex.join(["python", "benchmarks/mujoco_versions.py", *sys.argv[1:]]),
        "slipped_mm": SLIPPED_MM,
        "settle_steps": SETTLE_STEPS,
        "policy": given.policy,
        "measured": {row["mujoco"]: summary(row, rows[0]) for row in rows},
    }
    write_atomically(given.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
