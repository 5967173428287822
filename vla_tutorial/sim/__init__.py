"""LIBERO behind one small class."""

from vla_tutorial.sim.kept import KeptSimulator
from vla_tutorial.sim.libero import ONE_THREAD, WORKER_NICENESS, one_thread
from vla_tutorial.sim.own import read_own_scene, states_of
from vla_tutorial.sim.protocol import (
    STEP_LIMITS,
    base_suite,
    check_task,
    count_initial_states,
    count_tasks,
    initial_states,
    step_limit,
    suites,
    task_instructions,
    task_of,
)
from vla_tutorial.sim.sensors import Observation
from vla_tutorial.sim.simulator import Simulator, own_instruction

__all__ = [
    "ONE_THREAD",
    "STEP_LIMITS",
    "WORKER_NICENESS",
    "KeptSimulator",
    "Observation",
    "Simulator",
    "base_suite",
    "check_task",
    "count_initial_states",
    "count_tasks",
    "initial_states",
    "one_thread",
    "own_instruction",
    "read_own_scene",
    "states_of",
    "step_limit",
    "suites",
    "task_instructions",
    "task_of",
]
