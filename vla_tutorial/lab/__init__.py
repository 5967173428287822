"""The lab: a form that runs episodes, unlabelled episodes, and checks of a reader's answers."""

from vla_tutorial.lab import checks, unlabelled
from vla_tutorial.lab.form import Form, lab
from vla_tutorial.lab.live import run

__all__ = ["Form", "checks", "lab", "run", "unlabelled"]
