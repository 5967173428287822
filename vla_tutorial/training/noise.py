"""What varies in demonstrations and practice: executed actions are disturbed, scenes repainted.

Noise shows recoveries. Other looks keep a policy from relying on one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

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


_PLAIN = 0.3
"""Share of the looks that are the benchmark's own."""

_TINTED = 0.6
"""Share of the materials that are tinted, in a look that is not."""

_TINT = (0.35, 1.4)
"""By what red, green and blue of a material's texture are multiplied."""

_EXCHANGED = 0.15
"""Share of the surfaces that get another one's material."""

_VISUAL = 1
"""robosuite's geom group of what a camera sees; group 0 is for collisions."""


class Looks:
    """The materials of one simulator's model as they were, and others in their place.

    As in robosuite's domain randomisation, but of numbers that MuJoCo reads when it draws: no
    texture is loaded again. Nothing that moves or collides is changed.
    """

    def __init__(self, model: Any) -> None:
        """Remember the materials of MuJoCo's `model`."""
        self._model = model
        self._colours = model.mat_rgba.copy()
        self._materials = model.geom_matid.copy()
        painted = (model.geom_group == _VISUAL) & (self._materials >= 0)
        self._surfaces = np.flatnonzero(painted)

    def vary(self, rng: Generator) -> None:
        """Draw another look, or with a share of `_PLAIN` the benchmark's own."""
        self.restore()
        if rng.random() < _PLAIN:
            return
        tinted = rng.random(len(self._colours)) < _TINTED
        tints = rng.uniform(*_TINT, (len(self._colours), 3))
        self._model.mat_rgba[tinted, :3] *= tints[tinted]
        exchanged = self._surfaces[rng.random(len(self._surfaces)) < _EXCHANGED]
        others = rng.choice(self._surfaces, len(exchanged))
        self._model.geom_matid[exchanged] = self._materials[others]

    def restore(self) -> None:
        """Paint everything as the benchmark does."""
        self._model.mat_rgba[:] = self._colours
        self._model.geom_matid[:] = self._materials
