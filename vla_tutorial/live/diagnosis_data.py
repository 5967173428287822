"""What the page needs to judge a log as `vla-tutorial diagnose` does: thresholds and references.

The page's own copy of the rules (`page/diagnose.js`) holds no number of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_tutorial.actions import ActionStatistics, embedded_statistics
from vla_tutorial.arrays import Floats
from vla_tutorial.diagnose import (
    RULES_VERSION,
    load_reference,
    reference_suites,
    rules,
    signatures,
)
from vla_tutorial.live.site_files import write_json
from vla_tutorial.sim import step_limit

_RULES = (
    "MISFIT", "BRIGHTER", "SHARPER", "CHROMA", "FINGERS_MM", "FIRST_OFF", "EARLIEST_CLOSE",
    "UNDECIDED",
)  # fmt: skip
_SIGNATURES = (
    "TURNS", "EXACT", "NEAR_BINS", "GRIPPER_BINS", "CENTRE_BIN", "MOVED_MM", "STILL", "EARLY",
    "REACH_M", "LIFT_M", "HELD_MM", "REST_MM",
)  # fmt: skip


def diagnosis_data(suite: str = "libero_object", policy: str = "mini") -> dict[str, Any]:
    """Everything that the page's rules read to judge a policy's episode of a suite, as JSON.

    Returns:
        what `_shared` does, and: reference, as `diagnose.Reference` has it; stepLimit, in control
        steps.

    Raises:
        TutorialError: as `load_reference`.
    """
    found = {"reference": _reference(suite, policy), "stepLimit": step_limit(suite)}
    return _shared() | found


def _shared() -> dict[str, Any]:
    """What holds for all suites and policies.

    Returns:
        rulesVersion; constants, by their names in `diagnose.rules` and `diagnose.signatures`;
        statistics, key → q01, q99 and mask.
    """
    constants = {name: getattr(rules, name) for name in _RULES}
    constants |= {name: getattr(signatures, name) for name in _SIGNATURES}
    statistics = {key: _lists(entry) for key, entry in embedded_statistics().items()}
    return {"rulesVersion": RULES_VERSION, "constants": constants, "statistics": statistics}


def _reference(suite: str, policy: str) -> dict[str, Any]:
    found = load_reference(suite, policy)
    return {
        "key": found.key,
        "policy": found.policy,
        "quarters": found.quarters.tolist(),
        "brightness": found.brightness,
        "redMinusBlue": found.red_minus_blue,
        "chroma": found.chroma,
        "sharpness": found.sharpness,
        "fingers": found.fingers,
        "firstBins": _optional(found.first_bins),
    }


def _optional(values: Floats | None) -> Any:
    return None if values is None else values.tolist()


def _lists(entry: ActionStatistics) -> dict[str, Any]:
    return {"q01": entry.q01.tolist(), "q99": entry.q99.tolist(), "mask": entry.mask.tolist()}


def export(folder: Path, suites: Sequence[str], policies: Sequence[str]) -> None:
    """Write `data/diagnosis.json` below the page's folder: `_shared`, and references.

    They are by suite and policy. A suite that has none is left out, and the page says so.
    """
    known = [suite for suite in suites if suite in reference_suites()]
    references = {suite: {one: _reference(suite, one) for one in policies} for suite in known}
    write_json(folder / "data" / "diagnosis.json", _shared() | {"references": references})
