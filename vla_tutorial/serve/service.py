"""What all protocols share: a policy, who may ask, in which turn, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from vla_tutorial import actions
from vla_tutorial.arrays import Floats, Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import Policy, PolicyInput
from vla_tutorial.policies.base import answers_with_actions, chunk_size
from vla_tutorial.policies.wire import ServerInfo
from vla_tutorial.provenance import weights_hash
from vla_tutorial.serve.access import Access, Visitor
from vla_tutorial.serve.answering import Answering
from vla_tutorial.serve.limits import Held, Limits, RateLimiter, Refusal
from vla_tutorial.serve.pictures import How, prepare
from vla_tutorial.serve.traffic import Answered, Traffic
from vla_tutorial.sim import base_suite

T = TypeVar("T")

MOST_CHUNK = 50
"""Times that an action is repeated for a client which insists on a chunk."""


@dataclass(frozen=True)
class Settings:
    """What the command line decides.

    Attributes:
        unnorm_key: of clients that name none; None takes the policy's own.
        compatible_errors: answer every error of `/act` as OpenVLA's server does: 200, "error".
        chunk: actions in an answer to openpi's clients, all the same.
        threads: that decode and prepare pictures.
    """

    unnorm_key: str | None = None
    compatible_errors: bool = False
    chunk: int = 1
    threads: int = 2


@dataclass(frozen=True)
class Acted:
    """An answer in all its forms.

    Attributes:
        tokens: (7,) int64.
        action: (7,) float64 in the units of the data; the gripper is closed below 0.5.
        command: (7,) float64 as LIBERO's `env.step` takes it; the gripper −1 open, +1 closed.
        picture: what was done to the picture, in ASCII.
    """

    tokens: Ints
    action: Floats
    command: Floats
    picture: str
    answered: Answered


class Service:
    """One policy, served.

    Args:
        policy: not privileged, for clients cannot send a simulator's state.
    """

    def __init__(
        self,
        policy: Policy,
        access: Access | None = None,
        limits: Limits | None = None,
        settings: Settings | None = None,
    ) -> None:
        if policy.privileged:
            what = f"{policy.name} reads the simulator's state, which no client can send"
            raise TutorialError(f"{what}. Serve mini or openvla.")
        served_at = policy.provenance.get("served_at")
        if served_at is not None:
            what = f"{policy.name} is itself served at {served_at}"
            raise TutorialError(f"{what}. Let the clients connect there, or serve mini or openvla.")
        if answers_with_actions(policy) or chunk_size(policy) > 1:
            what = f"{policy.name} does not answer with one action's tokens, which clients get"
            raise TutorialError(f"{what}. Serve mini or openvla.")
        self.policy = policy
        self.access = access or Access()
        self.limits = limits or Limits()
        self.held = Held(self.limits.held_bytes)
        self.settings = settings or Settings()
        if not 1 <= self.settings.chunk <= MOST_CHUNK:
            raise TutorialError(f"A chunk has {self.settings.chunk} actions; expected 1 to 50.")
        if self.settings.unnorm_key is not None:
            self._statistics(self.settings.unnorm_key)
        self.answering = Answering(policy, self.limits)
        self.traffic = Traffic(lambda: self.answering.waiting)
        self._rates = RateLimiter(self.limits.per_second)
        self._threads = ThreadPoolExecutor(self.settings.threads, "vla-pictures")

    @cached_property
    def info(self) -> ServerInfo:
        """Who answers."""
        policy = self.policy
        return ServerInfo.of(
            policy.name,
            policy.statistics,
            policy.provenance,
            weights_hash(policy),
        )

    def check_rate(self, visitor: Visitor, pictures: int = 1) -> None:
        """Raise a Refusal (429) if a client sends more than it may."""
        seconds = self._rates.take(visitor.key, pictures)
        if seconds:
            what = f"More than {self.limits.per_second:.0f} pictures a second came from you"
            raise Refusal(429, f"{what}. Try again in {seconds:.2f} s.", retry_after=seconds)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what takes milliseconds, such as decoding a picture, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def predict(
        self, visitor: Visitor, protocol: str, inputs: Sequence[PolicyInput]
    ) -> list[tuple[Ints, Answered]]:
        """Tokens for inputs that are ready; raises as `Answering.ask`."""
        found = await self.answering.ask(visitor, inputs)
        for _, answered in found:
            self.traffic.answered(visitor, protocol, answered)
        return found

    async def act(
        self,
        visitor: Visitor,
        protocol: str,
        picture: Callable[[], Picture],
        instruction: str,
        how: How,
        key: str | None = None,
    ) -> Acted:
        """One action for one picture, which `picture` decodes.

        Args:
            key: whose statistics turn tokens into motion; None takes the server's.

        Raises:
            Refusal: as `predict`, or the rate is too high.
            TutorialError: the picture, the instruction or the key is invalid.
        """
        self.check_rate(visitor)
        statistics = self._statistics(key or self.default_key())
        item, done = await self.aside(lambda: prepare(picture(), instruction, how))
        ((tokens, answered),) = await self.predict(visitor, protocol, [item])
        action = actions.decode(tokens, statistics)
        command = actions.to_libero(action, "binarised", 1.0)
        return Acted(tokens, action, command, done, answered)

    def _statistics(self, key: str) -> actions.ActionStatistics:
        known = self.policy.statistics or actions.embedded_statistics()
        return actions.find_statistics(key, known)

    def default_key(self, suite: str | None = None) -> str:
        """The unnorm key of a client that names none.

        Args:
            suite: LIBERO's, where the client names one.

        Raises:
            TutorialError: the policy has several, and nothing says which.
        """
        if self.settings.unnorm_key is not None:
            return self.settings.unnorm_key
        known = list(self.policy.statistics)
        for name in _names_of(suite) if suite is not None else ():
            if name in known:
                return name
        if len(known) == 1:
            return known[0]
        listed = ", ".join(known or actions.embedded_statistics())
        raise TutorialError(f"Name an unnorm_key of {listed}, or start with --unnorm-key.")

    def close(self) -> None:
        """Stop all threads, after what they do now."""
        self.answering.close()
        self._threads.shutdown(cancel_futures=True)


def _names_of(suite: str) -> tuple[str, str]:
    """What statistics of a suite are called: published checkpoints name the data set."""
    base = base_suite(suite)
    return base, f"{base}_no_noops"
