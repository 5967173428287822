"""A scripted expert that reads the simulator's state. Only faults of tokens → motion hurt it."""

from vla_tutorial.policies.expert.expert import ExpertPolicy, native_key
from vla_tutorial.policies.expert.situation import Parameters

__all__ = ["ExpertPolicy", "Parameters", "native_key"]
