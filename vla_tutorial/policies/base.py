"""What every policy is: a function from a batch of (pixels, prompt) to action tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.prompt import Prompt

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True)
class PrivilegedState:
    """The simulator's own state, which no camera shows.

    Only policies with `privileged = True` may read it.

    Attributes:
        model, data: MuJoCo's compiled model and its present state (metres, radians, world frame).
        bodies: object name → MuJoCo body id, the basket included.
        targets: names of the objects that the task asks for, in order.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    bodies: Mapping[str, int]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class PolicyInput:
    """One observation as a policy gets it.

    Attributes:
        pixels: (224, 224, 3) uint8, RGB, row 0 at the top: the output of `pixels.prepare`.
        prompt: the instruction in its template: the output of `prompt.build`.
        state: the simulator's state for privileged policies, otherwise None.
    """

    pixels: NDArray[np.uint8]
    prompt: Prompt
    state: PrivilegedState | None = None


class Policy(Protocol):
    """A batched policy. It knows nothing of LIBERO, files or plots.

    Attributes:
        name: short name for records, for example "expert".
        privileged: True when `predict` reads `PolicyInput.state`.
        statistics: action statistics that came with the policy, by unnorm key; empty when it
            brings none.
        provenance: what an episode's record says of the policy (checkpoint, revision, device,
            dtype …).
    """

    name: str
    privileged: bool
    statistics: Mapping[str, ActionStatistics]
    provenance: Mapping[str, Any]

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        """N inputs → (N, 7) token ids of OpenVLA's Llama; 31744 … 31999 are the bins."""
        ...

    def close(self) -> None:
        """Release what the policy holds (GPU memory, workers)."""
        ...
