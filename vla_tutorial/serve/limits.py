"""What a client may ask for, and what it is told when that is too much."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

TOO_MUCH = "The server holds too many requests. Try again."


@dataclass(frozen=True)
class Limits:
    """Bounds of the server; whoever is over one gets a status and a sentence.

    Attributes:
        body_bytes: of a request, and of a message on a websocket.
        held_bytes: of all requests and messages that are being read or answered.
        waiting: pictures that wait for the policy, of all clients.
        waiting_each: of one client.
        per_second: pictures of one client, on average; as many again may come at once.
        sessions: open websockets.
        read_seconds: in which a request must have arrived whole, and a connection must have sent
            the head of its next one.
        write_seconds: in which a client must have taken what was sent to it.
        idle_seconds: after which a silent websocket is closed.
    """

    body_bytes: int = 4 * 2**20
    held_bytes: int = 256 * 2**20
    waiting: int = 256
    waiting_each: int = 64
    per_second: float = 200.0
    sessions: int = 256
    read_seconds: float = 15.0
    write_seconds: float = 15.0
    idle_seconds: float = 600.0


class Refusal(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        sentence: what is wrong, what was expected, and what to do.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(self, status: int, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_after = retry_after


class Held:
    """Counts the bytes that the server holds for its clients, on whichever protocol they came.

    Attributes:
        size: bytes at present.
    """

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most

    @property
    def too_many(self) -> bool:
        """Whether there are more than allowed."""
        return self.size > self._most

    @contextlib.contextmanager
    def of(self, message: bytes) -> Iterator[None]:
        """Count a message until the end of the block.

        Raises:
            Refusal: the server holds too much (503).
        """
        self.size += len(message)
        try:
            if self.too_many:
                raise Refusal(503, TOO_MUCH, retry_after=1.0)
            yield
        finally:
            self.size -= len(message)


class RateLimiter:
    """A bucket for each client: it holds a second's worth of pictures and fills all the time."""

    def __init__(self, per_second: float, most_clients: int = 1024) -> None:
        self._rate = per_second
        self._most_clients = most_clients
        # Client → pictures that it may still send, and when that was so; the longest silent first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, pictures: int) -> float:
        """Take from the client's bucket.

        Returns:
            0, or the seconds until there is enough in it; then nothing was taken.
        """
        now = time.monotonic()
        left, then = self._buckets.pop(client, (self._rate, now))
        left = min(self._rate, left + (now - then) * self._rate)
        # A request of more than a second's worth is taken from a full bucket.
        missing = min(pictures, self._rate) - left
        if missing <= 0:
            left -= pictures
        self._buckets[client] = (left, now)
        if len(self._buckets) > self._most_clients:
            self._buckets.popitem(last=False)
        return max(0.0, missing / self._rate)
