"""What sweeps cost and give: plain rollouts one after the other, then sweeps of the same episodes.

    python benchmarks/sweep_speed.py --out results/sweep_speed_cpu.json        (two cores, 5 minutes)
    python benchmarks/sweep_speed.py --workers 16 32 --tasks 0-9 --inits 0-49 --max-steps 0 \
        --no-plain --out results/sweep_speed_h100.json                         (`mini`, a GPU)
    python benchmarks/openvla_speed.py --folder /tmp/random --phases load --batches 1 --out load.json
    python benchmarks/sweep_speed.py --random-openvla /tmp/random --workers 16 32 --tasks 0-7 \
        --inits 0-7 --max-steps 80 --no-plain --out openvla.json

The third command writes 15 GB of random weights in openvla-7b's shapes. They act at random, so the
fourth says nothing of how well OpenVLA works. Take a multiple of the workers as the number of
episodes, or the last ones run alone.

Times leave out loading the policy. A simulator is busy while an episode runs and does not wait for
the policy. Its share is of all workers' wall time, in which processes start and simulators are
built. Where pictures are answered one at a time (on a CPU), a wait ends with the last of those that
were asked together. Waits then look too long, and the share too low.

A worker's memory is looked at every five seconds: USS is what is its own alone, which is what one
more worker costs. PSS also counts its part of the pages that it shares. Peaks are where a worker
builds a simulator.
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

    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.files import write_atomically
    from vla_tutorial.provenance import machine, versions
    from vla_tutorial.ranges import parse_numbers
    from vla_tutorial.record import record_episode
    from vla_tutorial.sim import Simulator
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.sweep import LocalEngine, SweepPlan, run_sweep
    from vla_tutorial.sweep.policy_server import prompts_of, warm_up

LOOK_EVERY_S = 5


class WatchedPolicy:
    """A policy whose answers are timed, and whose workers' memory is looked at."""

    def __init__(self, policy) -> None:
        self.policy = policy
        self.batches: dict[int, list[float]] = {}
        """Pictures in an answer → the seconds of each such answer."""
        self.first = 0.0
        self.last = 0.0
        self.memory: dict[int, list[tuple[int, int]]] = {}
        """Process → USS and PSS in MiB, at each look."""
        self._stop = threading.Event()

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def predict(self, batch):
        """The policy's answer, timed."""
        begin = time.perf_counter()
        self.first = self.first or begin
        tokens = self.policy.predict(batch)
        self.last = time.perf_counter()
        self.batches.setdefault(len(batch), []).append(self.last - begin)
        return tokens

    @property
    def seconds(self) -> float:
        """Seconds at work."""
        return sum(sum(taken) for taken in self.batches.values())

    def mean_batch(self) -> float | None:
        """Mean number of pictures in an answer."""
        answers = sum(len(taken) for taken in self.batches.values())
        pictures = sum(size * len(taken) for size, taken in self.batches.items())
        return round(pictures / answers, 2) if answers else None

    def by_batch(self) -> dict[str, dict[str, float]]:
        """Pictures in an answer → how many such answers there were, and their median time."""
        found = {}
        for size, taken in sorted(self.batches.items()):
            median_ms = round(1e3 * statistics.median(taken), 2)
            found[str(size)] = {"answers": len(taken), "median_ms": median_ms}
        return found

    def memory_mib(self) -> dict[str, list[int]]:
        """Of each worker the last USS, and the highest USS and PSS."""
        looks = self.memory.values()
        return {
            "last_uss_of_a_worker_mib": sorted(seen[-1][0] for seen in looks),
            "peak_uss_of_a_worker_mib": sorted(max(uss for uss, _ in seen) for seen in looks),
            "peak_pss_of_a_worker_mib": sorted(max(pss for _, pss in seen) for seen in looks),
        }

    def _look(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            for child in psutil.Process().children():
                try:
                    if "spawn_main" not in " ".join(child.cmdline()):
                        continue
                    full = child.memory_full_info()
                except psutil.Error:
                    continue
                pss = getattr(full, "pss", full.rss)
                self.memory.setdefault(child.pid, []).append((full.uss >> 20, pss >> 20))

    def __enter__(self):
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._stop.set()


def run_plain(policy, plan) -> dict[str, float]:
    """The same episodes, one after the other in this process, with one simulator a task."""
    steps = 0
    seconds = 0.0
    building = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for task in plan.tasks:
            begin = time.perf_counter()
            with Simulator(plan.spec.suite, task) as simulator:
                building += time.perf_counter() - begin
                for spec in (spec for spec in plan.specs() if spec.task == task):
                    result = record_episode(
                        policy,
                        simulator,
                        *spec.settings(),
                        Path(folder) / f"{task}_{spec.init}",
                        video=False,
                        pictures=False,
                    )
                    steps += result.steps
                    seconds += result.seconds
    return {
        "steps": steps,
        "seconds": round(seconds, 2),
        "building_s": round(building, 1),
        "actions_per_s": round(steps / seconds, 2),
    }


def measure_sweep(policy, plan, workers: int, keep: Path | None):
    """One sweep with so many workers.

    Args:
        keep: where its folder stays; None removes it.

    Returns:
        Figures, and how its episodes ended in the order of their tasks and initial states.
    """
    folder = Path(tempfile.mkdtemp())
    with WatchedPolicy(policy) as watched:
        begin = time.perf_counter()
        engine = LocalEngine(watched, workers, lambda: warm_up(policy, prompts_of(plan), workers))
        run_sweep(plan, folder / "sweep", engine, workers)
        wall = time.perf_counter() - begin
    episodes = read_sweep(folder / "sweep").of("published")
    if keep:
        shutil.copytree(folder / "sweep", keep / f"workers_{workers}")
    shutil.rmtree(folder)
    steps = sum(episode.steps for episode in episodes)
    in_episodes = sum(episode.seconds for episode in episodes)
    busy = in_episodes - engine.waited
    # A policy that runs in the workers is not seen here.
    span = watched.last - watched.first or wall
    found = {
        "steps": steps,
        "wall_s": round(wall, 2),
        "first_to_last_action_s": round(span, 2),
        "actions_per_s": round(steps / span, 2),
        "in_episodes_s": round(in_episodes, 2),
        "share_of_workers_time_in_episodes": round(in_episodes / workers / wall, 3),
        "share_of_time_simulators_are_busy": round(busy / workers / wall, 3),
        "policy_share_of_time": round(watched.seconds / span, 3),
        "mean_batch": watched.mean_batch(),
        "by_batch": watched.by_batch(),
        **watched.memory_mib(),
    }
    return found, [episode.success for episode in episodes]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--policy", default="mini")
    add("--random-openvla", type=Path, help="folder that openvla_speed.py --phases load wrote")
    add("--device")
    add("--weights", help="how the policy's weights are held: bf16, int8, fp8 or int4")
    add("--suite", default="libero_object")
    add("--tasks", type=parse_numbers, default=(0, 1))
    add("--inits", type=parse_numbers, default=(0, 1))
    add("--max-steps", type=int, default=60, help="0: the suite's own")
    add("--workers", type=int, nargs="+", default=[1, 2])
    add("--no-plain", action="store_true", help="leave out the rollouts one after the other")
    add("--keep", type=Path, help="folder for the sweeps (workers_16 …), to compare them later")
    add("--note", help="what else the machine was doing")
    add("--out", type=Path)
    return parser.parse_args()


def plan_of(arguments: argparse.Namespace) -> SweepPlan:
    """What all sweeps run."""
    name = arguments.policy
    checkpoint = None
    if arguments.random_openvla:
        from openvla_episode import complete

        complete(arguments.random_openvla)
        name = "openvla"
        checkpoint = str(arguments.random_openvla)
    spec = EpisodeSpec(
        arguments.suite,
        policy=name,
        checkpoint=checkpoint,
        max_steps=arguments.max_steps or None,
        device=arguments.device,
        weights=arguments.weights,
    )
    return SweepPlan(spec, arguments.tasks, arguments.inits)


def about(arguments: argparse.Namespace, plan, policy) -> dict[str, Any]:
    """What the result says of the run, before anything was measured."""
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    what = plan.spec.policy
    if arguments.random_openvla:
        what = "random weights of openvla-7b's shapes; no published checkpoint was run"
    return {
        "command": shlex.join(["python", *sys.argv]),
        "about": what,
        "machine": {**machine(gpus), "load_before": os.getloadavg()},
        "note": arguments.note,
        "versions": versions(),
        "policy": {k: v for k, v in policy.provenance.items() if k != "checkpoint"},
        "episodes": len(list(plan.specs())),
    }


def main() -> None:
    arguments = parse_arguments()
    plan = plan_of(arguments)
    policy = plan.spec.load_policy()
    found = about(arguments, plan, policy)
    if not arguments.no_plain:
        found["plain"] = run_plain(policy, plan)
        print(json.dumps(found["plain"]), flush=True)
    first: list[bool | None] = []
    for workers in arguments.workers:
        measured, ended = measure_sweep(policy, plan, workers, arguments.keep)
        first = first or ended
        differ = sum(one != other for one, other in zip(first, ended, strict=True))
        measured["outcomes_that_differ_from_the_first_sweep"] = differ
        found[f"workers {workers}"] = measured
        print(workers, json.dumps(measured), flush=True)
    found["machine"]["load_after"] = os.getloadavg()
    if arguments.out:
        write_atomically(arguments.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
