"""What sweeps cost and give: plain rollouts one after the other, then sweeps with more and more workers over the same episodes.

    python benchmarks/sweep_speed.py --out results/sweep_speed_cpu.json                                            (two cores, 5 minutes)
    python benchmarks/sweep_speed.py --workers 16 32 --tasks 0-9 --inits 0-49 --max-steps 0 --no-plain --out results/sweep_speed_h100.json  (`mini`, a GPU)
    python benchmarks/openvla_speed.py --folder /tmp/random --phases load --batches 1 --out load.json && \
    python benchmarks/sweep_speed.py --random-openvla /tmp/random --workers 16 32 --tasks 0-7 --inits 0-7 --max-steps 80 --no-plain --out openvla.json

The last writes 15 GB of random weights in openvla-7b's shapes: they act at random, and nothing is learnt of how well OpenVLA works. Take a multiple of the
workers as the number of episodes, or the last ones run alone. Times leave out loading the policy. Simulators are busy while an episode runs and does not wait
for the policy; the share is of all workers' wall time, processes' starts and the building of simulators included. Where pictures are answered one at a time
(on a CPU), a wait ends with the last of those that were asked together, so it is told too long and the share too low. Memory of a worker, looked at every
five seconds: what is its own alone (USS, what one more costs), and its proportional set size (PSS), in which shared pages are divided among those who share
them. Peaks are where it builds a simulator.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the workers import this file too, and should not load PyTorch for it
    import psutil
    import torch

    from vla_tutorial.files import write_atomically
    from vla_tutorial.policies import load_policy
    from vla_tutorial.provenance import machine, versions
    from vla_tutorial.ranges import parse_numbers
    from vla_tutorial.record import record_episode
    from vla_tutorial.sim import Simulator
    from vla_tutorial.sweep.local_engine import LocalEngine
    from vla_tutorial.sweep.plan import Sweep
    from vla_tutorial.sweep.policy_server import prompts, warm_up
    from vla_tutorial.sweep.run import run


class Watch:
    """Memory of the workers, and the policy's share of the time, while a sweep runs."""

    def __init__(self, policy) -> None:
        self.policy, self.answered, self.inside = policy, 0, 0.0
        self.batches: dict[int, list[float]] = {}
        """Pictures in an answer → the seconds of each such answer."""
        self.first = self.last = 0.0
        self.memory: dict[int, list[tuple[int, int]]] = {}
        self._stop = threading.Event()

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def predict(self, batch):
        """The policy's answer, timed."""
        begin = time.perf_counter()
        self.first = self.first or begin
        tokens = self.policy.predict(batch)
        self.last = time.perf_counter()
        self.inside += self.last - begin
        self.answered += len(batch)
        self.batches.setdefault(len(batch), []).append(self.last - begin)
        return tokens

    def answers(self) -> dict[str, dict[str, float]]:
        """Pictures in an answer → how many such answers there were, and the median of their times."""
        return {
            str(size): {
                "answers": len(taken),
                "median_ms": round(1e3 * statistics.median(taken), 2),
            }
            for size, taken in sorted(self.batches.items())
        }

    def look(self) -> None:
        """Every five seconds, how much each worker takes."""
        me = psutil.Process()
        while not self._stop.wait(5):
            for child in me.children():
                try:
                    if "spawn_main" in " ".join(child.cmdline()):
                        full = child.memory_full_info()
                        self.memory.setdefault(child.pid, []).append(
                            (full.uss >> 20, getattr(full, "pss", full.rss) >> 20)
                        )
                except psutil.Error:
                    continue

    def __enter__(self):
        threading.Thread(target=self.look, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._stop.set()


def journal(folder: Path) -> list[dict[str, Any]]:
    """The lines of a sweep's journal, in the order of its plan."""
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    return sorted(lines, key=lambda e: (e["task"], e["init"]))


def plain(policy, plan) -> dict[str, float]:
    """The same episodes, one after the other in this process, a simulator a task."""
    steps = seconds = built = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for task in plan.tasks:
            begin = time.perf_counter()
            with Simulator(plan.suite, task) as simulator:
                built += time.perf_counter() - begin
                for job in (j for j in plan.jobs() if j.task == task):
                    wiring, scene = plan.settings(job)
                    result = record_episode(
                        policy,
                        simulator,
                        wiring,
                        scene,
                        Path(folder) / str(job.init),
                        video=False,
                        pictures=False,
                        overwrite=True,
                    )
                    steps, seconds = steps + result.steps, seconds + result.seconds
    return {
        "steps": int(steps),
        "seconds": round(seconds, 2),
        "building_s": round(built, 1),
        "actions_per_s": round(steps / seconds, 2),
    }


def sweep(
    policy, plan, workers: int, keep: Path | None
) -> tuple[dict[str, object], list[bool | None]]:
    """One sweep with so many workers, and how its episodes ended; `keep`: where its folder stays."""
    folder = Path(tempfile.mkdtemp())
    with Watch(policy) as watch:
        begin = time.perf_counter()
        engine = LocalEngine(watch, workers, lambda: warm_up(policy, prompts(plan), workers))
        run(plan, folder / "s", engine, workers)
        wall = time.perf_counter() - begin
    episodes = journal(folder / "s")
    in_episodes, steps = sum(e["seconds"] for e in episodes), sum(e["steps"] for e in episodes)
    if keep:
        shutil.copytree(folder / "s", keep / f"workers_{workers}")
    shutil.rmtree(folder)
    span = (
        watch.last - watch.first or wall
    )  # of a policy that runs in the workers nothing is seen here
    found = {
        "steps": steps,
        "wall_s": round(wall, 2),
        "first_to_last_action_s": round(span, 2),
        "actions_per_s": round(steps / span, 2),
        "in_episodes_s": round(in_episodes, 2),
        "share_of_workers_time_in_episodes": round(in_episodes / workers / wall, 3),
        "share_of_time_simulators_are_busy": round(
            (in_episodes - engine.waited) / workers / wall, 3
        ),
        "policy_share_of_time": round(watch.inside / span, 3),
        "mean_batch": round(watch.answered / answers, 2)
        if (answers := sum(map(len, watch.batches.values())))
        else None,
        "by_batch": watch.answers(),
        "last_uss_of_a_worker_mib": sorted(samples[-1][0] for samples in watch.memory.values()),
        "peak_uss_of_a_worker_mib": sorted(
            max(uss for uss, _ in samples) for samples in watch.memory.values()
        ),
        "peak_pss_of_a_worker_mib": sorted(
            max(pss for _, pss in samples) for samples in watch.memory.values()
        ),
    }
    return found, [e["success"] for e in episodes]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", default="mini")
    parser.add_argument(
        "--random-openvla",
        type=Path,
        help="folder of random weights, as openvla_speed.py's phase load writes them",
    )
    parser.add_argument("--device")
    parser.add_argument("--suite", default="libero_object")
    parser.add_argument("--tasks", type=parse_numbers, default=(0, 1))
    parser.add_argument("--inits", type=parse_numbers, default=(0, 1))
    parser.add_argument("--max-steps", type=int, help="0: the suite's own", default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--no-plain", action="store_true", help="leave out the rollouts one after the other"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder for the sweeps' folders (workers_16 …), for `vla-tutorial compare`",
    )
    parser.add_argument("--note", help="what else the machine was doing")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    name = "openvla" if a.random_openvla else a.policy
    if a.random_openvla:
        from openvla_episode import complete

        complete(a.random_openvla)
    plan = Sweep(a.suite, a.tasks, a.inits, policy=name, max_steps=a.max_steps or None)
    policy = load_policy(
        name,
        str(a.random_openvla) if a.random_openvla else None,
        **({"device": a.device} if a.device else {}),
    )
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "about": "random weights of openvla-7b's shapes; no published checkpoint was run"
        if a.random_openvla
        else name,
        "machine": {
            **machine([torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]),
            "load_before": os.getloadavg(),
        },
        "note": a.note,
        "versions": versions(),
        "policy": {k: v for k, v in policy.provenance.items() if k != "checkpoint"},
        "episodes": len(plan.jobs()),
    }
    if not a.no_plain:
        found["plain"] = plain(policy, plan)
        print(json.dumps(found["plain"]), flush=True)
    first: list[bool | None] = []
    for workers in a.workers:
        measured, ended = sweep(policy, plan, workers, a.keep)
        first = first or ended
        measured["outcomes_that_differ_from_the_first_sweep"] = sum(
            one != other for one, other in zip(first, ended, strict=True)
        )
        found[f"workers {workers}"] = measured
        print(workers, json.dumps(measured), flush=True)
    found["machine"]["load_after"] = os.getloadavg()
    if a.out:
        write_atomically(a.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
