"""LIBERO behind one small class."""

from vla_tutorial.sim.protocol import base_suite, check_task, step_limit, suites, task_instructions
from vla_tutorial.sim.simulator import Observation, Simulator

__all__ = [
    "Observation",
    "Simulator",
    "base_suite",
    "check_task",
    "step_limit",
    "suites",
    "task_instructions",
]
