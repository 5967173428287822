"""The server's process: uvicorn, with a limit to how long a client may take to say anything."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from vla_tutorial.errors import TutorialError
from vla_tutorial.serve.limits import Limits

PATIENCE = 5
"""Seconds that open connections have to end when the server stops."""

LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
)


def _protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP with a time limit for the head of each request, against slow-loris."""

    class Punctual(H11Protocol):
        """Closes a connection on which no request begins in time."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_waiting()
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


def make_server(app: Starlette, limits: Limits) -> uvicorn.Server:
    """A server that is not yet started; `run` takes the socket that it listens on."""
    config = uvicorn.Config(
        app,
        http=_protocol(limits.read_seconds),
        ws="websockets-sansio",
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
