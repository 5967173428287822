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
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import check_image
from vla_tutorial.policies.packed import array_of, packed_array
from vla_tutorial.policies.wire import check_size, decode_picture

__all__ = ["array_of", "json_array", "packed_array", "picture_of"]

Array = NDArray[Any]


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
    expected = "expected __numpy__ or __ndarray__"
    raise TutorialError(f"An object with {keys} is not an array; {expected}.")


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


def json_array(array: Array) -> dict[str, Any]:
    """An array as json-numpy has it."""
    data = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": data, "dtype": array.dtype.str, "shape": list(array.shape)}
