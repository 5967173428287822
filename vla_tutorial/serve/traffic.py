"""What goes on: for the status page as JSON, and for Prometheus as its text."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Count
from prometheus_client.exposition import choose_encoder

from vla_tutorial.serve.access import Visitor

WINDOW = 30.0
"""Seconds over which the page counts."""

MOST_ANSWERS = 20_000
"""Answers that are kept for it: 600 a second for that long."""

MOST_CLIENTS = 512
"""Clients that are kept, the longest silent are dropped first."""

PERCENTILES = (50, 95, 99)

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Limits of the latency's classes for Prometheus."""

BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Answered:
    """One picture's answer.

    Attributes:
        position: how many pictures were to be answered before it when it arrived.
        queue_length: how many waited then.
        wait_ms, infer_ms: until its batch began, and what that took.
        batch: pictures in it.
    """

    position: int
    queue_length: int
    wait_ms: float
    infer_ms: float
    batch: int


@dataclass
class _Client:
    name: str
    protocol: str
    since: float
    seen: float
    answers: int = 0
    refused: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=1000))


class Traffic:
    """Counts answers and refusals, by client and as a whole.

    Args:
        waiting: how many pictures wait now.
        clock: seconds; tests pass another.
    """

    def __init__(
        self, waiting: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._started = clock()
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        # Time, seconds from arrival to answer, pictures in the batch.
        self._answers: deque[tuple[float, float, int]] = deque(maxlen=MOST_ANSWERS)
        self.sessions = 0
        self._registry = CollectorRegistry()
        self._make_metrics()

    def _make_metrics(self) -> None:
        registry = self._registry
        prefix = "vla_tutorial_"
        self._answered = Count(
            f"{prefix}answers",
            "Pictures answered.",
            ["protocol"],
            registry=registry,
        )
        self._refused = Count(
            f"{prefix}refusals",
            "Requests refused, by status.",
            ["protocol", "status"],
            registry=registry,
        )
        self._latency = Histogram(
            f"{prefix}latency_seconds",
            "From a picture's arrival to its tokens.",
            registry=registry,
            buckets=SECONDS,
        )
        self._batch = Histogram(
            f"{prefix}batch_pictures",
            "Size of the batch that a picture was in.",
            registry=registry,
            buckets=BATCHES,
        )
        waiting = Gauge(f"{prefix}waiting", "Pictures that wait.", registry=registry)
        waiting.set_function(self._waiting)
        sessions = Gauge(f"{prefix}sessions", "Open websockets.", registry=registry)
        sessions.set_function(lambda: self.sessions)

    def _client(self, visitor: Visitor, protocol: str) -> _Client:
        now = self._clock()
        client = self._clients.pop(visitor.key, None)
        if client is None:
            client = _Client(visitor.name, protocol, now, now)
        client.protocol = protocol
        client.seen = now
        # To the end, so that the first is the longest silent.
        self._clients[visitor.key] = client
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return client

    def answered(self, visitor: Visitor, protocol: str, answer: Answered) -> None:
        """Count one picture's answer."""
        client = self._client(visitor, protocol)
        client.answers += 1
        now = self._clock()
        client.times.append(now)
        seconds = (answer.wait_ms + answer.infer_ms) / 1000
        self._answers.append((now, seconds, answer.batch))
        self._answered.labels(protocol).inc()
        self._latency.observe(seconds)
        self._batch.observe(answer.batch)

    def refused(self, visitor: Visitor | None, protocol: str, status: int) -> None:
        """Count a refusal; None for somebody without a token."""
        if visitor is not None:
            self._client(visitor, protocol).refused += 1
        self._refused.labels(protocol, str(status)).inc()

    def metrics(self, accept: str = "") -> tuple[bytes, str]:
        """What Prometheus reads, and its content type; `accept` is the header of its request."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def status(self) -> dict[str, Any]:
        """What the page shows. Rates and percentiles are of the last `WINDOW` seconds."""
        now = self._clock()
        begin = now - WINDOW
        recent = [answer for answer in self._answers if answer[0] >= begin]
        span = min(WINDOW, max(now - self._started, 1.0))
        latency: dict[str, float] = {}
        if recent:
            found = np.percentile([1000 * seconds for _, seconds, _ in recent], PERCENTILES)
            names = [f"p{share}" for share in PERCENTILES]
            latency = dict(zip(names, found.round(1).tolist(), strict=True))
        return {
            "seconds": round(now - self._started, 1),
            "waiting": self._waiting(),
            "sessions": self.sessions,
            "actions_per_second": round(len(recent) / span, 2),
            "latency_ms": latency,
            "batches": _histogram(recent),
            "clients": [self._line(client, now, span) for client in self._clients.values()],
        }

    @staticmethod
    def _line(client: _Client, now: float, span: float) -> dict[str, Any]:
        recent = sum(at >= now - WINDOW for at in client.times)
        return {
            "name": client.name,
            "protocol": client.protocol,
            "connected_seconds": round(now - client.since, 1),
            "silent_seconds": round(now - client.seen, 1),
            "answers": client.answers,
            "refused": client.refused,
            "actions_per_second": round(recent / span, 2),
        }


def _histogram(answers: list[tuple[float, float, int]]) -> dict[str, int]:
    """Batches by their size; each picture of a batch of n counts as the n-th part of one."""
    pictures = Counter(batch for _, _, batch in answers)
    return {str(size): round(pictures[size] / size) for size in sorted(pictures)}
