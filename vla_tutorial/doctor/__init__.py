"""Look at the machine and the installation before they can spoil results silently."""

from vla_tutorial.doctor.checks import check_mujoco, examine
from vla_tutorial.doctor.finding import HealthFinding
from vla_tutorial.doctor.frame import judge_frame

__all__ = ["HealthFinding", "check_mujoco", "examine", "judge_frame"]
