"""What every policy is: a function from a batch of (pixels, prompt) to action tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.arrays import Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.prompt import Prompt
from vla_tutorial.scene import Goal

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True)
class PrivilegedState:
    """The simulator's own state, which only policies with `privileged = True` may read."""

    # MuJoCo's compiled model and its present state (metres, radians, world frame).
    model: mujoco.MjModel
    data: mujoco.MjData
    # Object name → MuJoCo body id, the basket included.
    bodies: Mapping[str, int]
    # What the episode asks for, as `Simulator.asked` has it.
    goal: Goal
    # Names of the objects that the goal puts inside something, in its order.
    targets: tuple[str, ...]
    # The suite, whose statistics express actions; "libero_goal", for example.
    suite: str = "libero_object"


@dataclass(frozen=True)
class PolicyInput:
    """One observation as a policy gets it."""

    # (224, 224, 3) uint8, RGB, row 0 at the top: the output of `pixels.prepare`.
    pixels: Picture
    # The instruction in its template: the output of `prompt.build`.
    prompt: Prompt
    # For privileged policies, otherwise None.
    state: PrivilegedState | None = None


class PolicyUnreachable(TutorialError):
    """The policy is on another machine, which does not answer: an error, never a failure."""


class Policy(Protocol):
    """A batched policy. It knows nothing of LIBERO, files or plots."""

    # Short name for records, for example "expert".
    name: str
    # Whether `predict` reads `PolicyInput.state`.
    privileged: bool
    # The action statistics that the policy brings, by unnorm key; may be empty.
    statistics: Mapping[str, ActionStatistics]
    # What an episode's record says of it (checkpoint, revision, device, dtype …).
    provenance: Mapping[str, Any]

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """N inputs → (N, 7) token ids of OpenVLA's Llama; 31744 … 31999 are the bins."""

    def close(self) -> None:
        """Release what the policy holds (GPU memory, workers)."""
