"""Other looks of a scene: what stands in it is painted anew, so that a policy cannot rely on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

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
