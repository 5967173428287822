"""The published evaluation protocol as data: suites, step limits, seed and saved initial states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.sim import libero

SEED = 0
"""`env.seed(0)` in OpenVLA's run_libero_eval.py.

Its comment: "even when using a fixed initial state" the seed changes object positions.
"""

STEP_LIMITS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""By suite: the longest training demonstration and some more (run_libero_eval.py).

LIBERO-PRO suites take the limit of the suite that they vary.
"""


@dataclass(frozen=True)
class Task:
    """One task of a suite.

    Attributes:
        suite, index: the suite and the task's number in it.
        name: the task's file name without ending.
        instruction: LIBERO's `task.language`.
        bddl: path of the task's definition.
    """

    suite: str
    index: int
    name: str
    instruction: str
    bddl: Path


@cache
def suites() -> tuple[str, ...]:
    """Suites whose tasks, definitions and saved initial states came with the benchmark."""
    module = libero.load()
    folders = [Path(module.get_libero_path(kind)) for kind in ("bddl_files", "init_states")]

    def complete(suite: str) -> bool:
        return all((f / suite).is_dir() and any((f / suite).iterdir()) for f in folders)

    return tuple(filter(complete, module.benchmark.get_benchmark_dict()))


@cache
def _benchmark(suite: str) -> Any:
    if suite not in suites():
        raise unknown("suite", suite, suites())
    with libero.quiet():
        return libero.load().benchmark.get_benchmark_dict()[suite]()


def check_task(suite: str, task: int, init: int | None = None) -> Task:
    """The task, after checking that suite, task number and (if given) initial state exist.

    Raises:
        TutorialError: one of them does not exist; says what does.
    """
    benchmark = _benchmark(suite)
    last = benchmark.n_tasks - 1
    if not 0 <= task <= last:
        raise TutorialError(f"Unknown task {task} of {suite}: expected 0 … {last}.")
    if init is not None:
        last = len(initial_states(suite, task)) - 1
        if not 0 <= init <= last:
            raise TutorialError(
                f"Initial state {init} of {suite} task {task} is out of range: expected 0 … {last}."
            )
    entry = benchmark.get_task(task)
    folder = Path(libero.load().get_libero_path("bddl_files")) / entry.problem_folder
    path = folder / entry.bddl_file
    return Task(suite, task, entry.name, _instruction(suite, entry.language, path), path)


def _instruction(suite: str, from_file_name: str, bddl: Path) -> str:
    """The task's sentence, which `task.language` takes from the file name.

    LIBERO-PRO suites that vary language or task keep the name and change the definition.
    """
    if not suite.endswith(("_lan", "_task")):
        return from_file_name
    return str(libero.load().envs.bddl_utils.get_problem_info(str(bddl))["language_instruction"])


def task_instructions(suite: str) -> tuple[str, ...]:
    """The instruction of each task of a suite, in order."""
    return tuple(check_task(suite, i).instruction for i in range(_benchmark(suite).n_tasks))


@cache
def initial_states(suite: str, task: int) -> NDArray[np.float64]:
    """Saved initial states, (50, S) float64: MuJoCo's time, qpos and qvel flattened.

    Raises:
        TutorialError: the benchmark ships none for this task (`libero_object_env`, for example).
    """
    try:
        return np.asarray(_benchmark(suite).get_task_init_states(task), np.float64)
    except FileNotFoundError as e:
        raise TutorialError(
            f"{suite} task {task} comes without saved initial states; choose another suite."
        ) from e


def base_suite(suite: str) -> str:
    """The suite that a LIBERO-PRO suite varies: libero_object for libero_object_swap.

    Its policies carry the statistics of that suite. A suite that varies none is its own.
    """
    return max((s for s in STEP_LIMITS if suite.startswith(s)), key=len, default=suite)


def step_limit(suite: str) -> int:
    """Control steps after which an episode has failed, by the published protocol."""
    base = base_suite(suite)
    if base not in STEP_LIMITS:
        raise TutorialError(f"No published step limit for {suite}; give max_steps in the wiring.")
    return STEP_LIMITS[base]
