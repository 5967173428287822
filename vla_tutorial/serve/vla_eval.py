"""vla-eval's model-server protocol, version 1: HELLO, episodes, observations, over a websocket."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from vla_tutorial import __version__
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.wire import unpack
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.arrays import packed_array, picture_of
from vla_tutorial.serve.limits import Refusal
from vla_tutorial.serve.pictures import read_how
from vla_tutorial.serve.service import Service

PROTOCOL = "vla-eval"

VERSION = 1
"""`PROTOCOL_VERSION` of vla-eval 0.8.0."""

SPECIFICATIONS = {
    "action_spec": {
        "position": {"name": "position", "dims": 3, "format": "delta_xyz", "range": [-1, 1]},
        "rotation": {"name": "rotation", "dims": 3, "format": "axis_angle"},
        "gripper": {"name": "gripper", "dims": 1, "format": "binary_close_positive"},
    },
    "observation_spec": {
        "image": {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"},
        "language": {"name": "language", "dims": 0, "format": "language"},
    },
    # Of the published protocol, `env.seed(0)`; it moves objects even from a saved state.
    "observation_params": {"seed": 0},
}
"""What the client compares with its benchmark; the formats' names are vla-eval's."""

Kind = Literal["hello", "observation", "action", "episode_start", "episode_end", "error"]


class Message(msgspec.Struct):
    """One message, in either direction; `seq` of an answer is that of its question."""

    type: Kind
    payload: dict[str, Any]
    seq: int
    timestamp: float


class Session:
    """One connection: a HELLO, then episodes one after the other."""

    protocol = PROTOCOL

    def __init__(self, service: Service, visitor: Visitor, query: Mapping[str, str]) -> None:
        self._service = service
        self._visitor = visitor
        self._suite: str | None = None

    def greeting(self) -> None:
        """Nothing: the client begins."""

    async def answer(self, message: bytes) -> bytes | None:
        """What a message is answered with, if anything.

        An observation that cannot be answered gets an error with its number, and the connection
        stays open.

        Raises:
            TutorialError: it is no message.
        """
        asked = unpack(message, Message, "The message")
        if asked.type == "hello":
            return _packed("hello", self._hello(asked.payload), asked.seq)
        if asked.type == "episode_start":
            self._suite = _suite(asked.payload)
            return None
        if asked.type != "observation":
            return None
        try:
            return _packed("action", await self._act(asked.payload), asked.seq)
        except Refusal as e:
            self._service.traffic.refused(self._visitor, PROTOCOL, e.status)
            return _packed("error", {"error": e.sentence}, asked.seq)
        except TutorialError as e:
            self._service.traffic.refused(self._visitor, PROTOCOL, 422)
            return _packed("error", {"error": str(e)}, asked.seq)

    def _hello(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        version = payload.get("protocol_version", VERSION)
        if version != VERSION:
            what = f"The client speaks version {version!r:.20} of the protocol"
            raise TutorialError(f"{what}; this server speaks {VERSION}.")
        return {
            "harness_version": f"vla-tutorial {__version__}",
            "protocol_version": VERSION,
            "model_server": f"vla-tutorial {self._service.policy.name}",
            "capabilities": {},
            **SPECIFICATIONS,
        }

    async def _act(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        instruction = payload.get("task_description")
        if not isinstance(instruction, str):
            raise TutorialError("The observation has no text under task_description.")
        how = read_how(payload.get("wiring"), "upright")
        key = self._service.default_key(self._suite)
        acted = await self._service.act(
            self._visitor,
            PROTOCOL,
            lambda: _picture(payload.get("images")),
            instruction,
            how,
            key,
        )
        answered = acted.answered
        return {
            "actions": packed_array(acted.command.astype(np.float32), text_keys=True),
            "tokens": acted.tokens.tolist(),
            "picture": acted.picture,
            "position": answered.position,
            "queue_length": answered.queue_length,
            "infer_ms": answered.infer_ms,
        }


def _packed(kind: Kind, payload: dict[str, Any], seq: int) -> bytes:
    return msgspec.msgpack.encode(Message(kind, payload, seq, time.time()))


def _suite(payload: Mapping[str, Any]) -> str | None:
    task = payload.get("task")
    suite = task.get("suite") if isinstance(task, Mapping) else None
    return suite if isinstance(suite, str) and suite.isidentifier() else None


def _picture(images: Any) -> Any:
    """The picture under "agentview", or the first one: the order of vla-eval's own servers."""
    if not isinstance(images, Mapping) or not images:
        raise TutorialError("The observation has no picture under images.")
    if "__image__" in images or "__ndarray__" in images:
        return picture_of(images, "images")
    name = "agentview" if "agentview" in images else next(iter(images))
    return picture_of(images[name], f"images {name}"[:60])
