"""Names for the types of numpy arrays. Shapes and units stand where an array is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Picture = NDArray[np.uint8]
"""(H, W, 3), RGB, row 0 at the top unless said otherwise; or (N, H, W, 3)."""
