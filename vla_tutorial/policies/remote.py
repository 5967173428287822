"""A policy behind a server in the network: `vla-tutorial serve` there, this class here."""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics as stats
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import msgspec
import numpy as np

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.arrays import Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import SIZE
from vla_tutorial.policies import wire
from vla_tutorial.policies.base import PolicyInput, PolicyUnreachable
from vla_tutorial.prompt import Prompt
from vla_tutorial.wiring import OPENVLA_TEMPLATE

TOKEN = "VLA_TUTORIAL_TOKEN"
"""Environment variable of the token. A record holds the command line, but never this."""

PATIENCE = 60.0
"""Seconds in which a request is tried again, until the server counts as gone."""

ANSWER_SECONDS = 30.0
"""Without an answer for so long, a connection counts as dropped."""

DESCRIBE_SECONDS = 5.0
"""The same for who answers: the lab's form waits for it."""

PAUSES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before the second, third … attempt; the last one is repeated."""

BUSY = (429, 502, 503, 504)
"""Statuses after which the same request may succeed: the server is full, or is being started."""

PROBES = 3
"""Questions whose median is the latency in the record."""

MOST_BYTES = 2**20
"""Of an answer."""


@dataclass(frozen=True)
class Reply:
    """A server's answer."""

    status: int
    body: bytes
    retry_after: float


class Server:
    """One connection that is kept open, and made again when it has dropped.

    Args:
        url: http://host:port, or https; a path is put before the server's own.
        token: None takes the variable `TOKEN`.
        seconds: without an answer for so long, the connection counts as dropped.
    """

    def __init__(self, url: str, token: str | None = None, seconds: float = ANSWER_SECONDS) -> None:
        parts = _parse(url)
        self.url = url.rstrip("/")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connect = partial(kind, parts.hostname or "", parts.port, timeout=seconds)
        self._prefix = parts.path.rstrip("/")
        token = token or os.environ.get(TOKEN)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, path: str, body: bytes | None = None) -> Reply:
        """Send a POST with a body, a GET without; OSError or HTTPException where that fails."""
        method = "GET" if body is None else "POST"
        headers = {**self._headers, "Content-Type": "application/msgpack"}
        if self._connection is None:
            self._connection = self._connect()
        try:
            if self._connection.sock is None:
                self._connection.connect()
            self._connection.request(method, self._prefix + path, body, headers)
            response = self._connection.getresponse()
            content = response.read(MOST_BYTES)
            if response.length and len(content) < MOST_BYTES:
                # Reading up to a number of bytes does not notice a connection that broke.
                raise http.client.IncompleteRead(content, response.length)
            if not response.isclosed():
                # What is left unread would be taken for the next answer.
                self.close()
            return Reply(response.status, content, _seconds(response.headers.get("Retry-After")))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def info(self) -> wire.ServerInfo:
        """Who answers.

        Raises:
            TutorialError: nobody does, the token is wrong, or it is another program.
        """
        try:
            reply = self.ask(wire.INFO_PATH)
        except (OSError, http.client.HTTPException) as e:
            what = f"No policy server answers at {self.url} ({_reason(e)})."
            remedy = "Start one there with `vla-tutorial serve`, or give its address with --url."
            raise TutorialError(f"{what} {remedy}") from e
        if reply.status != 200:
            raise TutorialError(f"The server at {self.url} refuses: {_sentence(reply)}")
        info = wire.unpack(reply.body, wire.ServerInfo, f"The answer of {self.url}")
        if info.version != wire.VERSION:
            what = f"The server at {self.url} speaks version {info.version}"
            remedy = "Install the same version of vla-tutorial on both sides."
            raise TutorialError(f"{what}, this program version {wire.VERSION}. {remedy}")
        return info


class RemotePolicy:
    """The policy that a server answers for; to `loop.rollout` it looks like any other.

    `provenance` is the server's, with its address and the latency when this was made.

    Args:
        url, token: as `Server` takes them.
        form: how pictures travel. None: raw to this machine, else PNG; both lose nothing.
        patience: seconds in which a request is tried again.
    """

    privileged = False

    def __init__(
        self,
        url: str,
        token: str | None = None,
        form: wire.Form | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._server = Server(url, token)
        host = urllib.parse.urlsplit(url).hostname
        self._form: wire.Form = form or ("raw" if host in ("127.0.0.1", "localhost") else "png")
        self._patience = patience
        self._client = uuid.uuid4().hex
        # A connection carries one request at a time.
        self._lock = threading.Lock()
        info = self._server.info()
        self.name = info.policy
        self.statistics: Mapping[str, ActionStatistics] = info.parsed_statistics()
        self.provenance: Mapping[str, Any] = {
            **info.provenance,
            "weights": info.weights,
            "served_at": self._server.url,
            "latency_ms": round(self._probe(), 1),
        }

    def _probe(self) -> float:
        """Milliseconds of an answer about a black picture."""
        text = Prompt(OPENVLA_TEMPLATE.format(instruction="wait"))
        black = PolicyInput(np.zeros((SIZE, SIZE, 3), np.uint8), text)
        taken = []
        for _ in range(PROBES):
            started = time.perf_counter()
            self.predict([black])
            taken.append(1000 * (time.perf_counter() - started))
        return stats.median(taken)

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """N inputs → (N, D) token ids, as the served policy gives them.

        Raises:
            PolicyUnreachable: no answer came in `patience` seconds.
            TutorialError: the server refuses the request.
        """
        rows: list[list[int]] = []
        for start in range(0, len(batch), wire.MAX_INPUTS):
            rows += self._ask(batch[start : start + wire.MAX_INPUTS])
        return np.array(rows, np.int64)

    def _ask(self, batch: Sequence[PolicyInput]) -> list[list[int]]:
        inputs = []
        for item in batch:
            picture = wire.encode_picture(item.pixels, self._form)
            inputs.append(
                wire.AskedInput(picture, self._form, item.prompt.text, item.prompt.empty_token)
            )
        with self._lock:
            why = "no answer"
            for _ in _attempts(self._patience):
                # A new id each time: a late answer to an earlier attempt is then told apart.
                ask = wire.Ask(uuid.uuid4().hex, self._client, inputs)
                try:
                    reply = self._server.ask(wire.PATH, msgspec.msgpack.encode(ask))
                    return self._read(reply, ask)
                except _TryAgain as e:
                    why = str(e)
                    time.sleep(e.seconds)
                except (OSError, http.client.HTTPException) as e:
                    why = _reason(e)
        what = f"The policy server at {self._server.url} gave no answer in {self._patience:.0f} s"
        remedy = "Start it again, or check the network; then run the episode again."
        raise PolicyUnreachable(f"{what} ({why}). {remedy}")

    def _read(self, reply: Reply, ask: wire.Ask) -> list[list[int]]:
        if reply.status in BUSY or _is_of_proxy(reply):
            raise _TryAgain(_sentence(reply), reply.retry_after)
        if reply.status != 200:
            raise TutorialError(f"The server at {self._server.url} refuses: {_sentence(reply)}")
        answer = wire.unpack(reply.body, wire.Answer, f"The answer of {self._server.url}")
        if answer.id != ask.id or len(answer.tokens) != len(ask.inputs):
            self._server.close()
            raise _TryAgain("the answer is another request's")
        return answer.tokens

    def close(self) -> None:
        """Close the connection."""
        self._server.close()


class _Refused(msgspec.Struct):
    detail: str


class _TryAgain(Exception):
    """The same request may succeed after so many seconds."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        super().__init__(why)
        self.seconds = seconds


def _attempts(patience: float) -> Iterator[int]:
    """Numbers of attempts, with a pause before each but the first, until patience has ended."""
    ends = time.monotonic() + patience
    number = 0
    while True:
        yield number
        pause = PAUSES[min(number, len(PAUSES) - 1)]
        number += 1
        if time.monotonic() + pause > ends:
            return
        time.sleep(pause)


def _parse(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid:
        raise TutorialError(f"{url!r} is not the address of a server; expected http://host:port.")
    return parts


def _seconds(text: str | None) -> float:
    with contextlib.suppress(ValueError):
        return min(max(float(text or 0), 0.0), 10.0)
    return 0.0


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _is_of_proxy(reply: Reply) -> bool:
    """Whether a 500 comes from before the server, as Ray Serve's where a copy has just died."""
    return reply.status == 500 and _detail(reply) is None


def _detail(reply: Reply) -> str | None:
    """The server's own sentence, which every error of its own has."""
    with contextlib.suppress(ValueError):
        return msgspec.json.decode(reply.body, type=_Refused).detail
    return None


def _sentence(reply: Reply) -> str:
    """What is said of an error, on one line of at most 300 characters."""
    text = _detail(reply) or reply.body.decode("utf-8", "replace")
    line = "".join(letter if letter.isprintable() else " " for letter in text[:300])
    return f"{line} (status {reply.status})"


@cache
def describe(url: str) -> wire.ServerInfo:
    """Who answers at `url`, asked once a process; raises as `Server.info`."""
    server = Server(url, seconds=DESCRIBE_SECONDS)
    try:
        return server.info()
    finally:
        server.close()
