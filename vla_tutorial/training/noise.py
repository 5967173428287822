"""What disturbs a demonstration's executed actions, so that recoveries are seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ACTION_GRID = 1e-3
"""Executed actions are rounded to this, so that what is stored is what was done."""

_SHARE = np.array([1, 1, 1, 0.5, 0.5, 0.5])
"""Noise of each number per unit of scale: a rotation of 1 means 0.13 rad a step, a translation of 1 only 13 mm."""


@dataclass(frozen=True)
class Noise:
    """How an episode's actions are disturbed, in OSC commands (1 moves the hand about 13 mm a step).

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
        persistence = float(rng.uniform(0.5, 0.93))
        if rng.random() < 0.5:
            return cls(float(rng.uniform(0, 0.06)), persistence)
        return cls(
            float(rng.uniform(0.06, 0.3)),
            persistence,
            float(rng.choice([0.0, 0.01, 0.02])),
            float(rng.choice([0.0, 0.0, 0.003, 0.008])),
        )


@dataclass
class Disturbance:
    """The noise of one episode as it unfolds."""

    noise: Noise
    rng: np.random.Generator
    _drift: Floats = field(default_factory=lambda: np.zeros(6))
    _push: Floats = field(default_factory=lambda: np.zeros(6))
    _push_left: int = 0
    _flip_left: int = 0

    def __call__(self, action: Floats) -> Floats:
        """The action (7,) that is executed in place of `action`, on `ACTION_GRID`."""
        n, rng = self.noise, self.rng
        self._drift = n.persistence * self._drift + np.sqrt(1 - n.persistence**2) * rng.normal(
            size=6
        )
        self._push_left, self._flip_left = max(self._push_left - 1, 0), max(self._flip_left - 1, 0)
        if rng.random() < n.burst_rate:
            self._push, self._push_left = rng.normal(0, 0.4, 6), int(rng.integers(3, 11))
        if rng.random() < n.flip_rate:
            self._flip_left = int(rng.integers(2, 8))
        moved = action[:6] + _SHARE * (n.scale * self._drift + self._push * (self._push_left > 0))
        gripper = -action[6] if self._flip_left else action[6]
        return np.asarray(np.round(np.clip([*moved, gripper], -1, 1) / ACTION_GRID) * ACTION_GRID)
