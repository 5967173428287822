"""The published evaluation protocol as data: suites, step limits, seed and saved initial states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.scene import OwnScene, Scene
from vla_tutorial.sim import libero
from vla_tutorial.sim.own import definition_of, states_of

SEED = 0
"""`env.seed(0)` in run_libero_eval.py: it moves objects "even when using a fixed initial state"."""

MOST_SEEDS = 2**32
"""Seeds of numpy's global generator, with which LIBERO places objects."""

STEP_LIMITS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""By base suite: the longest training demonstration and some more (run_libero_eval.py)."""


@dataclass(frozen=True)
class Task:
    """One task of a suite."""

    suite: str
    index: int
    instruction: str  # LIBERO's `task.language`, or the definition's where that is not the task's
    bddl: Path  # its definition


@cache
def suites() -> tuple[str, ...]:
    """Suites whose tasks, definitions and saved initial states came with the benchmark."""
    module = libero.load()
    definitions = Path(module.get_libero_path("bddl_files"))
    states = Path(module.get_libero_path("init_states"))
    named = module.benchmark.get_benchmark_dict()
    return tuple(s for s in named if any(definitions.glob(f"{s}/*")) and any(states.glob(f"{s}/*")))


@cache
def _benchmark(suite: str) -> Any:
    if suite not in suites():
        raise unknown("suite", suite, suites())
    with libero.quiet():
        return libero.load().benchmark.get_benchmark_dict()[suite]()


def check_task(suite: str, task: int, init: int | None = None) -> Task:
    """The task of a suite.

    Raises:
        TutorialError: there is no such suite, task or, if it is given, initial state.
    """
    last = count_tasks(suite) - 1
    if not 0 <= task <= last:
        raise TutorialError(f"Unknown task {task} of {suite}: expected 0 … {last}.")
    if init is not None:
        last = len(initial_states(suite, task)) - 1
        if not 0 <= init <= last:
            raise TutorialError(f"Unknown init {init} of {suite} task {task}: expected 0 … {last}.")
    return _task(suite, task)


@cache
def _task(suite: str, task: int) -> Task:
    entry = _benchmark(suite).get_task(task)
    module = libero.load()
    bddl = Path(module.get_libero_path("bddl_files"), entry.problem_folder, entry.bddl_file)
    instruction = entry.language
    # LIBERO takes the sentence from the file name, which these keep when they change the sentence.
    if suite.endswith(("_lan", "_task")) or _is_cut(entry.bddl_file):
        problem = module.envs.bddl_utils.get_problem_info(str(bddl))
        instruction = problem["language_instruction"]
    return Task(suite, task, instruction, bddl)


def _is_cut(file_name: str) -> bool:
    """Whether LIBERO cuts a file's name in the wrong place: it expects SCENE with 1 … 10 behind.

    STUDY_TABLESCENE_prepare_a_meal.bddl would become "repare a meal".
    """
    return file_name[0].isupper() and not re.search(r"SCENE(\d|10)_", file_name)


def task_of(scene: Scene) -> Task:
    """The task of a scene.

    Raises:
        TutorialError: as `check_task`, or the files of an own scene are not as they must be. With a
            random layout `init` is no number of a saved state, and is not looked at.
    """
    if scene.own is None:
        init = scene.init if scene.layout_seed is None else None
        return check_task(scene.suite, scene.task, init)
    if scene.target is not None or scene.layout_seed is not None:
        raise TutorialError(f"{scene.suite} has no targets and layouts. Leave them out.")
    states = states_of(scene.own)
    last = MOST_SEEDS - 1 if states is None else len(states) - 1
    if not 0 <= scene.init <= last:
        raise TutorialError(f"Unknown init {scene.init} of {scene.suite}: expected 0 … {last}.")
    return own_task(scene.own)


def own_task(own: OwnScene) -> Task:
    """The task of an own scene; its instruction is what the file's :language says."""
    return Task(own.suite, 0, definition_of(own).instruction, own.bddl)


def task_instructions(suite: str) -> tuple[str, ...]:
    """The instruction of each task of a suite, in order; raises as `count_tasks`."""
    return tuple(check_task(suite, i).instruction for i in range(count_tasks(suite)))


@cache
def initial_states(suite: str, task: int) -> Floats:
    """Saved initial states, (N, S) float64: MuJoCo's time, qpos and qvel flattened.

    N is 50 in the published suites and 10 in some that vary them.

    Raises:
        TutorialError: the task comes with none, as tasks 3 and 4 of libero_10_with_milk.
    """
    try:
        states = np.asarray(_benchmark(suite).get_task_init_states(task), np.float64)
    except FileNotFoundError:
        states = np.empty((0, 0))
    if len(states):
        return states
    what = f"Task {task} of {suite} comes with no saved initial states"
    raise TutorialError(f"{what}, so no episode of it can begin. Choose another task or suite.")


def count_initial_states(suite: str, task: int) -> int:
    """How many saved initial states a task comes with; raises a TutorialError as `check_task`."""
    check_task(suite, task)
    try:
        return len(initial_states(suite, task))
    except TutorialError:
        return 0


def count_tasks(suite: str) -> int:
    """How many tasks a suite has; raises a TutorialError if there is no such suite."""
    return int(_benchmark(suite).n_tasks)


def base_suite(suite: str) -> str:
    """The suite that a LIBERO-PRO suite varies: libero_object for libero_object_swap.

    Its policies carry the statistics of that suite. A suite that varies none is its own.
    """
    return max((s for s in STEP_LIMITS if suite.startswith(s)), key=len, default=suite)


def step_limit(suite: str) -> int:
    """Control steps after which an episode has failed, by the published protocol."""
    base = base_suite(suite)
    if base not in STEP_LIMITS:
        given = "give one with --max-steps (max_steps of the wiring)"
        longest = f"LIBERO's are {min(STEP_LIMITS.values())} to {max(STEP_LIMITS.values())}"
        raise TutorialError(f"No published step limit for {suite}; {given}. {longest}.")
    return STEP_LIMITS[base]
