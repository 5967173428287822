"""The server's process: uvicorn, with limits to what a client may leave unsaid and unread."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import deque
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from vla_tutorial.errors import TutorialError
from vla_tutorial.serve.limits import TOO_MUCH, Held, Limits
from vla_tutorial.serve.service import Service

PATIENCE = 5
"""Seconds that open connections have to end when the server stops."""

SMALL = 64 * 2**10
"""Bytes of a message that are read even while the server holds too much."""

LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
)


OVERLOADED = 1013
"""A websocket's closing code: come again later."""


class _Reader:
    """A connection that is cut where the client does not take what was sent to it in time.

    Without it a client that never reads keeps its connection and its answers for ever: neither
    `send` nor `transport.close` ends before the last byte has gone.
    """

    write_seconds: float
    transport: Any
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # Any byte that the system does not take at once then pauses.
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)  # type: ignore[misc]

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        loop = asyncio.get_running_loop()
        self._unread = loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_cutting()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_cutting()
        super().connection_lost(exc)  # type: ignore[misc]

    def _stop_cutting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
        self._unread = None


def _websockets(limits: Limits, held: Held) -> type[WebSocketsSansIOProtocol]:
    """uvicorn's websockets, whose bytes count from the first until the message is taken."""

    class Counted(_Reader, WebSocketsSansIOProtocol):
        """Closes a connection whose bytes would be too many beside all others."""

        write_seconds = limits.write_seconds

        def connection_made(self, transport: Any) -> None:
            # Of the message that arrives, and of those that wait to be taken.
            self._arriving = 0
            self._waiting: deque[int] = deque()
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self._arriving += len(data)
            held.size += len(data)
            # A small message is always read: its answer may be that there is no room.
            if held.too_many and self._arriving > SMALL and not self.close_sent:
                self.conn.fail(OVERLOADED, TOO_MUCH)
                self.handle_parser_exception()
                return
            super().data_received(data)

        def send_receive_event_to_app(self) -> None:
            self._waiting.append(self._arriving)
            self._arriving = 0
            super().send_receive_event_to_app()

        async def receive(self) -> Any:
            message = await super().receive()
            if message["type"] == "websocket.receive":
                # Whoever answers it counts it from here on.
                held.size -= self._waiting.popleft()
            return message

        async def send(self, message: Any) -> None:
            if self.close_sent:
                # While an answer was made, too much came.
                raise ClientDisconnected
            await super().send(message)

        def connection_lost(self, exc: Exception | None) -> None:
            held.size -= self._arriving + sum(self._waiting)
            self._arriving = 0
            self._waiting.clear()
            super().connection_lost(exc)

    return Counted


def _http(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP with a time limit for the head of each request, against slow-loris."""
    seconds = limits.read_seconds

    class Punctual(_Reader, H11Protocol):
        """Closes a connection on which no request begins in time."""

        write_seconds = limits.write_seconds
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_waiting()
            self._stop_cutting()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._stop_waiting()
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._check)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = None

        def _check(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                # A request is being read or answered, which has limits of its own.
                return
            sentence = b'{"detail": "No request arrived in %d s."}' % seconds
            self.transport.write(LATE % (len(sentence), sentence))
            self.transport.close()

    return Punctual


def raise_file_limit() -> None:
    """Let this process have as many connections as the system allows; it starts with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Beyond the hard limit on some systems, as on macOS, where less is then left as it is.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def make_server(app: Starlette, service: Service) -> uvicorn.Server:
    """A server that is not yet started; `run` takes the socket that it listens on."""
    limits = service.limits
    config = uvicorn.Config(
        app,
        http=_http(limits),
        ws=_websockets(limits, service.held),
        ws_max_size=limits.body_bytes,
        ws_per_message_deflate=False,
        # A client that builds its simulator answers no ping for a minute; `idle_seconds` is
        # the limit of silence.
        ws_ping_interval=None,
        ws_ping_timeout=None,
        log_level="warning",
        access_log=False,
        # An address that a client claims for itself would be taken for its own.
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        timeout_graceful_shutdown=PATIENCE,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """The socket; port 0 takes a free one.

    Raises:
        TutorialError: the port is in use, or the address is not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as e:
        remedy = "Choose another --port, or --host 0.0.0.0 for all addresses of this machine."
        raise TutorialError(f"Nothing can listen at {host}:{port} ({e}). {remedy}") from e
    # Connections inherit it. Without it an answer's second packet waits 40 ms for the receipt of
    # its first; asyncio sets it on sockets that name their protocol alone.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
