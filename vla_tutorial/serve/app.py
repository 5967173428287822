"""The app: every address of the server, and what each kind of error is answered with."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.wire import INFO_PATH, PATH
from vla_tutorial.serve import act, openpi, tokens, vla_eval
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.intake import Intake
from vla_tutorial.serve.limits import Refusal
from vla_tutorial.serve.service import Service
from vla_tutorial.serve.sockets import Sessions

log = logging.getLogger(__name__)

MSGPACK = "application/msgpack"

Answer = Callable[[Visitor, bytes], Awaitable[Response]]


def make_app(service: Service) -> Starlette:
    """The ASGI app that serves one policy over every protocol."""
    sessions = Sessions(service)
    pages = _Pages(service)
    posts = _Posts(service)
    to_openpi = partial(sessions.serve, kind=openpi.Session)
    to_vla_eval = partial(sessions.serve, kind=vla_eval.Session)
    routes = [
        Route("/", pages.page),
        Route("/healthz", pages.health),
        # vla-eval's name of it.
        Route("/health", pages.health),
        Route("/metrics", pages.metrics),
        Route("/status.json", pages.status),
        Route(INFO_PATH, pages.info),
        Route("/act", posts.act, methods=["POST"]),
        Route(PATH, posts.predict, methods=["POST"]),
        WebSocketRoute("/", to_openpi),
        WebSocketRoute("/openpi", to_openpi),
        WebSocketRoute("/vla-eval", to_vla_eval),
    ]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_such_address},
    )


async def _no_such_address(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = "/, /act, /v1/predict, /v1/policy, /status.json, /metrics and /healthz"
    return _error(status, f"{request.method} {request.url.path[:80]}: expected one of {known}.")


def _error(status: int, sentence: str, retry_after: float | None = None) -> JSONResponse:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:.2f}"}
    return JSONResponse({"detail": sentence}, status, headers)


class _Pages:
    """What is only looked at."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def page(self, _request: Request) -> Response:
        """The status page. It holds nothing: its script asks for /status.json."""
        page = resources.files("vla_tutorial.serve").joinpath("status.html").read_text("utf-8")
        return HTMLResponse(page)

    async def health(self, _request: Request) -> Response:
        """Whether the policy answers; 503 after several failures in a row."""
        if self._service.answering.healthy:
            return JSONResponse({"status": "ok"})
        return _error(503, "The policy failed several times in a row; see the server's log.")

    async def metrics(self, request: Request) -> Response:
        """For Prometheus, whose version 3 reads nothing without a content type."""

        def found() -> Response:
            text, kind = self._service.traffic.metrics(request.headers.get("accept", ""))
            return Response(text, headers={"Content-Type": kind})

        return self._seen(request, found)

    async def status(self, request: Request) -> Response:
        """For the page."""

        def found() -> Response:
            policy = {"policy": self._service.info.policy, **self._service.policy.provenance}
            about = {"about": policy, **self._service.traffic.status()}
            content = msgspec.json.encode(about, enc_hook=str)
            return Response(content, media_type="application/json")

        return self._seen(request, found)

    async def info(self, request: Request) -> Response:
        """Who answers, for clients of our own form."""

        def found() -> Response:
            content = msgspec.msgpack.encode(self._service.info, enc_hook=str)
            return Response(content, media_type=MSGPACK)

        return self._seen(request, found)

    def _seen(self, request: Request, show: Callable[[], Response]) -> Response:
        try:
            _visitor(self._service, request)
        except Refusal as e:
            return _error(e.status, e.sentence)
        return show()


class _Posts:
    """Questions with a body."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._intake = Intake(service.limits, service.held)

    async def act(self, request: Request) -> Response:
        """OpenVLA's protocol."""

        async def answer(visitor: Visitor, body: bytes) -> Response:
            content, acted = await act.answer(self._service, visitor, act.parse(body))
            return Response(content, 200, act.headers(acted), "application/json")

        response = await self._respond(request, act.PROTOCOL, answer)
        if response.status_code != 200 and self._service.settings.compatible_errors:
            return JSONResponse("error")
        return response

    async def predict(self, request: Request) -> Response:
        """Our own."""

        async def answer(visitor: Visitor, body: bytes) -> Response:
            ask = tokens.parse(body)
            if len(self._service.access.names) < 2:
                # No token tells clients apart, so each says itself who it is.
                visitor = Visitor(f"{visitor.key} {ask.client}", visitor.name)
            content = await tokens.answer(self._service, visitor, ask)
            return Response(content, media_type=MSGPACK)

        return await self._respond(request, tokens.PROTOCOL, answer)

    async def _respond(self, request: Request, protocol: str, answer: Answer) -> Response:
        visitor = None
        try:
            visitor = _visitor(self._service, request)
            async with self._intake.body(request) as body:
                return await answer(visitor, body)
        except Refusal as e:
            refusal = e
        except TutorialError as e:
            refusal = Refusal(422, str(e))
        except Exception as e:
            log.exception("A request failed")
            refusal = Refusal(500, f"The server failed with {type(e).__name__}.")
        self._service.traffic.refused(visitor, protocol, refusal.status)
        return _error(refusal.status, refusal.sentence, refusal.retry_after)


def _visitor(service: Service, request: Request) -> Visitor:
    """Who asks; an address is one client, unless it names several with X-Client."""
    address = request.client.host if request.client else "?"
    own = request.headers.get("x-client", "")[:40]
    return service.access.visitor(dict(request.headers), dict(request.query_params), address, own)
