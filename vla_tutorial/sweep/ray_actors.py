"""What runs on a Ray cluster: the served policies, and the workers. `ray_engine.py` starts them."""
# Ray is an extra, and its decorators have no types:
# mypy: disable-error-code="misc, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from numpy.typing import NDArray

from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.sweep import load_policy_for, prompts_of, warm_up
from vla_tutorial.sweep.messages import Alive, Ended, EpisodeRequest, Failed, PolicyInfo, Ready
from vla_tutorial.sweep.plan import SweepPlan
from vla_tutorial.sweep.policy_server import PolicyServer, Question
from vla_tutorial.sweep.remote_policy import PolicyError, question, read_question
from vla_tutorial.sweep.worker import Worker


class RayPolicyServer:
    """A `PolicyServer` as an actor. If its node dies, Ray starts it on another and asks again."""

    def __init__(self, plan: SweepPlan, askers: int) -> None:
        """Load the policy and make it ready for as many workers as may ask at once."""
        policy, self._weights = load_policy_for(plan)
        self._server = PolicyServer(policy, threads=1)
        self._server.batch_seconds = warm_up(policy, prompts_of(plan), askers)
        self._thread = ThreadPoolExecutor(1)
        self._task: asyncio.Task[None] | None = None

    async def describe(self) -> tuple[PolicyInfo, str, Mapping[str, str]]:
        """Who acts, the hash of its weights, and how it is asked."""
        return self._server.policy_info, self._weights, self._server.serving

    async def answer(self, items: list[Any]) -> NDArray[Any]:
        """Tokens (N, D) for N pairs of pixels and prompt, in a batch with what else has arrived."""
        asked = Question(read_question(items, None))
        self._server.questions.append(asked)
        if self._task is None or self._task.done():
            # Not awaited: it runs for as long as questions wait.
            self._task = asyncio.create_task(self._serve())
        return await asyncio.wrap_future(asked.answer)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while self._server.questions:
            # Each question of the batch gets the error, which then reaches its worker.
            with contextlib.suppress(PolicyError):
                await loop.run_in_executor(self._thread, self._server.answer_next_batch)


class RayWorker:
    """A `Worker` that sends its records back, with a second thread for heartbeats."""

    def __init__(self, policy_info: PolicyInfo, server: Any) -> None:
        self._server = server
        self._waiting = False
        self._heartbeats = 0
        self._steps = 0
        self._building = False
        self._worker = Worker(policy_info, self._ask, self._note)

    def _ask(self, batch: Sequence[PolicyInput]) -> NDArray[Any]:
        self._waiting = True
        try:
            items = [question(item) for item in batch]
            return ray.get(self._server.answer.remote(items))
        finally:
            self._waiting = False

    def _note(self, message: object) -> None:
        if isinstance(message, Alive):
            self._heartbeats += 1
            self._steps += message.steps
            self._building = message.building

    @ray.method(concurrency_group="life")
    def life(self) -> tuple[int, bool]:
        """Heartbeat count (waiting for the policy counts as alive), and whether it is building."""
        self._heartbeats += self._waiting
        return self._heartbeats, self._building

    def ready(self) -> Ready:
        """Answers when the actor has started."""
        return Ready()

    def run(self, request: EpisodeRequest) -> Ended | Failed:
        """One episode; the record comes with the answer."""
        with tempfile.TemporaryDirectory(prefix="vla_sweep_", ignore_cleanup_errors=True) as folder:
            staging_dir = Path(folder) / "episode"
            said = self._worker.run(replace(request, staging_dir=staging_dir))
            if isinstance(said, Failed):
                return said
            files = {path.name: path.read_bytes() for path in staging_dir.iterdir()}
            steps = said.steps + self._steps
            self._steps = 0
            return replace(said, steps=steps, files=files)
