"""A client of openpi's policy servers: MessagePack with arrays over a websocket, metadata first.

So π0, π0.5 and others that speak it run under this package's conditions: `--policy openpi`.
"""

from __future__ import annotations

import os
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput, PolicyUnreachable
from vla_tutorial.policies.own import from_commands
from vla_tutorial.policies.packed import array_of, packed_array
from vla_tutorial.policies.wire import unpack

WIRING: Mapping[str, Any] = {
    "jpeg": False,
    "center_crop": False,
    "prompt_template": "{instruction}",
}
"""What openpi's LIBERO client does otherwise than OpenVLA's protocol (examples/libero/main.py).

It also scales pictures to 224 pixels bilinearly, and ours with Lanczos' filter.
"""

REPLAN_STEPS = 5
"""Actions of a chunk that openpi's LIBERO client executes (examples/libero/main.py)."""

PATIENCE = 60.0
"""Seconds in which a question is asked again, until the server counts as gone."""

ANSWER_SECONDS = 120.0
"""Seconds for one answer: the first one compiles the model, with openpi's servers."""

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the second, third … attempt; the last one is repeated."""

MOST_BYTES = 16 * 2**20
"""Of a message."""

TOKEN = "VLA_TUTORIAL_TOKEN"
"""Environment variable of the API key, as for the policy "remote"."""

PROBE = "wait"
"""The instruction of the question that tells how long a chunk is."""


class OpenPiPolicy:
    """The policy behind a server. It keeps no state of an episode, so that many may ask.

    Each input is a question of its own: the protocol knows no batches.

    Attributes:
        provenance: the server's metadata, its address, and the latency when this was made.
    """

    name = "openpi"
    privileged = False

    def __init__(self, url: str, token: str | None = None, patience: float = PATIENCE) -> None:
        """Connect, read the metadata and ask once, about a black picture.

        Raises:
            TutorialError: nobody answers, or not as openpi does.
        """
        self.url = _websocket(url)
        self.statistics: Mapping[str, ActionStatistics] = {}
        self._token = token or os.environ.get(TOKEN)
        self._patience = patience
        # A connection carries one question at a time.
        self._lock = threading.Lock()
        self._socket: Any = None
        self._metadata: Any = {}
        try:
            first = self._actions(_probe())
            started = time.perf_counter()
            self._actions(_probe())
            taken = time.perf_counter() - started
        except OSError as e:
            what = f"No openpi server answers at {self.url} ({e})."
            raise TutorialError(f"{what} Start it, or give its address with --url.") from e
        self.provenance: Mapping[str, Any] = self._describe(len(first), taken)

    def _describe(self, chunk: int, seconds: float) -> dict[str, Any]:
        return {
            "server": _recordable(self._metadata),
            "served_at": self.url,
            "weights": str(_with_text(self._metadata).get("weights", "unknown")),
            "latency_ms": round(1000 * seconds, 1),
            "answers": "actions",
            "chunk": chunk,
            "replan_steps": min(REPLAN_STEPS, chunk),
            "inputs": ["proprioception", "wrist"],
        }

    def predict(self, batch: Sequence[PolicyInput]) -> Floats:
        """N inputs → (N, 7) or (N, K, 7) actions in the data's units.

        Raises:
            PolicyUnreachable: no answer came in time.
            TutorialError: the server refuses the question, or its answer has another shape.
        """
        answers = np.stack([self._ask(observation(item)) for item in batch])
        if self.provenance["chunk"] == 1:
            answers = answers[:, 0]
        return from_commands(answers, len(batch), self.provenance, self.name)

    def _ask(self, message: bytes) -> Floats:
        ends = time.monotonic() + self._patience
        number = 0
        while True:
            try:
                return self._actions(message)
            except OSError as e:
                pause = PAUSES[min(number, len(PAUSES) - 1)]
                number += 1
                if time.monotonic() + pause > ends:
                    raise self._unreachable(e) from e
                time.sleep(pause)

    def _unreachable(self, error: OSError) -> PolicyUnreachable:
        what = f"The server at {self.url} gave no answer in {self._patience:.0f} s ({error})"
        return PolicyUnreachable(f"{what}. Start it again, then run the episode again.")

    def _actions(self, message: bytes) -> Floats:
        """One question: (K, 7) float64; OSError where the connection fails."""
        with self._lock:
            reply = self._exchange(message)
        if isinstance(reply, str):
            line = " ".join(reply.split())[-300:]
            raise TutorialError(f"The server at {self.url} failed; its terminal says more: {line}")
        where = f"The answer of {self.url}"
        entry = _with_text(unpack(reply, dict[Any, Any], where))
        if not isinstance(entry.get("actions"), Mapping):
            raise TutorialError(f"{where} has no actions. It has: {', '.join(entry)[:100]}.")
        packed = _with_text(entry["actions"])
        found = array_of(*(packed.get(key) for key in ("data", "dtype", "shape")))
        chunk = np.atleast_2d(found).astype(np.float64)
        # Some servers fill up with zeros: LIBERO's actions are the first seven numbers.
        if chunk.ndim != 2 or chunk.shape[1] < 7 or not len(chunk):
            raise TutorialError(f"{where} has actions of shape {found.shape}; expected (K, 7).")
        return chunk[:, :7]

    def _exchange(self, message: bytes) -> bytes | str:
        from websockets.exceptions import WebSocketException

        try:
            if self._socket is None:
                self._connect()
            self._socket.send(message)
            reply: bytes | str = self._socket.recv(timeout=ANSWER_SECONDS)
        except (WebSocketException, OSError) as e:
            self.close()
            raise OSError(str(e) or type(e).__name__) from e
        if isinstance(reply, str):
            # It closes the connection after an error.
            self.close()
        return reply

    def _connect(self) -> None:
        from websockets.sync.client import connect

        headers = {"Authorization": f"Api-Key {self._token}"} if self._token else {}
        self._socket = connect(
            self.url,
            additional_headers=headers,
            compression=None,
            max_size=MOST_BYTES,
            open_timeout=10,
        )
        greeting = self._socket.recv(timeout=ANSWER_SECONDS)
        if isinstance(greeting, str):
            raise TutorialError(f"{self.url} is not an openpi server; it sent {greeting!r:.100}")
        self._metadata = unpack(greeting, dict[Any, Any], f"The metadata of {self.url}")

    def close(self) -> None:
        """Close the connection; the next question makes a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def observation(item: PolicyInput) -> bytes:
    """An input as openpi's LIBERO client sends it."""
    wrist = np.zeros_like(item.pixels) if item.wrist is None else item.wrist
    state = np.zeros(8) if item.proprioception is None else item.proprioception
    entry = {
        "observation/image": packed_array(item.pixels, text_keys=False),
        "observation/wrist_image": packed_array(wrist, text_keys=False),
        "observation/state": packed_array(state, text_keys=False),
        "prompt": item.prompt.text,
    }
    return msgspec.msgpack.encode(entry)


def _probe() -> bytes:
    from vla_tutorial.pixels import SIZE
    from vla_tutorial.prompt import Prompt

    return observation(PolicyInput(np.zeros((SIZE, SIZE, 3), np.uint8), Prompt(PROBE)))


def _websocket(url: str) -> str:
    """ws://host:port of an address that may begin with http://."""
    parts = urllib.parse.urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise TutorialError(f"{url!r} is not the address of a server; expected ws://host:port.")
    return urllib.parse.urlunsplit(parts._replace(scheme=scheme))


def _with_text(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """The same with text for keys."""
    return {_text(key): value for key, value in entry.items()}


def _text(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _recordable(value: Any) -> Any:
    """Metadata as JSON can hold them: what is neither text nor a number becomes text."""
    if isinstance(value, Mapping):
        return {_text(key): _recordable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_recordable(one) for one in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return _text(value)[:200]
