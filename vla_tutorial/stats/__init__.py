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
    rate,
    standard_error,
    suite_mean,
    wilson,
)

__all__ = [
    "ALPHA",
    "FEWEST_TASKS",
    "Interval",
    "Paired",
    "Rate",
    "Start",
    "SuiteMean",
    "episodes_for_half_width",
    "episodes_for_standard_error",
    "episodes_needed",
    "holm",
    "paired",
    "pairs_needed",
    "rate",
    "smallest_paired",
    "standard_error",
    "suite_mean",
    "wilson",
]
