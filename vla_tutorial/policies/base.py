"""What every policy is: a function from a batch of (pixels, prompt) to action tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.arrays import Floats, Ints, Picture
from vla_tutorial.conditions import check_needs
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
    # (8,) `Observation.proprioception`, for policies whose `provenance` names it under "inputs".
    proprioception: Floats | None = None
    # As `pixels`, from the camera at the wrist, for policies whose "inputs" name "wrist".
    wrist: Picture | None = None


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

    def predict(self, batch: Sequence[PolicyInput]) -> Ints | Floats:
        """N inputs → (N, 7) token ids of OpenVLA's Llama; 31744 … 31999 are the bins.

        A policy without tokens answers with float64 numbers, which are actions in the data's units,
        gripper 0 close … 1 open. (N, K, 7) is a chunk of K actions for each input. Its `provenance`
        says so: "answers" is "actions", and "chunk" is K.
        """

    def close(self) -> None:
        """Release what the policy holds (GPU memory, workers)."""


def answers_with_actions(policy: Policy) -> bool:
    """Whether the policy answers with actions, so that nothing is done to tokens."""
    return _of(policy).get("answers") == "actions"


def chunk_size(policy: Policy) -> int:
    """How many actions an answer has."""
    return int(_of(policy).get("chunk", 1))


def own_replan_steps(policy: Policy) -> int | None:
    """Actions of a chunk that the policy wants executed before it is asked again, if it says so."""
    found = _of(policy).get("replan_steps")
    return None if found is None else int(found)


def reads(policy: Policy, what: str) -> bool:
    """Whether the policy reads "proprioception" or "wrist" beside the picture."""
    return what in _of(policy).get("inputs", ())


def check_applies(policy: Policy, conditions: Sequence[str]) -> None:
    """Raise a TutorialError if a condition, by name, cannot change anything for this policy."""
    with_tokens = not answers_with_actions(policy)
    check_needs(conditions, policy.name, with_tokens, chunk_size(policy))


def _of(policy: Policy) -> Mapping[str, Any]:
    return getattr(policy, "provenance", {})
