"""vla-eval's own client, runner and LIBERO environment (from PyPI) against `vla-tutorial serve`.

    python benchmarks/serve_vla_eval.py --episodes 10 --out results/serve_vla_eval.json

vla-eval is installed without its dependencies, of which the client needs none that this package
lacks, into a folder that is deleted at the end. Each episode is task k of libero_object from its
first saved state. About a minute an episode on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from vla_tutorial.files import write_atomically
from vla_tutorial.policies import load_policy
from vla_tutorial.provenance import machine, versions, weights_hash
from vla_tutorial.serve import Service, Settings, listen, make_app, make_server

SUITE = "libero_object"
WHEEL = "vla-eval==0.8.0"


async def run_episodes(port: int, episodes: int) -> list[dict[str, Any]]:
    from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark
    from vla_eval.connection import Connection
    from vla_eval.runners.sync_runner import SyncEpisodeRunner

    found = []
    async with Connection(f"ws://127.0.0.1:{port}/vla-eval", timeout=120) as connection:
        asked = connection.server_info["observation_params"]
        benchmark = LIBEROBenchmark(suite=SUITE, **asked)
        limit = benchmark.get_metadata()["max_steps"]
        for number, task in enumerate(benchmark.get_tasks()[:episodes]):
            task = {**task, "episode_idx": 0}
            result = await SyncEpisodeRunner().run_episode(
                benchmark, task, connection, max_steps=limit
            )
            success = bool(result["metrics"]["success"])
            found.append({"task": number, "success": success, "steps": result["steps"]})
            print(found[-1], flush=True)
        benchmark.cleanup()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--policy", default="mini")
    parser.add_argument("--checkpoint")
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    # The same GL backend as the package's own simulators.
    from vla_tutorial.sim import check_task

    check_task(SUITE, 0)
    options = {"device": given.device} if given.device else {}
    policy = load_policy(given.policy, given.checkpoint, **options)
    service = Service(policy, settings=Settings(unnorm_key=SUITE))
    with tempfile.TemporaryDirectory() as folder, listen("127.0.0.1", 0) as listening:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, WHEEL], check=True)
        sys.path.insert(0, folder)
        server = make_server(make_app(service), service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with contextlib.chdir(folder):
                episodes = asyncio.run(run_episodes(listening.getsockname()[1], given.episodes))
        finally:
            server.should_exit = True
            thread.join()
    successes = sum(episode["success"] for episode in episodes)
    print(f"{successes} of {len(episodes)} succeeded")
    if given.out:
        entry = {
            "client": f"{WHEEL}, unchanged, over ws://…/vla-eval",
            "policy": {"name": policy.name, **policy.provenance, "weights": weights_hash(policy)},
            "suite": SUITE,
            "successes": successes,
            "episodes": episodes,
            "versions": versions(),
            "machine": machine([]),
            "command": "python benchmarks/serve_vla_eval.py --episodes 10",
        }
        write_atomically(given.out, json.dumps(entry, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
