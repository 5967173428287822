"""OpenVLA's `POST /act`, as its `vla-scripts/deploy.py` has it: json-numpy in, seven numbers out.

What differs on purpose: an error has a status of its own and a sentence, where the original answers
200 and "error"; a client may have its picture prepared here ("wiring"); pictures may be files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from vla_tutorial.arrays import Floats
from vla_tutorial.decoding import decode
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.arrays import json_array, picture_of
from vla_tutorial.serve.pictures import How, read_how
from vla_tutorial.serve.service import Acted, Service

PROTOCOL = "act"
REMEDY = 'Send {"image": …, "instruction": …}, the image by json-numpy or as a file in base64.'


class _Encoded(msgspec.Struct):
    encoded: str


class _Plain(msgspec.Struct):
    image: dict[str, Any] | str
    instruction: str
    unnorm_key: str | None = None
    wiring: dict[str, Any] | str | None = None


@dataclass(frozen=True)
class ActRequest:
    """What a client asks.

    Attributes:
        image: in a form of `serve.arrays`, not yet decoded.
        encoded: whether the request was JSON within JSON, and the answer has to be.
    """

    image: Any
    instruction: str
    unnorm_key: str | None
    how: How
    encoded: bool


def parse(body: bytes) -> ActRequest:
    """Read a request.

    Raises:
        TutorialError: it is not JSON, or a field is missing or of another type.
    """
    where = "The request"
    encoded = b'"encoded"' in body[:1000]
    if encoded:
        body = decode(body, _Encoded, where, REMEDY).encoded.encode()
    found = decode(body, _Plain, where, REMEDY)
    how = read_how(found.wiring, "finished")
    return ActRequest(found.image, found.instruction, found.unnorm_key, how, encoded)


async def answer(service: Service, visitor: Visitor, request: ActRequest) -> tuple[bytes, Acted]:
    """The answer's body, and all about it; raises as `Service.act`."""
    acted = await service.act(
        visitor,
        PROTOCOL,
        lambda: picture_of(request.image, "image"),
        request.instruction,
        request.how,
        request.unnorm_key,
    )
    plain = isinstance(request.image, str)
    return _body(acted.action, plain, request.encoded), acted


def _body(action: Floats, plain: bool, encoded: bool) -> bytes:
    """Whoever sent an array gets one; whoever sent a file, a plain list."""
    found = msgspec.json.encode(action.tolist() if plain else json_array(action))
    return msgspec.json.encode(found.decode()) if encoded else found


def headers(acted: Acted) -> dict[str, str]:
    """What the answer's headers tell: what was done to the picture, and how long it waited."""
    answered = acted.answered
    return {
        "X-VLA-Picture": acted.picture,
        "X-VLA-Position": str(answered.position),
        "X-VLA-Queue-Length": str(answered.queue_length),
        "X-VLA-Wait-Ms": str(answered.wait_ms),
        "X-VLA-Infer-Ms": str(answered.infer_ms),
        "X-VLA-Batch": str(answered.batch),
    }
