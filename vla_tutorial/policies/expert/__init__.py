"""A scripted expert that reads the simulator's state: a teacher for `mini`, and a policy that only faults of tokens → motion can hurt."""

from vla_tutorial.policies.expert.expert import ExpertPolicy
from vla_tutorial.policies.expert.parameters import Parameters

__all__ = ["ExpertPolicy", "Parameters"]
