"""Bodies of requests: whole, in time, and never more of them than the memory holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from vla_tutorial.serve.limits import TOO_MUCH, Held, Limits, Refusal

MOST_DISCARDED = 16
"""How many times the allowed size is read and thrown away, so that the client hears why."""


class Intake:
    """Reads bodies and counts their bytes until their requests are answered."""

    def __init__(self, limits: Limits, held: Held) -> None:
        self._limits = limits
        self._held = held

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, whose bytes count until the end of the block.

        Raises:
            Refusal: it is too large (413) or too slow (408), the client ended it half-way (400), or
                the server holds too much (503).
        """
        read = bytearray()
        seconds = self._limits.read_seconds
        try:
            try:
                async with asyncio.timeout(seconds):
                    await self._read(request, read)
            except TimeoutError as e:
                what = f"The request did not arrive whole in {seconds:.0f} s"
                raise Refusal(408, f"{what}. Send less, or check the network.") from e
            except ClientDisconnect as e:
                raise Refusal(400, "The client left before its request was complete.") from e
            yield bytes(read)
        finally:
            self._held.size -= len(read)

    async def _read(self, request: Request, read: bytearray) -> None:
        # One generator: Starlette gives no second one after the body's last part.
        stream = request.stream()
        async for chunk in stream:
            read += chunk
            self._held.size += len(chunk)
            if len(read) > self._limits.body_bytes or self._held.too_many:
                await self._discard(stream, len(read))

    async def _discard(self, stream: AsyncIterator[bytes], size: int) -> None:
        """Read what is left, for a client that only then listens, and refuse."""
        allowed = self._limits.body_bytes
        rest = 0
        async for chunk in stream:
            rest += len(chunk)
            if size + rest > MOST_DISCARDED * allowed:
                break
        if size > allowed:
            what = f"The request has more than {allowed / 2**20:.0f} MiB"
            raise Refusal(413, f"{what}. Send one picture of at most 1024 pixels a side.")
        raise Refusal(503, TOO_MUCH, retry_after=1.0)
