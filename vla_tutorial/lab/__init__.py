"""The lab: a workbook that checks and hands in, a form that runs episodes, hidden faults."""

from vla_tutorial.lab import checks, unlabelled
from vla_tutorial.lab.figures import rates_in_words, show
from vla_tutorial.lab.form import Form, lab
from vla_tutorial.lab.hide import Hidden, hidden, hide
from vla_tutorial.lab.live import run
from vla_tutorial.lab.workbook import Workbook

__all__ = [
    "Form",
    "Hidden",
    "Workbook",
    "checks",
    "hidden",
    "hide",
    "lab",
    "rates_in_words",
    "run",
    "show",
    "unlabelled",
]
