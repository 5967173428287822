"""When a policy is asked, and what the arm does until its answer is there.

As published, the simulator waits: each control step gets an answer of its own. In live mode it does
not, and a policy that answers with a chunk of actions is asked once for several steps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.policies.base import Policy, PolicyInput, own_replan_steps
from vla_tutorial.wiring import Wiring

REST: Floats = np.array([0, 0, 0, 0, 0, 0, 1.0])
"""No motion, gripper open, in a policy's numbers: what the arm gets before the first answer."""


@dataclass(frozen=True)
class Turn:
    """What one control step executes.

    Attributes:
        answer: (7,) int64 tokens, or float64 an action in the data's units.
        waiting: whether the policy was still thinking.
    """

    answer: Ints | Floats
    waiting: bool = False


class Timing:
    """Asks the policy of one episode.

    An answer that comes within the control step of its question is executed in that step. A later
    one is executed as soon as it is there, and the next question shows the picture of that time.
    """

    def __init__(
        self,
        policy: Policy,
        wiring: Wiring,
        statistics: actions.ActionStatistics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Get ready; `clock` gives seconds, in which live mode measures how long answers take."""
        self._policy = policy
        self._wiring = wiring
        self._statistics = statistics
        self._clock = clock
        self._chunks: deque[Ints | Floats] = deque(maxlen=wiring.stale_chunks + 1)
        # Actions of the present chunk that are left, and how many of them to take until a question.
        self._plan: deque[Ints | Floats] = deque()
        self._until_question = 0
        self._coming: Ints | Floats | None = None
        self._wait = 0
        self._last: Ints | Floats = REST

    def turn(self, item: PolicyInput) -> Turn:
        """What the arm does in this control step, whose picture and prompt are `item`."""
        if self._coming is None and self._until_question == 0:
            self._ask(item)
        if self._coming is not None and self._wait == 0:
            self._begin(self._coming)
        if self._coming is not None:
            self._wait -= 1
            return Turn(self._meanwhile(), waiting=True)
        self._until_question -= 1
        self._last = self._plan.popleft()
        return Turn(self._last)

    def _ask(self, item: PolicyInput) -> None:
        started = self._clock()
        answer = self._policy.predict([item])[0]
        seconds = self._clock() - started
        # One action, (7,), is a chunk of one: (1, 7).
        self._coming = np.atleast_2d(answer)
        self._wait = self._wiring.latency
        if self._wiring.realtime is not None:
            self._wait += int(seconds * self._wiring.realtime)

    def _begin(self, chunk: Ints | Floats) -> None:
        self._chunks.append(chunk)
        self._coming = None
        self._plan = deque(self._chunks[0])
        steps = self._wiring.replan_steps or own_replan_steps(self._policy) or len(self._plan)
        self._until_question = min(steps, len(self._plan))

    def _meanwhile(self) -> Ints | Floats:
        if self._wiring.while_waiting == "zero":
            held = REST.copy()
            vocabulary = self._wiring.vocabulary
            held[6] = actions.decode_answer(self._last, self._statistics, vocabulary)[6]
            return held
        if self._plan:
            self._last = self._plan.popleft()
        return self._last
