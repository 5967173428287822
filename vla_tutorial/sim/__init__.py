"""LIBERO behind one small class."""

from vla_tutorial.sim.protocol import check_task, step_limit, suites, task_instructions
from vla_tutorial.sim.simulator import Observation, Simulator

__all__ = ["Observation", "Simulator", "check_task", "step_limit", "suites", "task_instructions"]
