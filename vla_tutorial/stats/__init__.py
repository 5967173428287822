"""Success rates with their uncertainty, paired comparisons, and how many episodes a question needs."""

from vla_tutorial.stats.pairs import Paired, holm, mcnemar, newcombe, paired
from vla_tutorial.stats.power import (
    episodes_for_half_width,
    episodes_for_standard_error,
    episodes_needed,
    mcnemar_power,
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
    "FEWEST_TASKS",
    "Interval",
    "Paired",
    "Rate",
    "SuiteMean",
    "episodes_for_half_width",
    "episodes_for_standard_error",
    "episodes_needed",
    "holm",
    "mcnemar",
    "mcnemar_power",
    "newcombe",
    "paired",
    "pairs_needed",
    "rate",
    "smallest_paired",
    "standard_error",
    "suite_mean",
    "wilson",
]
