"""The served policy of a sweep: loaded once, with what its records say of it."""

from __future__ import annotations

from vla_tutorial.loop import statistics_for
from vla_tutorial.policies import Policy, load_policy
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
