"""Practice episodes: the policy in training and the disturbed expert act in turn (DAgger).

The expert labels every state, whoever acts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.loop import rollout
from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.sim import Simulator
from vla_tutorial.training.chunks import LabelledEpisode
from vla_tutorial.training.keypoints import keypoints
from vla_tutorial.training.labelling import SUITE, LabellingPolicy, disturbed_tokens
from vla_tutorial.training.labels import Labels
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.wiring import Wiring

AS_TRAINED = Wiring(SUITE, center_crop=False)
"""What the policy sees, but whole: training crops at random where evaluation takes the centre."""

FREE_STEPS = 240
MIXED_STEPS = 260
"""Step limits where the policy acts alone, and where both act."""

_LOST = -0.1
"""Metres: a target this far under the floor has fallen off it."""

Ask = Callable[[NDArray[np.uint8], Labels], tuple[NDArray[np.int64], float]]
"""A picture (224, 224, 3) uint8 with its step's labels → the policy's tokens (7,), and beta."""


class Turns:
    """Who acts in an episode: the policy, in stretches, and the expert in between.

    Attributes:
        beta: 0 … 1, how much the policy acts. (In the paper on DAgger it is the expert's share.)
        free: whether the policy acts alone in the whole episode.
    """

    def __init__(self, rng: np.random.Generator, beta: float) -> None:
        self.beta = beta
        self.free = rng.random() < 0.4 * beta
        self._rng = rng
        self._policy_acts = self.free or rng.random() < 0.5
        self._left = self._stretch()

    def _stretch(self) -> int:
        """Steps of the turn that begins."""
        mean = 10 + 60 * self.beta if self._policy_acts else 40 - 26 * self.beta
        return 1 + int(self._rng.exponential(mean))

    def policy_acts(self) -> bool:
        """Whether the policy acts in the next step, else the expert."""
        if not self.free and self._left == 0:
            self._policy_acts = not self._policy_acts
            self._left = self._stretch()
        self._left -= 1
        return self._policy_acts


class MixingPolicy(LabellingPolicy):
    """Mixes the policy in training, as `ask` answers for it, and the expert.

    The expert is disturbed in half of the episodes. What is answered of beta holds from the next
    turn on.
    """

    def __init__(
        self,
        simulator: Simulator,
        seed: int,
        expert: Policy,
        ask: Ask,
        rng: np.random.Generator,
        beta: float,
    ) -> None:
        """Draw the layout of this seed, then turns and noise from `rng`."""
        self.turns = Turns(rng, beta)
        noise = Noise.random(rng) if rng.random() < 0.5 else Noise()
        super().__init__(simulator, seed, expert, Disturbance(noise, rng))
        self._ask = ask

    def act(
        self, seen: PolicyInput, step: LabelledEpisode, label: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The policy's tokens as they are, or the expert's with noise."""
        labels = Labels.of(step, keypoints(self.simulator)[None])
        answer, self.turns.beta = self._ask(seen.pixels, labels)
        if self.turns.policy_acts():
            return answer
        return disturbed_tokens(label, self.disturb)


def practise(policy: MixingPolicy) -> bool:
    """Run the policy's episode; returns whether the target reached the basket.

    The episode also ends when the target has fallen off the floor.
    """
    simulator = policy.simulator
    target = simulator.bodies[policy.layout.target]
    limit = FREE_STEPS if policy.turns.free else MIXED_STEPS
    for step in rollout(policy, simulator, replace(AS_TRAINED, max_steps=limit), policy.scene):
        if step.done:
            return True
        if simulator.data.xpos[target][2] <= _LOST:
            break
    return False
