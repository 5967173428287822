"""Which suites a policy knows: those whose action statistics its checkpoint carries."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vla_tutorial.decoding import read_object
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import Policy
from vla_tutorial.sim import base_suite

log = logging.getLogger(__name__)

NARROW = "mini-narrow"
"""The twin of `mini` that was trained on each task's published places alone."""

PACKAGED = {"mini": "mini", NARROW: "mini_narrow"}
"""Small policies → their folders among the package's weights."""

JOINT = {
    "libero_4_task_suites": frozenset(
        ("libero_spatial", "libero_object", "libero_goal", "libero_10"),
    ),
}
"""Statistics of several suites at once → these. OpenVLA-OFT's joint data set has this name."""

_FIRST = "libero_object"
"""Whose statistics a small policy takes in a suite that it does not know."""


def packaged_weights(policy: str) -> Traversable:
    """Where the package has the weights of a small policy, if they ship."""
    return resources.files("vla_tutorial") / "weights" / PACKAGED[policy]


def packaged_policies() -> tuple[str, ...]:
    """Small policies whose weights ship."""
    return tuple(policy for policy in PACKAGED if packaged_weights(policy).is_dir())


def check_suite(policy: str, suite: str) -> None:
    """Refuse what cannot tell anything: a policy of one suite on another.

    Raises:
        TutorialError: `policy` is "mini-narrow", and `suite` does not vary libero_object.
    """
    if policy == NARROW and base_suite(suite) != _FIRST:
        raise TutorialError(
            f"{NARROW} was trained on the published places of {_FIRST} alone, where it never "
            f"needed the instruction, so its runs on {suite} would say nothing. "
            f"Choose a suite of {_FIRST}, or --policy mini."
        )


def small_key(policy: str, suite: str, checkpoint: str | None) -> str:
    """Whose statistics a small policy's tokens are meant for in a suite.

    Those of the suite itself (of the one that it varies) where the checkpoint knows it, else
    libero_object's or the checkpoint's first.

    Raises:
        TutorialError: as `check_suite`, or the checkpoint's statistics are damaged.
    """
    return key_among(policy, suite, _trained_on(policy, checkpoint))


def key_among(policy: str, suite: str, known: Sequence[str]) -> str:
    """As `small_key`, of a checkpoint whose statistics have the keys `known`."""
    check_suite(policy, suite)
    base = base_suite(suite)
    if base in known:
        return base
    return _FIRST if _FIRST in known else known[0]


def known_suites(policy: str, checkpoint: str | None = None) -> tuple[str, ...]:
    """Suites that a policy was trained on, without loading it; none where that cannot be said.

    A suite that varies one of them counts as known (`unfamiliar`).
    """
    return _trained_on(policy, checkpoint) if policy in PACKAGED else ()


@cache
def _trained_on(policy: str, checkpoint: str | None) -> tuple[str, ...]:
    """Suites whose statistics a checkpoint carries; loading it says what is wrong with others."""
    folder = Path(checkpoint) if checkpoint else Path(str(packaged_weights(policy)))
    path = folder / "dataset_statistics.json"
    if not path.is_file():
        return (_FIRST,)
    remedy = "Use the statistics that came with the checkpoint."
    return tuple(read_object(path, dict[str, Any], remedy)) or (_FIRST,)


def warn_of_suite(policy: Policy, suite: str) -> None:
    """Log a sentence where a policy does not know a suite, and note it in its provenance.

    The key is "warning". A note of another suite is taken away.
    """
    sentence = unfamiliar(policy, suite)
    kept = {key: value for key, value in policy.provenance.items() if key != "warning"}
    if sentence:
        log.warning(sentence)
        kept["warning"] = sentence
    policy.provenance = kept


def unfamiliar(policy: Policy, suite: str) -> str:
    """A sentence for a suite that a policy was not trained on, "" for one that it knows."""
    # Published checkpoints name the data set: "libero_object_no_noops".
    known = {key.removesuffix("_no_noops") for key in policy.statistics}
    base = base_suite(suite)
    joint = any(base in JOINT.get(key, ()) for key in known)
    if policy.privileged or not known or base in known or joint:
        return ""
    listed = ", ".join(sorted(known))
    return (
        f"{policy.name} does not know {base}: its checkpoint was trained on {listed}. "
        "Its success here does not measure what it learned."
    )
