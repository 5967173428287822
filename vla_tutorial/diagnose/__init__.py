"""Which boundary broke? Answered from `steps.jsonl` alone, without the condition or the wiring."""

from vla_tutorial.diagnose.judge import (
    NOTHING_WRONG,
    VERDICTS,
    Diagnosis,
    SweepDiagnosis,
    boundaries,
    diagnose,
    diagnose_folder,
    diagnose_sweep,
)
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.rules import RULES_VERSION
from vla_tutorial.diagnose.signatures import SignatureRow, table

__all__ = [
    "NOTHING_WRONG",
    "RULES_VERSION",
    "VERDICTS",
    "Diagnosis",
    "Reference",
    "SignatureRow",
    "SweepDiagnosis",
    "boundaries",
    "diagnose",
    "diagnose_folder",
    "diagnose_sweep",
    "load_reference",
    "table",
]
