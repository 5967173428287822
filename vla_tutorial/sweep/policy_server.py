"""The served policy of a sweep: loaded once, with what its records say of it, and ready before the first question."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping

import numpy as np

from vla_tutorial import prompt
from vla_tutorial.loop import statistics_for
from vla_tutorial.policies import Policy, PolicyInput, load_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.sim import check_task
from vla_tutorial.sweep.plan import Sweep


def load(sweep: Sweep) -> tuple[Policy, str]:
    """The policy, and the hash of its weights.

    Raises:
        TutorialError: it cannot be loaded, or lacks the action statistics that an episode of the sweep asks for.
    """
    from vla_tutorial.provenance import weights_hash

    given = {
        key: value
        for key, value in (("revision", sweep.revision), ("device", sweep.device))
        if value is not None
    }
    policy = load_policy(sweep.policy, sweep.checkpoint, **given)
    for job in sweep.jobs():
        statistics_for(policy, sweep.settings(job)[0])
    return policy, weights_hash(policy)


def prompts(sweep: Sweep) -> list[Prompt]:
    """Every prompt that an episode of the sweep asks about, once."""
    one_each = {(job.condition, job.task): job for job in sweep.jobs()}.values()
    settings = ((job, *sweep.settings(job)) for job in one_each)
    built = (
        prompt.build(wiring, scene.instruction_for(check_task(sweep.suite, job.task).instruction))
        for job, wiring, scene in settings
    )
    return list(dict.fromkeys(built))


REPEATS = 3
"""Timed answers of each batch size; the shortest counts, since simulators are starting meanwhile."""


def warm_up(policy: Policy, asked: Iterable[Prompt], most: int) -> dict[int, float]:
    """Capture every CUDA graph that these prompts will need: each batch size with each length. Without graphs there is nothing to do.

    Args:
        most: how many can ask at once; a larger batch would only take memory, which a small GPU does not have.

    Returns:
        Batch size → seconds of an answer, for `best_batch_size`; empty where batches have no fixed sizes.
    """
    from vla_tutorial.policies.model import ModelPolicy

    if not isinstance(policy, ModelPolicy) or policy.engine is None or not policy.engine.graphs:
        return {}
    from vla_tutorial.openvla.engine import ROWS, TEXT_STEP
    from vla_tutorial.pixels import SIZE

    lengths = {-(-len(policy.ids(text)) // TEXT_STEP): text for text in asked}
    seconds: dict[int, float] = {}
    for text in lengths.values():
        for rows in ROWS[: bisect_left(ROWS, most) + 1]:
            batch = [PolicyInput(np.zeros((SIZE, SIZE, 3), np.uint8), text)] * rows
            policy.predict(batch)
            seconds[rows] = max(
                seconds.get(rows, 0.0), min(_timed(policy, batch) for _ in range(REPEATS))
            )
    return seconds


def _timed(policy: Policy, batch: list[PolicyInput]) -> float:
    begin = time.perf_counter()
    policy.predict(batch)
    return time.perf_counter() - begin


def best_batch_size(arrived: int, seconds: Mapping[int, float], most: int) -> int:
    """How many of those who have asked to answer at once: as many as makes most answers a second.

    A CUDA graph takes its time however full it is. Of 20 who have asked, 16 in a graph of 16 get more answers a second than all in one of 32, and the other
    four are the first of the next batch.

    Args:
        arrived: at least 1.
        seconds: batch size → time of an answer, from `warm_up`; empty where batches have no fixed sizes.
        most: the largest batch.
    """
    if not seconds:
        return min(arrived, most)
    rows = max(seconds, key=lambda size: (min(arrived, size) / seconds[size], size))
    return min(arrived, rows, most)
