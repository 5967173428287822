"""What disturbs a demonstration's executed actions, so that recoveries are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats

_SHARE = np.array([1, 1, 1, 0.5, 0.5, 0.5])
"""Noise of each number per unit of scale: a rotation of 1 is 0.13 rad a step, not just 13 mm."""


@dataclass(frozen=True)
class Noise:
    """How an episode's actions are disturbed, in OSC commands: 1 moves the hand some 13 mm a step.

    Attributes:
        scale: standard deviation of the correlated noise in x, y, z; half of that in the rotations.
        persistence: its autocorrelation from one step to the next.
        burst_rate: chance a step that 3 … 10 steps of one random push begin.
        flip_rate: chance a step that the gripper does the opposite for 2 … 7 steps.
    """

    scale: float = 0.0
    persistence: float = 0.8
    burst_rate: float = 0.0
    flip_rate: float = 0.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Noise:
        """Half of the episodes are nearly calm, half visibly disturbed."""
        persistence = rng.uniform(0.5, 0.93)
        if rng.random() < 0.5:
            return cls(rng.uniform(0, 0.06), persistence)
        return cls(
            rng.uniform(0.06, 0.3),
            persistence,
            float(rng.choice([0.0, 0.01, 0.02])),
            float(rng.choice([0.0, 0.0, 0.003, 0.008])),
        )


@dataclass
class Disturbance:
    """The noise of one episode as it unfolds."""

    noise: Noise
    rng: np.random.Generator
    _drift: Floats | float = 0.0
    _push: Floats | float = 0.0
    _push_left: int = 0
    _flip_left: int = 0

    def __call__(self, action: Floats) -> Floats:
        """The action (7,) in [−1, 1] that is executed in place of `action`."""
        noise = self.noise
        rng = self.rng
        fresh = np.sqrt(1 - noise.persistence**2) * rng.normal(size=6)
        self._drift = noise.persistence * self._drift + fresh
        self._push_left = max(self._push_left - 1, 0)
        self._flip_left = max(self._flip_left - 1, 0)
        if rng.random() < noise.burst_rate:
            self._push = rng.normal(0, 0.4, 6)
            self._push_left = int(rng.integers(3, 11))
        if rng.random() < noise.flip_rate:
            self._flip_left = int(rng.integers(2, 8))
        push = self._push * (self._push_left > 0)
        moved = action[:6] + _SHARE * (noise.scale * self._drift + push)
        gripper = -action[6] if self._flip_left else action[6]
        return np.array([*moved, gripper]).clip(-1, 1)
