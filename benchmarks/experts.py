"""How often the scripted experts succeed, task by task, and how fast they make states.

    python benchmarks/experts.py --calm 2 --bursts 4
    python benchmarks/experts.py --saved 10 --workers 2 --result results/experts_saved.json

Nothing is rendered. Each episode runs until success or the published step limit.
Episodes come in three kinds:

* `calm`: random layouts as training draws them, some in the middle of a task, without noise.
* `bursts`: such layouts, executed with the disturbed half of the noise of demonstrations
  (`training/noise.py`), but always with bursts.
* `saved`: the benchmark's saved initial states without noise. They are for measuring alone.

`--out` has one line an episode; what failed can be run again with `--tasks` and `--first`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial.arrays import Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.loop import rollout
from vla_tutorial.policies import Policy, PolicyInput, load_policy
from vla_tutorial.provenance import machine, versions
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator, step_limit
from vla_tutorial.sim.layouts import FIRST_TRAINING_SEED
from vla_tutorial.training.labelling import disturbed_tokens
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.wiring import Wiring

# The order is part of the seeds.
SUITES = ("libero_spatial", "libero_goal", "libero_10", "libero_object")
KINDS = ("saved", "calm", "bursts")


@dataclass(frozen=True)
class Outcome:
    """One episode: which it was, and what came of it."""

    suite: str
    task: int
    kind: str
    number: int
    success: bool
    steps: int
    closes: int
    # Processor seconds for all steps, and of these the expert's; for drawing the layout and settling.
    seconds: float
    thinking: float
    starting: float
    goal: tuple[tuple[str, ...], ...]
    # Of the layout: what was done before, and whether the hand starts elsewhere.
    begun: str = ""
    wide: bool = False
    noise: Noise = field(default_factory=Noise)


class Disturbed:
    """The expert, whose tokens are disturbed on their way to the arm; it measures its time."""

    name = "disturbed expert"
    privileged = True
    statistics: Mapping[str, Any] = {}
    provenance: Mapping[str, Any] = {}

    def __init__(self, expert: Policy, suite: str, disturb: Disturbance | None) -> None:
        """Without `disturb` the expert's tokens are executed."""
        self._expert = expert
        self._suite = suite
        self._disturb = disturb
        self.thinking = 0.0

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """One input → (1, 7) tokens."""
        begun = time.process_time()
        tokens = self._expert.predict(batch)
        self.thinking += time.process_time() - begun
        if self._disturb is None:
            return tokens
        return disturbed_tokens(tokens[0], self._disturb, self._suite)[None]

    def close(self) -> None:
        """Nothing to release."""


def with_bursts(rng: np.random.Generator) -> Noise:
    """The noise of a demonstration, drawn until it has bursts."""
    while True:
        noise = Noise.random(rng)
        if noise.burst_rate:
            return noise


def run(simulator: Simulator, expert: Policy, kind: str, number: int) -> Outcome:
    """One episode."""
    suite = simulator.task.suite
    task = simulator.task.index
    rng = np.random.default_rng([number, task, SUITES.index(suite)])
    noise = with_bursts(rng) if kind == "bursts" else Noise()
    disturb = Disturbance(noise, rng) if kind == "bursts" else None
    policy = Disturbed(expert, suite, disturb)
    begun = time.process_time()
    layout = None
    scene = Scene(suite, task, number)
    if kind != "saved":
        seed = FIRST_TRAINING_SEED + number
        layout = simulator.layout(seed)
        scene = Scene(suite, task, 0, layout_seed=seed)
    wiring = Wiring(
        suite, camera_size=8, jpeg=False, center_crop=False, max_steps=step_limit(suite)
    )
    done = []
    grippers = [-1.0]
    started = begun
    for step in rollout(policy, simulator, wiring, scene):
        if not done:
            started = time.process_time()
        done.append(step.done)
        grippers.append(float(step.action[6]))
    return Outcome(
        suite=suite,
        task=task,
        kind=kind,
        number=number,
        success=any(done),
        steps=len(done),
        closes=int((np.diff(grippers) > 0).sum()),
        seconds=round(time.process_time() - started, 3),
        thinking=round(policy.thinking, 3),
        starting=round(started - begun, 3),
        goal=simulator.asked,
        begun=layout.begun if layout else "",
        wide=bool(layout and layout.wide),
        noise=noise,
    )


def of_task(suite: str, task: int, counts: dict[str, int], first: int) -> list[Outcome]:
    """All episodes of one task; a worker process runs it."""
    return list(_outcomes(suite, task, counts, first))


def _outcomes(suite: str, task: int, counts: dict[str, int], first: int) -> Iterator[Outcome]:
    expert = load_policy("expert")
    with Simulator(suite, task, camera_size=8, render=False) as simulator:
        for kind, count in counts.items():
            for number in range(first, first + count):
                try:
                    yield run(simulator, expert, kind, number)
                except TutorialError as e:
                    print(f"{suite} {task} {kind} {number}: {e}")


def summary(found: Sequence[Outcome]) -> dict[str, Any]:
    """What is kept: successes, episodes and failures of each suite's tasks, by kind."""
    suites: dict[str, Any] = {}
    for suite in dict.fromkeys(one.suite for one in found):
        mine = [one for one in found if one.suite == suite]
        tasks = {str(k): _counts([one for one in mine if one.task == k]) for k in range(10)}
        suites[suite] = {**_counts(mine), "tasks": {k: v for k, v in tasks.items() if v}}
    command = f"python {shlex.join(sys.argv)}"
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "command": command,
        "machine": machine([]),
        "versions": versions(),
        "date": date,
        "suites": suites,
    }


def _counts(mine: Sequence[Outcome]) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for kind in KINDS:
        of_kind = [one for one in mine if one.kind == kind]
        if of_kind:
            counts[kind] = {
                "successes": sum(one.success for one in of_kind),
                "episodes": len(of_kind),
                "median_steps": float(np.median([one.steps for one in of_kind])),
                "failed": [[one.task, one.number] for one in of_kind if not one.success],
            }
    return counts


def table(found: Sequence[Outcome]) -> list[str]:
    """Lines of a Markdown table: a row a task, then a row a suite."""
    lines = ["| suite, task | " + " | ".join(KINDS) + " | median steps | states/s | failed |"]
    lines.append("|---|" + "---|" * (len(KINDS) + 3))
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for one in found:
        rows[f"{one.suite} {one.task}"].append(one)
    for suite in dict.fromkeys(one.suite for one in found):
        rows[f"**{suite}**"] = [one for one in found if one.suite == suite]
    for name, mine in rows.items():
        lines.append(row(name, mine))
    return lines


def row(name: str, mine: Sequence[Outcome]) -> str:
    """A line of the table."""
    cells = [name]
    for kind in KINDS:
        of_kind = [one.success for one in mine if one.kind == kind]
        cells.append(f"{sum(of_kind)} of {len(of_kind)}" if of_kind else "")
    won = [one.steps for one in mine if one.success]
    cells.append(f"{np.median(won):.0f}" if won else "")
    seconds = sum(one.seconds + one.starting for one in mine)
    cells.append(f"{sum(one.steps for one in mine) / seconds:.0f}")
    failed = [f"{one.kind} {one.number}" for one in mine if not one.success]
    cells.append("" if name.startswith("**") else ", ".join(failed))
    return "| " + " | ".join(cells) + " |"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="+", default=SUITES, choices=SUITES)
    parser.add_argument("--tasks", nargs="+", type=int, default=range(10))
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, help="episodes a task")
    parser.add_argument("--first", type=int, default=0, help="number of the first episode")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one task")
    parser.add_argument("--out", type=Path, help="a file with one line an episode")
    parser.add_argument("--result", type=Path, help="a file for the successes of each task")
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    chosen = parse()
    counts = {kind: getattr(chosen, kind) for kind in KINDS}
    found: list[Outcome] = []
    with ProcessPoolExecutor(chosen.workers, mp.get_context("spawn")) as pool:
        waiting = [
            pool.submit(of_task, suite, task, counts, chosen.first)
            for suite in chosen.suites
            for task in chosen.tasks
        ]
        for each in waiting:
            found += each.result()
            if chosen.out:
                lines = [json.dumps(asdict(one)) for one in found]
                write_atomically(chosen.out, "\n".join(lines) + "\n")
    print("\n".join(table(found)))
    if chosen.result:
        write_atomically(chosen.result, json.dumps(summary(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
