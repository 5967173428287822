"""What runs on a Ray cluster: policies that are asked, and the workers that ask them. `cluster.py` is the driver's side."""
# Ray is an extra, and its decorators have no types:
# mypy: disable-error-code="misc, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import asyncio
import shutil
import tempfile
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.sweep.local_engine import MOST, serve_settings
from vla_tutorial.sweep.messages import (
    Alive,
    Ended,
    EpisodeRequest,
    Failed,
    Message,
    PolicyInfo,
    Ready,
)
from vla_tutorial.sweep.plan import Sweep
from vla_tutorial.sweep.policy_server import best_batch_size, load, prompts, warm_up
from vla_tutorial.sweep.remote_policy import PolicyError
from vla_tutorial.sweep.worker import Worker


class PolicyServer:
    """A policy that answers whoever has asked. If its node dies Ray starts it on another one and asks again."""

    def __init__(self, sweep: Sweep, askers: int) -> None:
        """Load the policy and make it ready for so many who ask."""
        self._policy, self._weights = load(sweep)
        self._seconds = warm_up(self._policy, prompts(sweep), askers)
        self._serving, self._together = serve_settings(PolicyInfo.of(self._policy), threads=1)
        self._waiting: list[tuple[list[Any], asyncio.Future[Any]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._serving_now: asyncio.Task[None] | None = None

    async def describe(self) -> tuple[PolicyInfo, str, dict[str, Any]]:
        """Who acts, the hash of its weights, and how it is asked."""
        return PolicyInfo.of(self._policy), self._weights, self._serving

    async def answer(self, items: list[Any]) -> NDArray[np.int64]:
        """Tokens (N, D) for N pairs of pixels and prompt, in one batch with what else has arrived."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if self._serving_now is None or self._serving_now.done():
            self._serving_now = asyncio.create_task(
                self._serve()
            )  # not awaited: it goes on for as long as anybody asks
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            count = best_batch_size(len(self._waiting), self._seconds, MOST)
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            inputs = [[PolicyInput(*item) for item in items] for items, _ in batch]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._predict, inputs
                )
            except Exception:
                for _, future in batch:
                    future.set_exception(PolicyError(traceback.format_exc(limit=-3)))
            else:
                for (_, future), tokens in zip(batch, answers, strict=True):
                    future.set_result(tokens)

    def _predict(self, inputs: list[list[PolicyInput]]) -> list[NDArray[np.int64]]:
        if not self._together:
            return [
                np.concatenate([self._policy.predict([item]) for item in items]) for items in inputs
            ]
        tokens = self._policy.predict([item for items in inputs for item in items])
        return np.split(tokens, np.cumsum([len(items) for items in inputs])[:-1])


class _RayPolicy:
    """Asks a `PolicyServer` policy; like any other to `loop.rollout`."""

    privileged = False

    def __init__(self, policy_info: PolicyInfo, served: Any) -> None:
        self.name, self.statistics, self.provenance = (
            policy_info.name,
            policy_info.statistics,
            policy_info.provenance,
        )
        self.served, self.waiting = served, False

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        self.waiting = True
        try:
            return ray.get(
                self.served.answer.remote([(item.pixels, item.prompt) for item in batch])
            )
        finally:
            self.waiting = False

    def close(self) -> None:
        pass


class RayWorker:
    """A worker: `worker.Worker`, a record that is sent back, and a second thread that says whether it goes on."""

    def __init__(self, policy_info: PolicyInfo, served: Any) -> None:
        self._asking = _RayPolicy(policy_info, served)
        self._bench = Worker(policy_info, lambda _: self._asking, self._note)
        self._signs = self._steps = 0
        self._building = False

    def _note(self, message: Message) -> None:
        if isinstance(message, Alive):
            self._signs, self._steps, self._building = (
                self._signs + 1,
                self._steps + message.steps,
                message.building,
            )

    @ray.method(concurrency_group="life")
    def life(self) -> tuple[int, bool]:
        """Signs of life so far (one more for each question while the policy is what it waits for), and whether a simulator is being built."""
        self._signs += self._asking.waiting
        return self._signs, self._building

    def ready(self) -> Ready:
        """Answers when the actor has started."""
        return Ready()

    def run(self, order: EpisodeRequest) -> Ended | Failed:
        """One episode; the record comes with the answer."""
        folder = Path(tempfile.mkdtemp(prefix="vla_sweep_"))
        try:
            said = self._bench.run(replace(order, part=folder / "episode"))
            if isinstance(said, Failed):
                return said
            steps, self._steps = said.steps + self._steps, 0
            return replace(
                said,
                steps=steps,
                files={p.name: p.read_bytes() for p in (folder / "episode").iterdir()},
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
