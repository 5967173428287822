"""openpi's websocket: metadata first, then MessagePack with arrays in, a chunk of actions out.

An OpenVLA policy gives one action an answer. A client that wants more of them in a chunk, as
openpi's LIBERO example with its `replan_steps` of 5, gets the same one repeated: `?chunk=5` in the
address, or `--chunk 5`. The metadata says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.wire import unpack
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.arrays import packed_array, picture_of
from vla_tutorial.serve.pictures import read_how
from vla_tutorial.serve.service import MOST_CHUNK, Acted, Service

PROTOCOL = "openpi"

PICTURES = ("observation/image", "observation.images.image", "image")
"""Names of the main camera's picture: openpi's for LIBERO, and what others send."""


class Session:
    """One connection."""

    protocol = PROTOCOL

    def __init__(self, service: Service, visitor: Visitor, query: Mapping[str, str]) -> None:
        """Raises a TutorialError where `?chunk=` is no number from 1 to `MOST_CHUNK`."""
        self._service = service
        self._visitor = visitor
        self._chunk = _chunk(query.get("chunk"), service.settings.chunk)

    def greeting(self) -> bytes:
        """The metadata."""
        info = self._service.info
        about = {
            "policy": info.policy,
            "provenance": info.provenance,
            "weights": info.weights,
            "action_horizon": self._chunk,
            "repeated": self._chunk > 1,
            "actions": "as LIBERO's env.step takes them; gripper -1 open, +1 closed",
            "picture": "upright, as openpi's LIBERO client sends it; wiring may say otherwise",
        }
        return msgspec.msgpack.encode(about, enc_hook=str)

    async def answer(self, message: bytes) -> bytes:
        """An observation's answer.

        Raises:
            Refusal, TutorialError: as `Service.act`, or the message is invalid.
        """
        entry = parse(message)
        key = entry.get("unnorm_key")
        acted = await self._service.act(
            self._visitor,
            PROTOCOL,
            lambda: _picture(entry),
            entry["prompt"],
            read_how(entry.get("wiring"), "upright"),
            key if isinstance(key, str) else None,
        )
        return self._packed(acted)

    def _packed(self, acted: Acted) -> bytes:
        # As many rows in each array, since clients cut all arrays into steps.
        command = np.tile(acted.command, (self._chunk, 1))
        tokens = np.tile(acted.tokens, (self._chunk, 1))
        answered = acted.answered
        reply = {
            "actions": packed_array(command, text_keys=False),
            "tokens": packed_array(tokens, text_keys=False),
            "picture": acted.picture,
            "server_timing": {
                "infer_ms": answered.infer_ms,
                "wait_ms": answered.wait_ms,
                "position": answered.position,
                "queue_length": answered.queue_length,
                "batch": answered.batch,
            },
        }
        return msgspec.msgpack.encode(reply)


def parse(message: bytes) -> dict[str, Any]:
    """An observation, with text for keys and a prompt that is text; arrays stay as they came.

    Raises:
        TutorialError: it is no object, or has no prompt.
    """
    found = unpack(message, dict[Any, Any], "The observation")
    entry = {_text(key): value for key, value in found.items()}
    prompt = entry.get("prompt")
    if isinstance(prompt, bytes):
        prompt = _text(prompt)
    if not isinstance(prompt, str):
        keys = ", ".join(sorted(entry))[:100] or "nothing"
        raise TutorialError(f"The observation has no text under prompt. It has: {keys}.")
    entry["prompt"] = prompt
    return entry


def _picture(entry: Mapping[str, Any]) -> Any:
    for name in PICTURES:
        if name in entry:
            return picture_of(entry[name], name)
    keys = ", ".join(sorted(entry))[:100]
    raise TutorialError(f"The observation has no {PICTURES[0]}. It has: {keys}.")


def _text(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _chunk(asked: str | None, default: int) -> int:
    if asked is None:
        return default
    if not asked.isdecimal() or not 1 <= int(asked[:4]) <= MOST_CHUNK:
        raise TutorialError(f"chunk is {asked!r:.20}; expected a number from 1 to {MOST_CHUNK}.")
    return int(asked)
