"""Our own form, `POST /v1/predict`: finished pictures in, tokens out (`policies/wire.py`)."""

from __future__ import annotations

import msgspec

from vla_tutorial.policies import PolicyInput
from vla_tutorial.policies.wire import Answer, Ask, decode_picture, unpack
from vla_tutorial.prompt import Prompt
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.service import Service

PROTOCOL = "tokens"


def parse(body: bytes) -> Ask:
    """Read a request; raises a TutorialError where it is none."""
    return unpack(body, Ask, "The request")


def inputs_of(ask: Ask) -> list[PolicyInput]:
    """What the policy gets; raises as `decode_picture`."""
    inputs = []
    for item in ask.inputs:
        picture = decode_picture(item.picture, item.form)
        inputs.append(PolicyInput(picture, Prompt(item.prompt, item.empty_token)))
    return inputs


async def answer(service: Service, visitor: Visitor, ask: Ask) -> bytes:
    """The answer's body.

    Raises:
        Refusal: as `Service.predict`, or the rate is too high.
        TutorialError: a picture is invalid.
    """
    service.check_rate(visitor, len(ask.inputs))
    inputs = await service.aside(lambda: inputs_of(ask))
    found = await service.predict(visitor, PROTOCOL, inputs)
    last = found[-1][1]
    reply = Answer(
        ask.id,
        [tokens.tolist() for tokens, _ in found],
        position=last.position,
        queue_length=found[0][1].queue_length,
        wait_ms=last.wait_ms,
        infer_ms=last.infer_ms,
        batch=last.batch,
    )
    return msgspec.msgpack.encode(reply)
