"""Arrays and pictures as three protocols send them. There is no pickle, and no code of a client.

| who | form |
|---|---|
| json-numpy (`/act`) | `{"__numpy__": base64, "dtype": "\\|u1", "shape": [256, 256, 3]}` |
| openpi | `{b"__ndarray__": true, b"data": bytes, b"dtype": "\\|u1", b"shape": [...]}` |
| vla-eval | the same with text for keys, or `{"__image__": true, "format": "png", "data": bytes}` |
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import check_image
from vla_tutorial.policies.wire import check_size, decode_picture

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


def picture_of(value: Any, name: str) -> Picture:
    """A picture in any of the forms above, or a PNG or JPEG file's bytes (or their base64).

    Args:
        name: of the field, for errors.

    Returns:
        (H, W, 3) uint8.

    Raises:
        TutorialError: it is none, or too large. The text begins with `name`.
    """
    try:
        found = _picture(value)
        check_image(found)
        check_size(found.shape[1], found.shape[0])
    except TutorialError as e:
        raise TutorialError(f"{name}: {e}") from e
    return found


def _picture(value: Any) -> Array:
    if isinstance(value, str):
        value = _from_base64(value)
    if isinstance(value, bytes):
        return decode_picture(value)
    if not isinstance(value, Mapping):
        found = type(value).__name__
        raise TutorialError(f"A picture is an array of uint8, or a file; got {found}.")
    entry = {_text(key): item for key, item in value.items()}
    if "__numpy__" in entry:
        data = _from_base64(entry["__numpy__"])
        return array_of(data, entry.get("dtype"), entry.get("shape"))
    if "__image__" in entry and entry.get("format") != "raw":
        return _file(entry)
    if "__ndarray__" in entry or "__image__" in entry:
        dtype = entry.get("dtype")
        if isinstance(dtype, bytes):
            dtype = _text(dtype)
        return array_of(entry.get("data"), dtype, entry.get("shape"))
    keys = ", ".join(sorted(entry))[:80] or "nothing"
    raise TutorialError(f"An object with {keys} is no array; expected __numpy__ or __ndarray__.")


def _file(entry: Mapping[str, Any]) -> Picture:
    data = entry.get("data")
    if entry.get("format") not in ("png", "jpeg") or not isinstance(data, bytes):
        found = f"{entry.get('format')!r:.30}"
        raise TutorialError(f"A picture has format {found}; expected png, jpeg or raw.")
    return decode_picture(data, entry["format"])


def _text(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TutorialError(f"A picture's data is text in base64; got {type(text).__name__}.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise TutorialError(f"A picture's data is not base64 ({e}).") from e


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


def json_array(array: Array) -> dict[str, Any]:
    """An array as json-numpy has it."""
    data = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": data, "dtype": array.dtype.str, "shape": list(array.shape)}
