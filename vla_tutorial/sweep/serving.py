"""The served policy of a sweep: loaded once, with what its records say of it, and ready before the first question."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

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
    from vla_tutorial.studio import weights_hash

    given = {key: value for key, value in (("revision", sweep.revision), ("device", sweep.device)) if value is not None}
    policy = load_policy(sweep.policy, sweep.checkpoint, **given)
    for job in sweep.jobs():
        statistics_for(policy, sweep.settings(job)[0])
    return policy, weights_hash(policy)


def prompts(sweep: Sweep) -> list[Prompt]:
    """Every prompt that an episode of the sweep asks about, once."""
    one_each = {(job.condition, job.task): job for job in sweep.jobs()}.values()
    settings = ((job, *sweep.settings(job)) for job in one_each)
    built = (prompt.build(wiring, scene.told(check_task(sweep.suite, job.task).instruction)) for job, wiring, scene in settings)
    return list(dict.fromkeys(built))


def warm_up(policy: Policy, asked: Iterable[Prompt], most: int) -> None:
    """Capture every CUDA graph that these prompts will need: each batch size with each length. Without graphs there is nothing to do.

    Args:
        most: how many can ask at once; a larger batch would only take memory, which a small GPU does not have.
    """
    from vla_tutorial.policies.model import ModelPolicy

    if not isinstance(policy, ModelPolicy) or policy.engine is None or not policy.engine.graphs:
        return
    from vla_tutorial.openvla.engine import ROWS, TEXT_STEP
    from vla_tutorial.pixels import SIZE

    lengths = {-(-len(policy.ids(text)) // TEXT_STEP): text for text in asked}
    for text in lengths.values():
        for rows in ROWS[: bisect_left(ROWS, most) + 1]:
            policy.predict([PolicyInput(np.zeros((SIZE, SIZE, 3), np.uint8), text)] * rows)
