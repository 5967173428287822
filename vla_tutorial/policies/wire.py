"""What a policy's server and its client tell each other: msgspec's types, sent as MessagePack.

Pictures travel finished, as the policy sees them, and tokens come back. So every fault of pixels,
prompt and motion stays a matter of the client's wiring.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from vla_tutorial.actions import ActionStatistics, parse_statistics
from vla_tutorial.arrays import Picture
from vla_tutorial.decoding import Count, Name, fault
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import SIZE

VERSION = 1
"""Of this form; a client refuses a server of another one."""

MAX_SIDE = 1024
"""Pixels of a picture's width and height: four times LIBERO's camera."""

MAX_TEXT = 1000
"""Characters of a prompt. The longest instruction of LIBERO with its template has about 170."""

MAX_INPUTS = 64
"""Pictures in one request: two of the largest batches."""

PATH = "/v1/predict"
INFO_PATH = "/v1/policy"

Form = Literal["png", "jpeg", "raw"]
"""How a picture is encoded. "raw" is 224 × 224 × 3 bytes, RGB, row 0 at the top."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]

Label = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[\w.:-]*$")]
"""Made up by a client to tell requests, or itself, from others."""

T = TypeVar("T")


class AskedInput(msgspec.Struct, frozen=True):
    """One `PolicyInput`."""

    picture: bytes
    form: Form
    prompt: Text
    empty_token: bool = True


class Ask(msgspec.Struct, frozen=True):
    """A request: `id` comes back with the answer, `client` says whose turn it takes."""

    id: Label
    client: Label
    inputs: Annotated[list[AskedInput], msgspec.Meta(min_length=1, max_length=MAX_INPUTS)]


class Answer(msgspec.Struct, frozen=True):
    """The tokens, N rows of D ids, and how they came about.

    Attributes:
        position: how many requests were to be answered before this one's last picture.
        queue_length: pictures that waited when it arrived, without its own.
        wait_ms, infer_ms: from its arrival until its last batch began, and what that batch took.
        batch: pictures in that batch.
    """

    id: str
    tokens: list[list[int]]
    position: int = 0
    queue_length: int = 0
    wait_ms: float = 0.0
    infer_ms: float = 0.0
    batch: int = 1


class _Quantiles(msgspec.Struct, frozen=True):
    q01: list[float]
    q99: list[float]
    mask: list[bool]


class ServerInfo(msgspec.Struct, frozen=True):
    """Who answers: the policy's name, statistics, provenance and the hash of its weights."""

    version: Count
    policy: Name
    statistics: dict[Name, dict[Literal["action"], _Quantiles]]
    provenance: dict[Name, Any]
    weights: Name

    @classmethod
    def of(
        cls,
        name: str,
        statistics: Mapping[str, ActionStatistics],
        provenance: Mapping[str, Any],
        weights: str,
    ) -> Self:
        """The description of a policy."""
        plain = {key: {"action": _plain(one)} for key, one in statistics.items()}
        return cls(VERSION, name, plain, dict(provenance), weights)  # type: ignore[arg-type]

    def parsed_statistics(self) -> dict[str, ActionStatistics]:
        """The statistics by key, checked as those of a checkpoint; none are none."""
        if not self.statistics:
            return {}
        return parse_statistics(msgspec.to_builtins(self.statistics), "The server's statistics")


def _plain(statistics: ActionStatistics) -> _Quantiles:
    return _Quantiles(
        statistics.q01.tolist(),
        statistics.q99.tolist(),
        statistics.mask.tolist(),
    )


def unpack(data: bytes, kind: type[T], where: str) -> T:
    """MessagePack as `kind`; a TutorialError that begins with `where` says what is wrong."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as e:
        raise TutorialError(f"{where} {fault(b'', kind, e)}.") from e


def encode_picture(picture: Picture, form: Form) -> bytes:
    """(H, W, 3) uint8 → a file's bytes. "jpeg" loses detail, as quality 95 does."""
    if form == "raw":
        return picture.tobytes()
    buffer = io.BytesIO()
    options = {"compress_level": 1} if form == "png" else {"quality": 95}
    Image.fromarray(picture).save(buffer, form, **options)
    return buffer.getvalue()


def decode_picture(data: bytes, form: Form | None = None) -> Picture:
    """A picture's bytes → (H, W, 3) uint8 RGB.

    Args:
        form: None takes a PNG or JPEG file, whichever it is.

    Raises:
        TutorialError: it is no such picture, larger than `MAX_SIDE`, or has other channels.
    """
    if form == "raw":
        return _raw(data)
    formats = ("PNG", "JPEG") if form is None else (form.upper(),)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            # Before any pixel is decoded: a small file can hold a picture of gigabytes.
            check_size(image.width, image.height)
            if image.mode != "RGB":
                raise TutorialError(f"A picture is RGB with 8 bits a channel; got {image.mode}.")
            return np.array(image, np.uint8)
    except TutorialError:
        raise
    # Pillow raises what the format's reader happens to meet: struct.error, for example.
    except Image.DecompressionBombError as e:
        allowed = f"1 to {MAX_SIDE} pixels a side"
        raise TutorialError(f"The picture is far too large; expected {allowed}.") from e
    except UnidentifiedImageError as e:
        raise TutorialError(f"The picture is not a {' or '.join(formats)} file.") from e
    except Exception as e:
        raise TutorialError(f"The picture is damaged ({type(e).__name__}: {e}).") from e


def _raw(data: bytes) -> Picture:
    if len(data) != SIZE * SIZE * 3:
        expected = f"{SIZE} × {SIZE} × 3 = {SIZE * SIZE * 3}"
        raise TutorialError(f"A raw picture has {expected} bytes; got {len(data)}.")
    return np.frombuffer(data, np.uint8).reshape(SIZE, SIZE, 3)


def check_size(width: int, height: int) -> None:
    """Raise a TutorialError unless a picture has between 1 and `MAX_SIDE` pixels a side."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        allowed = f"1 to {MAX_SIDE} pixels a side"
        raise TutorialError(f"The picture has {width} × {height} pixels; expected {allowed}.")
