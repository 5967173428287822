"""What the server costs and gives, beside a sweep in one process: actions a second, latency, fairness.

    python benchmarks/serve_throughput.py --clients 4 --threads 1 \
        --out results/serve_throughput_cpu.json                            (`mini`, two cores, 4 minutes)
    python benchmarks/openvla_speed.py --folder /tmp/random --phases load --batches 1 --out load.json
    python benchmarks/serve_throughput.py --random-openvla /tmp/random --clients 30 \
        --out results/serve_throughput_h100.json                           (a GPU, 5 minutes)

The second command writes 15 GB of random weights in openvla-7b's shapes; they act at random.

Three runs with the same policy, already warm: a sweep's own engine with as many workers as clients
(the pictures go through shared memory); the server with as many client processes on this machine
(our own protocol, over the loopback interface); the server with one client that never pauses,
beside the policy alone. Workers and clients run the ordinary loop on a simulator that shows
recorded frames and takes `--pace` milliseconds a control step without computing. So the figures
are of batching and of the network, and leave out what simulators take from the cores.

At last it counts the tokens that are the same over every protocol as in process. `serve_tokens.py`
does that alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vla_tutorial.sim import WORKER_NICENESS, Observation

FRAMES = "SERVE_FRAMES"
"""Environment variable: a file of recorded frames, (N, 256, 256, 3) uint8."""

PACE = "SERVE_PACE_MS"
"""Environment variable: how long a control step takes."""

RECORDED = 30
SUITE = "libero_object"
LEAD = 3.0
"""Seconds that all run before the measurement begins."""


class Replay:
    """A simulator that shows recorded frames at LIBERO's pace, and is never done."""

    model = data = None
    bodies, targets, asked = {}, (), ()

    def __init__(self, suite, task, camera_size, *_own):
        self.task = SimpleNamespace(
            suite=suite, index=task, instruction="pick up the milk and place it in the basket"
        )
        self.frames = np.load(os.environ[FRAMES], mmap_mode="r")
        self.pace = float(os.environ[PACE]) / 1000
        self.number = os.getpid()

    def start(self, scene, settle_steps):
        """The first frame."""
        return self._see()

    def step(self, action):
        """The next frame, after the pace."""
        if self.pace:
            time.sleep(self.pace)
        return self._see(), 0.0, False

    def _see(self):
        self.number += 1
        image = np.array(self.frames[self.number % len(self.frames)])
        return Observation(image, np.zeros(3), np.zeros(4), np.array([0.04, -0.04]), np.zeros(7))

    def holds(self, predicate):
        """Nothing ever holds."""
        return False

    def succeeded(self):
        """Never."""
        return False

    def close(self):
        """Nothing to release."""


def client(url: str) -> None:
    """A process: wait for "begin end" on standard input, run the loop until the end, print JSON."""
    from vla_tutorial.loop import rollout
    from vla_tutorial.policies.remote import RemotePolicy
    from vla_tutorial.spec import EpisodeSpec

    os.nice(WORKER_NICENESS)
    spec = EpisodeSpec(SUITE, policy="remote", checkpoint=url, max_steps=10**7)
    policy = RemotePolicy(url)
    wiring, scene = spec.settings()
    asked = policy.predict
    times: list[tuple[float, float]] = []

    def predict(batch):
        begin = time.monotonic()
        tokens = asked(batch)
        times.append((time.monotonic(), time.monotonic() - begin))
        return tokens

    policy.predict = predict
    print("ready", flush=True)
    begin, end = map(float, sys.stdin.readline().split())
    time.sleep(max(0.0, begin - LEAD - time.monotonic()))
    for _ in rollout(policy, Replay(SUITE, 0, 256), wiring, scene):
        if time.monotonic() > end:
            break
    inside = [seconds for at, seconds in times if begin <= at <= end]
    print(json.dumps(inside))


class Counted:
    """A policy whose answers are counted as they come."""

    def __init__(self, policy) -> None:
        self.policy = policy
        self.answers: list[tuple[float, int, float]] = []

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def predict(self, batch):
        """The policy's answer, counted."""
        begin = time.monotonic()
        tokens = self.policy.predict(batch)
        now = time.monotonic()
        self.answers.append((now, len(batch), now - begin))
        return tokens

    def window(self, begin: float, end: float) -> dict[str, Any]:
        """Figures of the answers between two times."""
        inside = [answer for answer in self.answers if begin <= answer[0] <= end]
        pictures = sum(size for _, size, _ in inside)
        return {
            "actions_per_s": round(pictures / (end - begin), 2),
            "mean_batch": round(pictures / len(inside), 2) if inside else None,
            "policy_share_of_time": round(
                sum(seconds for *_, seconds in inside) / (end - begin), 3
            ),
        }


class _Enough(Exception):
    pass


def measure_sweep(policy, plan, workers: int, seconds: float, batch_seconds) -> dict[str, Any]:
    """A sweep's engine, in this process, for so long."""
    from vla_tutorial.sweep import LocalEngine, run_sweep

    counted = Counted(policy)
    started = []

    def watch(progress):
        # From when each worker had time to take its first steps.
        if progress.steps and not started:
            started.append(time.monotonic() + 2 * LEAD)
        if started and time.monotonic() > started[0] + seconds:
            raise _Enough

    with tempfile.TemporaryDirectory() as folder:
        try:
            engine = LocalEngine(counted, workers, lambda: batch_seconds)
            run_sweep(plan, Path(folder) / "sweep", engine, workers, watch=watch)
        except _Enough:
            pass
    return counted.window(started[0], started[0] + seconds)


@contextlib.contextmanager
def served(policy, batch_seconds, unnorm_key: str | None = None) -> Iterator[SimpleNamespace]:
    """A server of the policy on a free port, in a thread."""
    from vla_tutorial.serve import Limits, Service, Settings, listen, make_app, make_server

    service = Service(policy, limits=Limits(per_second=10_000), settings=Settings(unnorm_key))
    service.answering.server.batch_seconds = dict(batch_seconds)
    server = make_server(make_app(service), service)
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield SimpleNamespace(port=port, url=f"http://127.0.0.1:{port}")
        finally:
            server.should_exit = True
            thread.join()


def measure_server(
    policy, clients: int, seconds: float, batch_seconds, pace: float
) -> dict[str, Any]:
    """The server with so many client processes, for so long."""
    counted = Counted(policy)
    with served(counted, batch_seconds) as server:
        taken, begin = run_clients(server.url, clients, seconds, pace)
    found = counted.window(begin, begin + seconds)
    each = [len(times) for times in taken]
    latency = 1000 * np.concatenate(taken)
    p50, p95, p99 = np.percentile(latency, (50, 95, 99)).round(1).tolist()
    return {
        **found,
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "actions_of_each_client": sorted(each),
        "slowest_client_of_mean": round(min(each) / statistics.mean(each), 3),
    }


def run_clients(
    url: str, clients: int, seconds: float, pace: float
) -> tuple[list[np.ndarray], float]:
    """The latencies in seconds of each client, and when the measurement began."""
    command = [sys.executable, __file__, "--client", url]
    environment = {**os.environ, PACE: str(pace), "OMP_NUM_THREADS": "1"}
    processes = []
    for _ in range(clients):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **pipes))
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        begin = time.monotonic() + LEAD + 1
        for process in processes:
            print(begin, begin + seconds, file=process.stdin, flush=True)
        return [np.array(json.loads(process.stdout.readline())) for process in processes], begin
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def measure_policy(policy, seconds: float) -> float:
    """Milliseconds of an answer to one picture, without a server: the median."""
    from vla_tutorial import pixels, prompt
    from vla_tutorial.policies import PolicyInput
    from vla_tutorial.wiring import Wiring

    wiring = Wiring(unnorm_key=SUITE)
    frames = np.load(os.environ[FRAMES])
    text = prompt.build(wiring, "pick up the milk and place it in the basket")
    items = [PolicyInput(pixels.prepare(frame, wiring), text) for frame in frames]
    taken = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or len(taken) < 10:
        begin = time.perf_counter()
        policy.predict([items[len(taken) % len(items)]])
        taken.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(taken), 2)


def record_frames(path: Path) -> None:
    """Frames of LIBERO in which the arm moves."""
    from vla_tutorial.sim import Simulator
    from vla_tutorial.spec import EpisodeSpec

    _, scene = EpisodeSpec(SUITE).settings()
    with Simulator(SUITE, 0) as simulator:
        frames = [simulator.start(scene, 10).image]
        for step in range(RECORDED - 1):
            action = np.array([0.5, 0.2 * (step % 5), -0.3, 0, 0, 0, -1])
            frames.append(simulator.step(action)[0].image)
    np.save(path, np.stack(frames))


def add_common(parser: argparse.ArgumentParser) -> None:
    """What `load` reads, how many clients ask, and where the result goes."""
    add = parser.add_argument
    add("--policy", default="mini")
    add("--checkpoint")
    add("--random-openvla", type=Path, help="folder that openvla_speed.py --phases load wrote")
    add("--device")
    add("--clients", type=int, default=4)
    add("--note", help="what else the machine was doing")
    add("--out", type=Path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_common(parser)
    add("--seconds", type=float, default=45)
    add("--pace", type=float, default=115.0, help="ms of a control step (control_step.json)")
    add("--threads", type=int, help="PyTorch's, for all runs; default: PyTorch's own choice")
    add("--repeats", type=int, default=1, help="sweep and server in turn, so often; medians")
    add("--client", help=argparse.SUPPRESS)
    return parser.parse_args()


def load(arguments: argparse.Namespace):
    """The plan and its policy."""
    from vla_tutorial.spec import EpisodeSpec
    from vla_tutorial.sweep import SweepPlan

    name, checkpoint = arguments.policy, arguments.checkpoint
    if arguments.random_openvla:
        from openvla_episode import complete

        complete(arguments.random_openvla)
        name, checkpoint = "openvla", str(arguments.random_openvla)
    spec = EpisodeSpec(
        SUITE, policy=name, checkpoint=checkpoint, max_steps=10**7, device=arguments.device
    )
    # More episodes than workers, none of which ends.
    plan = SweepPlan(spec, (0,), tuple(range(50)))
    return plan, spec.load_policy()


def main() -> None:
    arguments = parse_arguments()
    if arguments.client:
        client(arguments.client)
        return
    import torch

    from vla_tutorial.files import write_atomically
    from vla_tutorial.provenance import machine, versions
    from vla_tutorial.sweep import prompts_of, warm_up

    folder = tempfile.TemporaryDirectory()
    os.environ[FRAMES] = str(Path(folder.name) / "frames.npy")
    os.environ[PACE] = str(arguments.pace)
    os.environ["VLA_TUTORIAL_SIMULATOR"] = "serve_throughput:Replay"
    record_frames(Path(os.environ[FRAMES]))
    plan, policy = load(arguments)
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    what = "random weights in openvla-7b's shapes; no published checkpoint was run"
    found: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "about": what if arguments.random_openvla else policy.name,
        "machine": {**machine(gpus), "load_before": os.getloadavg()},
        "note": arguments.note,
        "versions": versions(),
        "policy": {k: v for k, v in policy.provenance.items() if k != "checkpoint"},
        "clients": arguments.clients,
        "pace_ms": arguments.pace,
        "seconds": arguments.seconds,
    }
    batch_seconds = warm_up(policy, prompts_of(plan), 32)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    how = (arguments.seconds, batch_seconds)
    for number in range(arguments.repeats):
        sweep = measure_sweep(policy, plan, arguments.clients, *how)
        if arguments.threads:
            # The engine has chosen for itself.
            torch.set_num_threads(arguments.threads)
        served = measure_server(policy, arguments.clients, *how, arguments.pace)
        found.setdefault("sweep", []).append(sweep)
        found.setdefault("served", []).append(served)
        print(number, json.dumps({"sweep": sweep, "served": served}), flush=True)
    ratios = [
        served["actions_per_s"] / sweep["actions_per_s"]
        for served, sweep in zip(found["served"], found["sweep"], strict=True)
    ]
    found["served_of_sweep"] = round(statistics.median(ratios), 3)
    alone = measure_policy(policy, arguments.seconds / 4)
    one = measure_server(policy, 1, arguments.seconds / 4, batch_seconds, 0.0)
    again = measure_policy(policy, arguments.seconds / 4)
    found["one_client_without_pause"] = {
        "policy_alone_ms": [alone, again],
        "latency_ms": one["latency_ms"],
        "server_adds_ms": round(one["latency_ms"]["p50"] - (alone + again) / 2, 2),
    }
    print(json.dumps(found["one_client_without_pause"]), found["served_of_sweep"], flush=True)
    # It imports this module.
    import serve_tokens

    found["same_tokens_as_in_process"] = serve_tokens.measure(
        policy, batch_seconds, arguments.clients
    )
    found["machine"]["load_after"] = os.getloadavg()
    if arguments.out:
        write_atomically(arguments.out, json.dumps(found, indent=1) + "\n")
    folder.cleanup()


if __name__ == "__main__":
    main()
