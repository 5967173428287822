"""What the library adds to LIBERO, each beside its bound.

    python benchmarks/control_step.py --out results/control_step.json

It takes about 2 minutes on two cores, and measures one control step, the exact reset, the pixel
path and the demonstration. Steps of this library and of bare LIBERO alternate in one run, so that
noise of the machine meets both. Figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import track

from vla_tutorial import pixels
from vla_tutorial.files import write_atomically
from vla_tutorial.loop import rollout
from vla_tutorial.provenance import versions
from vla_tutorial.record import Recorder, header
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator, check_task
from vla_tutorial.sim.protocol import initial_states
from vla_tutorial.sim.simulator import NO_OP
from vla_tutorial.wiring import Wiring

SCENE = Scene("libero_object", 0, 0)
WIRING = Wiring(unnorm_key="libero_object", max_steps=10_000)


class Still:
    """A policy that costs nothing: the middle bin, gripper open."""

    name = "still"
    privileged = False

    def __init__(self):
        self.statistics = {}
        self.provenance = {}

    def predict(self, batch):
        """N inputs → (N, 7) tokens."""
        return np.full((len(batch), 7), 31872) - np.array([0] * 6 + [127])


def milliseconds(f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    return 1e3 * (time.perf_counter() - start)


def bare_environment():
    from libero.libero.envs import OffScreenRenderEnv

    env = OffScreenRenderEnv(
        bddl_file_name=str(check_task("libero_object", 0).bddl),
        camera_heights=256,
        camera_widths=256,
        camera_names=["agentview"],
        ignore_done=True,
    )
    env.seed(0)
    env.reset()
    env.set_init_state(initial_states("libero_object", 0)[0].copy())
    return env


def steps(simulator: Simulator, folder: Path, repeats: int) -> dict[str, list[float]]:
    """Bare LIBERO's step, ours, and the whole loop with recording, in turn."""
    bare = bare_environment()
    make_current = bare.env.sim._render_context_offscreen.gl_ctx.make_current
    times: dict[str, list[float]] = {"bare": [], "ours": [], "loop_and_record": []}
    with Recorder(folder, header(Still(), WIRING, SCENE, [], "")) as recorder:
        running = rollout(Still(), simulator, WIRING, SCENE)
        recorder.write(next(running))  # builds up what is cached
        for _ in track(range(repeats), "control steps"):
            make_current()
            times["bare"].append(milliseconds(lambda: bare.step(NO_OP)))
            times["ours"].append(milliseconds(lambda: simulator.step(NO_OP)))
            times["loop_and_record"].append(milliseconds(lambda: recorder.write(next(running))))
    bare.close()
    return times


def demonstration() -> dict[str, float]:
    """`vla-tutorial demo` in a process of its own: seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "vla_tutorial.cli", "demo", "--out", f"{folder}/demo"],
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=100)
    args = parser.parse_args()
    demo = demonstration()
    with Simulator(SCENE.suite, SCENE.task) as simulator, tempfile.TemporaryDirectory() as folder:
        image = simulator.reset(0).image
        path = [milliseconds(lambda: pixels.prepare(image, WIRING)) for _ in range(args.repeats)]
        reset = [
            milliseconds(lambda: simulator.reset(0, settle_steps=0)) for _ in range(args.repeats)
        ]
        bare_render = [milliseconds(lambda: simulator._camera(None)) for _ in range(args.repeats)]
        measured = steps(simulator, Path(folder) / "e", args.repeats)
        simulator._show(False)
        state = initial_states(SCENE.suite, SCENE.task)[0]

        def restart() -> None:
            simulator._restart()
            simulator._env.set_init_state(state)

        exact = [milliseconds(restart) for _ in range(args.repeats)]
    median = {k: float(np.median(v)) for k, v in measured.items()}
    result = {
        "command": f"python {shlex.join(sys.argv)}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": versions(),
        "control_step_ms": {k: round(v, 2) for k, v in median.items()},
        "control_step_over_bare": round(median["ours"] / median["bare"], 3),
        "loop_and_record_over_bare": round(median["loop_and_record"] / median["bare"], 3),
        "render_ms": round(float(np.median(bare_render)), 2),
        "exact_reset_ms": round(float(np.median(exact)), 2),
        "exact_reset_with_picture_ms": round(float(np.median(reset)), 2),
        "pixel_path_ms": round(float(np.median(path)), 2),
        "demo": demo,
    }
    write_atomically(args.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
