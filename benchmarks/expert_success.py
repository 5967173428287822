"""How often the scripted expert succeeds on libero_object, and what `wrong_unnorm_key` does to it.

    python benchmarks/expert_success.py --out results/expert_libero_object.json        (about 6 minutes on two cores)

Ten tasks, initial states 0–9, published protocol, each episode once under the published wiring and once with the wrong key. Nothing is
rendered: the expert reads the simulator's state.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import platform
import shlex
import statistics
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

from vla_tutorial.conditions import apply
from vla_tutorial.files import write_atomically
from vla_tutorial.loop import rollout
from vla_tutorial.policies import load_policy
from vla_tutorial.provenance import versions
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
CONDITIONS: dict[str, list[str]] = {"published": [], "wrong_unnorm_key": ["wrong_unnorm_key"]}


def episode(policy, simulator, task: int, init: int, name: str) -> dict:
    """One episode in numbers: outcome, gripper changes, and how far the end effector ever got from its start (m)."""
    wiring, scene = apply(CONDITIONS[name], Wiring(unnorm_key=SUITE), Scene(SUITE, task, init))
    steps = list(rollout(policy, simulator, wiring, scene))
    commands = np.sign(
        [-1.0] + [s.action[6] for s in steps]
    )  # the gripper is open while objects settle
    position = np.array([s.observation.eef_pos for s in steps])
    closes = np.flatnonzero(np.diff(commands) > 0)
    return {
        "task": task,
        "init": init,
        "condition": name,
        "success": steps[-1].done,
        "steps": len(steps),
        "closes": len(closes),
        "opens": int(np.count_nonzero(np.diff(commands) < 0)),
        "first_close": int(closes[0]) if len(closes) else None,
        "farthest_m": round(float(np.linalg.norm(position - position[0], axis=1).max()), 4),
    }


def task_episodes(task: int, inits: int) -> list[dict]:
    policy = load_policy("expert")
    with Simulator(SUITE, task, render=False) as simulator:
        return [
            episode(policy, simulator, task, init, name)
            for name in CONDITIONS
            for init in range(inits)
        ]


def quantiles(values: list) -> dict | None:
    values = [v for v in values if v is not None]
    return (
        {"min": min(values), "median": statistics.median(values), "max": max(values)}
        if values
        else None
    )


def summary(episodes: list[dict]) -> dict:
    succeeded = [e for e in episodes if e["success"]]
    return {
        "episodes": len(episodes),
        "successes": len(succeeded),
        "successes_with_one_close_and_one_open": sum(
            e["closes"] == e["opens"] == 1 for e in succeeded
        ),
        "successes_per_task": [
            sum(e["success"] for e in episodes if e["task"] == t)
            for t in sorted({e["task"] for e in episodes})
        ],
        "steps_of_successes": quantiles([e["steps"] for e in succeeded]),
        "first_close": quantiles([e["first_close"] for e in episodes]),
        "episodes_that_never_close": sum(e["first_close"] is None for e in episodes),
        "farthest_m": quantiles([e["farthest_m"] for e in episodes]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--inits", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with mp.get_context("spawn").Pool(args.workers) as pool:
        jobs = [pool.apply_async(task_episodes, (t, args.inits)) for t in range(args.tasks)]
        episodes = [e for job in track(jobs, "tasks") for e in job.get()]
    result = {
        "command": f"python {shlex.join(sys.argv)}",
        "about": "Scripted expert (reads simulator state, no pixels, no prompt) through 256-bin action tokens. Not a learned policy.",
        "suite": SUITE,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": versions(),
        "conditions": {
            name: summary([e for e in episodes if e["condition"] == name]) for name in CONDITIONS
        },
        "episodes": episodes,
    }
    text = json.dumps(result, indent=1)
    write_atomically(args.out, text + "\n")
    print(json.dumps(result["conditions"], indent=1))


if __name__ == "__main__":
    main()
