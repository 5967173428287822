"""What a service is made from: its policy is loaded and warmed up where it will answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_tutorial.policies import Policy, load_policy
from vla_tutorial.serve.access import Access
from vla_tutorial.serve.limits import Limits
from vla_tutorial.serve.service import Service, Settings

ASKERS = 32
"""Clients at once for which batches are timed at the start: the largest batch."""

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
"""Whose instructions CUDA graphs are captured for before the first client comes."""


@dataclass(frozen=True)
class Recipe:
    """A service that is not made yet, and can be sent to another machine.

    Attributes:
        policy, checkpoint: as `load_policy` takes them.
        options: `revision`, `device` and `weights`, those that are given.
    """

    policy: str
    checkpoint: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    settings: Settings = field(default_factory=Settings)

    def make(self) -> Service:
        """Load the policy, and capture what a GPU needs.

        Raises:
            TutorialError: the policy cannot be loaded or served, or a setting is invalid.
        """
        policy = load_policy(self.policy, self.checkpoint, **self.options)
        service = Service(policy, self.access, self.limits, self.settings)
        service.answering.server.batch_seconds = _warm_up(policy)
        return service


def _warm_up(policy: Policy) -> dict[int, float]:
    """Batch size → seconds; captures what a GPU needs for LIBERO's instructions."""
    if policy.provenance.get("device") == "cpu":
        return {}
    from vla_tutorial import prompt
    from vla_tutorial.sim import task_instructions
    from vla_tutorial.sweep import warm_up
    from vla_tutorial.wiring import Wiring

    wiring = Wiring(unnorm_key="")
    prompts = []
    for suite in SUITES:
        prompts += [prompt.build(wiring, text) for text in task_instructions(suite)]
    return warm_up(policy, prompts, ASKERS)
