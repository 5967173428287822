"""Success rates with intervals, paired comparisons, and how many episodes a question needs."""

from vla_tutorial.stats.pairs import Paired, Start, holm, paired
from vla_tutorial.stats.power import (
    ALPHA,
    episodes_for_half_width,
    episodes_for_standard_error,
    episodes_needed,
    pairs_needed,
    smallest_paired,
)
from vla_tutorial.stats.rates import (
    FEWEST_TASKS,
    Interval,
    Rate,
    SuiteMean,
    bootstrap_over_tasks,
    rate,
    standard_error,
    suite_mean,
    wilson,
)
from vla_tutorial.stats.sequential import Look, in_random_order, look, stop_early

__all__ = [
    "ALPHA",
    "FEWEST_TASKS",
    "Interval",
    "Look",
    "Paired",
    "Rate",
    "Start",
    "SuiteMean",
    "bootstrap_over_tasks",
    "episodes_for_half_width",
    "episodes_for_standard_error",
    "episodes_needed",
    "holm",
    "in_random_order",
    "look",
    "paired",
    "pairs_needed",
    "rate",
    "smallest_paired",
    "standard_error",
    "stop_early",
    "suite_mean",
    "wilson",
]
