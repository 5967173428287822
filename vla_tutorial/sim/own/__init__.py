"""Scenes of the reader's own: a BDDL file, and states to begin in."""

from vla_tutorial.sim.own.definition import Definition, check_definition
from vla_tutorial.sim.own.files import (
    definition_file,
    definition_of,
    read_own_scene,
    states_of,
)
from vla_tutorial.sim.own.grammar import Refused

__all__ = [
    "Definition",
    "Refused",
    "check_definition",
    "definition_file",
    "definition_of",
    "read_own_scene",
    "states_of",
]
