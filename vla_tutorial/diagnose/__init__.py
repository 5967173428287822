"""Which boundary broke? Answered from the record, without the condition or the wiring.

`diagnose` knows how known faults look and reads `steps.jsonl` alone; the live page has its copy.
`examine` knows no fault: it tests each boundary, and needs what `vla-tutorial rollout` records.
"""

from vla_tutorial.diagnose.examine import (
    ANSWERS,
    Examination,
    examine,
    examine_folder,
)
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
from vla_tutorial.diagnose.normal import Normal, load_normal
from vla_tutorial.diagnose.reference import Reference, load_reference, reference_suites
from vla_tutorial.diagnose.rules import RULES_VERSION
from vla_tutorial.diagnose.signatures import SignatureRow, table
from vla_tutorial.diagnose.traces import Traces, read_traces

__all__ = [
    "ANSWERS",
    "NOTHING_WRONG",
    "RULES_VERSION",
    "VERDICTS",
    "Diagnosis",
    "Examination",
    "Normal",
    "Reference",
    "SignatureRow",
    "SweepDiagnosis",
    "Traces",
    "boundaries",
    "diagnose",
    "diagnose_folder",
    "diagnose_sweep",
    "examine",
    "examine_folder",
    "load_normal",
    "load_reference",
    "read_traces",
    "reference_suites",
    "table",
]
