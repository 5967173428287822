"""What a control step costs while other simulators run beside it, with and without its picture.

    python benchmarks/simulators.py --processes 1 16 --out simulators.json

It takes half a minute on 16 cores; on two cores give `--processes 1 2`. No policy is run and the
arm stays. Times are means over processes and 120 steps. CPU time as long as wall time means that
the process is busy while it waits for the GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import shlex
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from vla_tutorial.files import write_atomically
from vla_tutorial.provenance import machine, versions
from vla_tutorial.sim import Simulator

STEPS = 120


def work(task, render, together, found):
    with Simulator("libero_object", task, render=render) as simulator:
        simulator.reset(0)
        together.wait()
        wall = time.perf_counter()
        cpu = time.process_time()
        for _ in range(STEPS):
            simulator.step(np.zeros(7))
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
        found.put((1000 * wall / STEPS, 1000 * cpu / STEPS))


def measure(count, render):
    context = mp.get_context("spawn")
    together = context.Barrier(count)
    found = context.Queue()
    processes = []
    for k in range(count):
        process = context.Process(target=work, args=(k % 10, render, together, found))
        process.start()
        processes.append(process)
    wall, cpu = zip(*(found.get() for _ in processes), strict=True)
    for process in processes:
        process.join()
    return {"wall_ms": round(statistics.mean(wall), 1), "cpu_ms": round(statistics.mean(cpu), 1)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine([]),
        "versions": versions(),
    }
    for count in a.processes:
        result[f"processes {count}"] = {
            "with picture": measure(count, True),
            "without": measure(count, False),
        }
        print(count, result[f"processes {count}"], flush=True)
    if a.out:
        write_atomically(a.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
