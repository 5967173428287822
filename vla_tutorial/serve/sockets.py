"""A websocket from its beginning to its end, whichever protocol is spoken on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import Protocol

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from vla_tutorial.errors import TutorialError
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.limits import Refusal
from vla_tutorial.serve.service import Service

log = logging.getLogger(__name__)

GOING_AWAY = 1001
UNSUPPORTED = 1003


class Session(Protocol):
    """What a protocol does with one connection's messages."""

    protocol: str

    def greeting(self) -> bytes | None:
        """What the server says first."""

    async def answer(self, message: bytes) -> bytes | None:
        """A message's answer; a Refusal or a TutorialError becomes a text frame."""


class Sessions:
    """Opens and counts connections."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def serve(self, websocket: WebSocket, kind: type[Session]) -> None:
        """Run a connection to its end. Who may not have one gets a status and a sentence."""
        service = self._service
        protocol = kind.protocol
        visitor = None
        try:
            visitor = self._visitor(websocket)
            session = kind(service, visitor, websocket.query_params)  # type: ignore[call-arg]
        except Refusal as e:
            service.traffic.refused(visitor, protocol, e.status)
            await websocket.send_denial_response(_denial(e.status, e.sentence))
            return
        except TutorialError as e:
            service.traffic.refused(visitor, protocol, 422)
            await websocket.send_denial_response(_denial(422, str(e)))
            return
        await websocket.accept()
        service.traffic.sessions += 1
        try:
            with contextlib.suppress(WebSocketDisconnect):
                await self._converse(websocket, session, visitor)
        finally:
            service.traffic.sessions -= 1

    def _visitor(self, websocket: WebSocket) -> Visitor:
        """Who connects. A connection is a client of its own unless tokens tell them apart."""
        service = self._service
        if service.traffic.sessions >= service.limits.sessions:
            raise Refusal(503, f"The server has {service.limits.sessions} websockets open already.")
        address = websocket.client.host if websocket.client else "?"
        headers = dict(websocket.headers)
        own = uuid.uuid4().hex[:8]
        return service.access.visitor(headers, dict(websocket.query_params), address, own)

    async def _converse(self, websocket: WebSocket, session: Session, visitor: Visitor) -> None:
        greeting = session.greeting()
        if greeting is not None:
            await websocket.send_bytes(greeting)
        idle = self._service.limits.idle_seconds
        while True:
            try:
                async with asyncio.timeout(idle):
                    message = await websocket.receive()
            except TimeoutError:
                await websocket.close(GOING_AWAY, f"silent for {idle:.0f} s")
                return
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                await websocket.close(UNSUPPORTED, "messages are binary: MessagePack")
                return
            await self._reply(websocket, session, visitor, data)

    async def _reply(
        self, websocket: WebSocket, session: Session, visitor: Visitor, data: bytes
    ) -> None:
        traffic = self._service.traffic
        try:
            with self._service.held.of(data):
                reply = await session.answer(data)
        except Refusal as e:
            traffic.refused(visitor, session.protocol, e.status)
            await websocket.send_text(e.sentence)
        except TutorialError as e:
            traffic.refused(visitor, session.protocol, 422)
            await websocket.send_text(str(e))
        except Exception as e:
            log.exception("A request of %s failed", visitor.name)
            traffic.refused(visitor, session.protocol, 500)
            await websocket.send_text(f"The server failed with {type(e).__name__}.")
        else:
            if reply is not None:
                await websocket.send_bytes(reply)


def _denial(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)
