"""What a control step costs while other simulators run beside it, with and without its picture; no policy, the arm stays.

    python benchmarks/simulators.py --processes 1 16 --out simulators.json        (half a minute on 16 cores; 1 2 on two cores)

Times are means over processes and 120 steps. CPU time as long as wall time means that a wait for the GPU is active.
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
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            simulator.step(np.zeros(7))
        found.put(
            [
                1000 * (end - begin) / STEPS
                for end, begin in ((time.perf_counter(), wall), (time.process_time(), cpu))
            ]
        )


def measure(count, render):
    context = mp.get_context("spawn")
    together, found = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=work, args=(k % 10, render, together, found)) for k in range(count)
    ]
    for process in processes:
        process.start()
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
