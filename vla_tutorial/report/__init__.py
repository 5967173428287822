"""What sweeps measured: tables for the terminal, a page, JSON, CSV, and paired comparisons."""

from vla_tutorial.report import numbers, tables
from vla_tutorial.report.build import Report, build_report, success_rate
from vla_tutorial.report.comparison import (
    Comparison,
    ConditionRun,
    choose_condition,
    compare_runs,
    comparison_sentence,
)
from vla_tutorial.report.export import comparison_json, report_csv, report_json
from vla_tutorial.report.matrix import matrices
from vla_tutorial.report.text import comparison_text, report_text

# `page.report_html` is imported where it is needed, since it brings matplotlib along.
__all__ = [
    "Comparison",
    "ConditionRun",
    "Report",
    "build_report",
    "choose_condition",
    "compare_runs",
    "comparison_json",
    "comparison_sentence",
    "comparison_text",
    "matrices",
    "numbers",
    "report_csv",
    "report_json",
    "report_text",
    "success_rate",
    "tables",
]
