"""Small vector mathematics for layouts and the expert: lengths and rotations."""

from __future__ import annotations

import numpy as np

from vla_tutorial.arrays import Floats


def norm(vector: Floats) -> float:
    """Euclidean length; several times faster than `numpy.linalg.norm` on three numbers."""
    return float(np.sqrt(vector @ vector))


def rotation_vector(rotation: Floats) -> Floats:
    """Rotation matrix (3, 3) → axis times angle (3,), radians."""
    r = rotation
    x = r[2, 1] - r[1, 2]
    y = r[0, 2] - r[2, 0]
    z = r[1, 0] - r[0, 1]
    twice_sine_axis = np.array([x, y, z])
    sine = norm(twice_sine_axis) / 2
    cosine = (np.trace(rotation) - 1) / 2
    scale = float(np.arctan2(sine, cosine)) / (2 * sine + 1e-12)
    return scale * twice_sine_axis
