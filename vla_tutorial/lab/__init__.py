"""The lab: a form that runs episodes, unlabelled episodes, checks of answers, figures in words."""

from vla_tutorial.lab import checks, unlabelled
from vla_tutorial.lab.figures import rates_in_words, show
from vla_tutorial.lab.form import Form, lab
from vla_tutorial.lab.live import run

__all__ = ["Form", "checks", "lab", "rates_in_words", "run", "show", "unlabelled"]
