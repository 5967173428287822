"""Which boundary deviates from normal? No fault is known here: each boundary is tested by itself.

The policy's picture must be the published transformation of the camera's. Its prompt must be the
published one of the instruction. The action must be what the tokens mean, and the hand's motion
what follows from the action. The episode must begin as published ones do. Where all that holds and
the episode fails, it is not the wiring. What the record lacks is said, and then the verdict may be
that nobody can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vla_tutorial.diagnose.measures import MEASURES, Measure, Place, measure
from vla_tutorial.diagnose.normal import MARGIN, Normal, load_normal
from vla_tutorial.diagnose.rules import FaultBoundary
from vla_tutorial.diagnose.traces import Traces, read_traces
from vla_tutorial.sim.protocol import STEP_LIMITS

Answer = Literal[
    "pixels", "prompt", "motion", "simulator", "not the wiring", "cannot tell", "nothing wrong"
]
ANSWERS: tuple[Answer, ...] = get_args(Answer)

CODE: tuple[FaultBoundary, ...] = get_args(FaultBoundary)
"""Boundaries at which code can be wrong, in the order of a step. An earlier one comes first."""

NEEDED: Mapping[str, FaultBoundary] = {
    "picture_path": "pixels",
    "prompt_text": "prompt",
    "decoding": "motion",
    "gain": "motion",
    "fingers_at_first": "simulator",
}
"""Tests without which a boundary cannot be said to hold."""

NEXT: Mapping[str, str] = {
    "pixels": "Compare agentview.png with camera.png: orientation, crop, JPEG, resize, colours, "
    "age, and which camera it is.",
    "prompt": "Print the prompt with repr() and its ids: scaffold, lower case, no period, and the "
    "empty token at the end.",
    "motion": "Decode one step's tokens by hand (actions.decode), then send one known action and "
    "look how far the hand gets: key, mask, bounds, vocabulary, sign, rate, delta or absolute.",
    "simulator": "Run vla-tutorial doctor, and look at the settling steps and the initial state.",
    "not the wiring": "Compare camera.png with a published one (light, camera, objects, renderer: "
    "vla-tutorial doctor) and read the instruction; then run more initial states.",
    "cannot tell": "Record the episode again with pictures and prompt (vla-tutorial rollout).",
    "nothing wrong": "Nothing to do.",
}


@dataclass(frozen=True)
class Examination:
    """What the tests of the boundaries say of one episode.

    Attributes:
        verdict: the first boundary that deviates, or one of the three answers that blame no code.
        evidence: a sentence with numbers for each test that deviates, those of the code first.
        next_step: what to do now.
        untested: boundaries that the record does not let anybody test.
        values: every number, None where the record lacks it.
    """

    verdict: Answer
    evidence: tuple[str, ...]
    next_step: str
    untested: tuple[FaultBoundary, ...]
    values: Mapping[str, float | None]


def examine_folder(
    folder: Path, normal: Normal | None = None, margin: float = MARGIN, limit: int | None = None
) -> Examination:
    """Test the boundaries of the episode in `folder`; arguments and errors as `examine`'s."""
    return examine(read_traces(folder), normal, margin, limit)


def examine(
    traces: Traces,
    normal: Normal | None = None,
    margin: float = MARGIN,
    limit: int | None = None,
) -> Examination:
    """Test the boundaries of an episode.

    Args:
        normal: what published episodes have; None takes libero_object's and `mini`'s.
        margin: as `Normal.deviates` has it.
        limit: control steps after which this episode had failed; None takes the suite's.
    """
    normal = normal or load_normal()
    values = measure(traces, normal.standard)
    failed = not traces.log.success
    limit = limit or STEP_LIMITS.get(normal.standard.reference.key, 0)
    stopped = failed and len(traces.log) < limit
    return judge(values, normal, margin, failed=failed and not stopped)


def judge(
    values: Mapping[str, float | None], normal: Normal, margin: float, *, failed: bool
) -> Examination:
    """The verdict on numbers (`measures.measure`)."""
    off = [m for m in MEASURES if normal.deviates(m.name, values[m.name], margin)]
    known = {m for m in NEEDED if normal.deviates(m, values[m]) is not None}
    lacking = [place for name, place in NEEDED.items() if name not in known]
    untested = tuple(dict.fromkeys(lacking))
    verdict = _verdict({m.place for m in off}, untested, failed)
    evidence = tuple(_sentence(m, values[m.name], normal) for m in off)
    return Examination(verdict, evidence, NEXT[verdict], untested, values)


def _verdict(off: set[Place], untested: tuple[FaultBoundary, ...], failed: bool) -> Answer:
    for place in CODE:
        if place in off:
            return place
    if not failed:
        return "nothing wrong"
    return "cannot tell" if untested else "not the wiring"


def _sentence(m: Measure, value: float | None, normal: Normal) -> str:
    low, high = normal.ranges[m.name]
    return f"{m.place}: {m.says}: {value:.4g}, published {low:.4g} to {high:.4g}."
