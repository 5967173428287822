"""The batching queue: pictures of all clients in turn, answered by one policy in one thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vla_tutorial.arrays import Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import Policy, PolicyInput, PolicyUnreachable
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.fair_queue import FairQueue
from vla_tutorial.serve.limits import Limits, Refusal
from vla_tutorial.serve.traffic import Answered
from vla_tutorial.sweep.policy_server import PolicyServer, Question
from vla_tutorial.sweep.remote_policy import PolicyError

log = logging.getLogger(__name__)

UNHEALTHY = 3
"""Batches in a row that failed for a reason of the policy's own; then /healthz says so."""


@dataclass(eq=False)
class _Waiting:
    item: PolicyInput
    answer: asyncio.Future[tuple[Ints, Answered]]
    position: int
    queue_length: int
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class _Outcome:
    tokens: Ints | None
    error: Exception | None
    seconds: float
    batch: int


class Answering:
    """Asks the policy in batches of the size that gives most answers a second.

    Attributes:
        server: the sweep's: it knows the sizes, and that a CPU answers one at a time.
        failures: batches in a row in which the policy itself failed.
    """

    def __init__(self, policy: Policy, limits: Limits) -> None:
        self.server = PolicyServer(policy)
        self.failures = 0
        self._limits = limits
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._thread = ThreadPoolExecutor(1, "vla-policy")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Pictures that wait."""
        return len(self._queue)

    async def ask(
        self, visitor: Visitor, inputs: Sequence[PolicyInput]
    ) -> list[tuple[Ints, Answered]]:
        """(D,) tokens for each input, and how they came about.

        Raises:
            Refusal: too many wait already or the policy cannot be reached (503), an input is
                invalid (422), or the policy failed (500).
        """
        self._check_room(visitor, len(inputs))
        loop = asyncio.get_running_loop()
        mine = []
        for item in inputs:
            waiting = _Waiting(item, loop.create_future(), 0, len(self._queue))
            waiting.position = self._queue.put(visitor.key, waiting)
            mine.append(waiting)
        if self._task is None or self._task.done():
            # Not awaited: it runs for as long as anybody waits.
            self._task = asyncio.create_task(self._run())
        answers = asyncio.gather(*(waiting.answer for waiting in mine))
        try:
            return await answers
        finally:
            # Where one failed or the client has gone, the others need no answer.
            for waiting in mine:
                waiting.answer.cancel()

    def _check_room(self, visitor: Visitor, more: int) -> None:
        own = self._queue.of(visitor.key)
        if own + more > self._limits.waiting_each:
            what = f"{own} of your pictures wait already, and {more} more are too many"
            allowed = f"expected at most {self._limits.waiting_each}"
            raise Refusal(503, f"{what}; {allowed}. Try again.", retry_after=0.5)
        if len(self._queue) + more > self._limits.waiting:
            # Those of clients that have gone take no room.
            self._queue.discard(lambda waiting: waiting.answer.done())
        if len(self._queue) + more > self._limits.waiting:
            what = f"The server is full: {len(self._queue)} pictures wait"
            raise Refusal(503, f"{what}. Try again in a second.", retry_after=1.0)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._queue):
            count = 1
            if self.server.together:
                count = self.server.batch_size(len(self._queue))
            taken = self._queue.take(count)
            batch = [waiting for waiting in taken if not waiting.answer.done()]
            if not batch:
                continue
            inputs = [waiting.item for waiting in batch]
            started = time.perf_counter()
            try:
                outcomes = await loop.run_in_executor(self._thread, self._answer, inputs)
            except Exception as e:
                # As when the thread was stopped: nobody may wait for ever.
                log.exception("A batch of %d failed", len(batch))
                outcomes = [_Outcome(None, e, 0.0, len(batch))] * len(batch)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                self._tell(waiting, outcome, started)

    def _tell(self, waiting: _Waiting, outcome: _Outcome, started: float) -> None:
        if waiting.answer.done():
            return
        if outcome.error is not None or outcome.tokens is None:
            waiting.answer.set_exception(_refusal(outcome.error))
            return
        answered = Answered(
            waiting.position,
            waiting.queue_length,
            wait_ms=round(1000 * (started - waiting.since), 2),
            infer_ms=round(1000 * outcome.seconds, 2),
            batch=outcome.batch,
        )
        waiting.answer.set_result((outcome.tokens, answered))

    def _answer(self, inputs: Sequence[PolicyInput]) -> list[_Outcome]:
        """Ask the policy, in its thread. An input that it refuses spoils no other's answer."""
        questions = [Question([item]) for item in inputs]
        started = time.perf_counter()
        try:
            self.server.answer(questions)
            answers = [question.answer.result()[0] for question in questions]
        except Exception as e:
            # All kinds: a policy's own code may raise any, or answer with too few rows, and
            # whoever waits must hear of it.
            away = isinstance(e, PolicyUnreachable)
            if len(inputs) > 1 and not away:
                outcomes = []
                for item in inputs:
                    outcomes += self._answer([item])
                return outcomes
            cause = e.__cause__ if isinstance(e, PolicyError) else e
            if away or not isinstance(cause, TutorialError):
                self.failures += 1
                # A PolicyError's text is a traceback already.
                log.warning("The policy failed: %s", e, exc_info=not isinstance(e, PolicyError))
            error = cause if isinstance(cause, Exception) else e
            return [_Outcome(None, error, 0.0, len(inputs))] * len(inputs)
        self.failures = 0
        seconds = time.perf_counter() - started
        return [_Outcome(tokens, None, seconds, len(inputs)) for tokens in answers]

    @property
    def healthy(self) -> bool:
        """Whether the policy answers."""
        return self.failures < UNHEALTHY

    def close(self) -> None:
        """Stop the policy's thread after the batch that runs."""
        self._thread.shutdown(cancel_futures=True)


def _refusal(error: Exception | None) -> Refusal:
    if isinstance(error, PolicyUnreachable):
        return Refusal(503, str(error), retry_after=1.0)
    if isinstance(error, TutorialError):
        return Refusal(422, str(error))
    # No traceback: it would name this machine's folders.
    kind = type(error).__name__
    return Refusal(500, f"The policy failed with {kind}; the server's log says where. Try again.")
