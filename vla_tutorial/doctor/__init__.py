"""Look at the machine and the installation before they can spoil results silently."""

from vla_tutorial.doctor.checks import check_mujoco, examine
from vla_tutorial.doctor.finding import HealthFinding
from vla_tutorial.doctor.frame import FLOOR, judge_frame
from vla_tutorial.doctor.picture import check_picture

__all__ = ["FLOOR", "HealthFinding", "check_mujoco", "check_picture", "examine", "judge_frame"]
