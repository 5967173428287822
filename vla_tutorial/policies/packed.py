"""Arrays in MessagePack, as openpi's and vla-eval's protocols have them. There is no pickle.

openpi: `{b"__ndarray__": true, b"data": bytes, b"dtype": "|u1", b"shape": [...]}`; vla-eval has the
same with text for keys.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.errors import TutorialError

_TYPES = re.compile(r"[<>|=]?[biuf][1248]|bool|u?int(8|16|32|64)|float(16|32|64)")
"""Numbers alone: of an object's type numpy would read pointers, or pickles."""

MOST_DIMENSIONS = 8

Array = NDArray[Any]


def array_of(data: Any, dtype: Any, shape: Any) -> Array:
    """The array that `data` holds; a TutorialError says what does not fit together."""
    if not isinstance(dtype, str) or not _TYPES.fullmatch(dtype):
        raise TutorialError(f"An array has dtype {dtype!r:.60}; expected numbers, such as '|u1'.")
    try:
        kind = np.dtype(dtype)
    except TypeError as e:
        raise TutorialError(f"An array has dtype {dtype!r}, which numpy does not know.") from e
    if not isinstance(data, bytes) or not _is_shape(shape):
        found = f"An array has shape {shape!r:.60}"
        raise TutorialError(f"{found}; expected, for example, [224, 224, 3].")
    expected = math.prod(shape) * kind.itemsize
    if len(data) != expected:
        what = f"An array of shape {list(shape)} and dtype {dtype} has {expected} bytes"
        raise TutorialError(f"{what}; got {len(data)}.")
    return np.frombuffer(data, kind).reshape(shape)


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list | tuple) or len(shape) > MOST_DIMENSIONS:
        return False
    return all(type(side) is int and 0 <= side < 2**31 for side in shape)


def packed_array(array: Array, *, text_keys: bool) -> dict[Any, Any]:
    """An array as openpi has it, or as vla-eval with `text_keys`."""
    plain = {
        "__ndarray__": True,
        "data": array.tobytes(),
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }
    if text_keys:
        return plain
    return {key.encode(): value for key, value in plain.items()}
