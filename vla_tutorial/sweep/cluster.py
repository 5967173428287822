"""The engine `ray`: the same workers as actors on a cluster, one policy a GPU (or one on a CPU); the driver keeps the journal.

Every machine of the cluster needs this package (and a local checkpoint, if one is named, at the same path). Records travel back as bytes, so the machines
need no common disk.
"""
# Ray is an extra, and its decorators have no types:
# mypy: disable-error-code="misc, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.sweep.batching import PolicyError
from vla_tutorial.sweep.local import MOST, ONE_THREAD, serve_settings
from vla_tutorial.sweep.messages import Acting, Alive, Ended, Failed, Lost, Message, Order, Ready
from vla_tutorial.sweep.plan import Sweep
from vla_tutorial.sweep.serving import load
from vla_tutorial.sweep.worker import Bench

BEAT = 2.0
"""Seconds between two questions whether a worker goes on."""


class _Served:
    """A policy that answers whoever has asked. If its node dies Ray starts it on another one and asks again."""

    def __init__(self, sweep: Sweep) -> None:
        self._policy, self._weights = load(sweep)
        self._serving, self._together = serve_settings(Acting.of(self._policy), threads=1)
        self._waiting: list[tuple[list[Any], asyncio.Future[Any]]] = []
        self._thread, self._busy = ThreadPoolExecutor(1), False

    async def describe(self) -> tuple[Acting, str, dict[str, Any]]:
        return Acting.of(self._policy), self._weights, self._serving

    async def answer(self, items: list[Any]) -> NDArray[np.int64]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if not self._busy:
            self._busy = True
            await self._serve()
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            inputs = [[PolicyInput(*item) for item in items] for items, _ in batch]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, inputs)
            except Exception:
                for _, future in batch:
                    future.set_exception(PolicyError(traceback.format_exc(limit=-3)))
            else:
                for (_, future), tokens in zip(batch, answers, strict=True):
                    future.set_result(tokens)
        self._busy = False

    def _predict(self, inputs: list[list[PolicyInput]]) -> list[NDArray[np.int64]]:
        if not self._together:
            return [np.concatenate([self._policy.predict([item]) for item in items]) for items in inputs]
        tokens = self._policy.predict([item for items in inputs for item in items])
        return np.split(tokens, np.cumsum([len(items) for items in inputs])[:-1])


class _RayPolicy:
    """Asks a `_Served` policy; like any other to `loop.rollout`."""

    privileged = False

    def __init__(self, acting: Acting, served: Any) -> None:
        self.name, self.statistics, self.provenance = acting.name, acting.statistics, acting.provenance
        self.served, self.waiting = served, False

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        self.waiting = True
        try:
            return ray.get(self.served.answer.remote([(item.pixels, item.prompt) for item in batch]))
        finally:
            self.waiting = False

    def close(self) -> None:
        pass


class _Simulating:
    """A worker: `worker.Bench`, a record that is sent back, and a second thread that says whether it goes on."""

    def __init__(self, acting: Acting, served: Any) -> None:
        self._asking = _RayPolicy(acting, served)
        self._bench = Bench(acting, lambda _: self._asking, self._note)
        self._signs = self._steps = 0
        self._building = False

    def _note(self, message: Message) -> None:
        if isinstance(message, Alive):
            self._signs, self._steps, self._building = self._signs + 1, self._steps + message.steps, message.building

    @ray.method(concurrency_group="life")
    def life(self) -> tuple[int, bool]:
        """Signs of life so far (one more for each question while the policy is what it waits for), and whether a simulator is being built."""
        self._signs += self._asking.waiting
        return self._signs, self._building

    def ready(self) -> Ready:
        return Ready()

    def run(self, order: Order) -> Ended | Failed:
        folder = Path(tempfile.mkdtemp(prefix="vla_sweep_"))
        try:
            said = self._bench.run(replace(order, part=folder / "episode"))
            if isinstance(said, Failed):
                return said
            steps, self._steps = said.steps + self._steps, 0
            return replace(said, steps=steps, files={p.name: p.read_bytes() for p in (folder / "episode").iterdir()})
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class RayCrew:
    """Workers on a Ray cluster; `drive.Crew` says what the methods are for, `LocalCrew` what they do.

    Attributes:
        weights: hash of the policy's weights.
    """

    def __init__(self, sweep: Sweep, workers: int) -> None:
        """Connect and load the policies.

        Raises:
            TutorialError: no cluster answers, it has too few CPUs, or the policy cannot be loaded there.
        """
        self._connected = _connect()
        self._served: list[Any] = []
        try:
            self._serve(sweep, workers)
        except BaseException:
            self._disconnect()
            raise
        self._actors = dict[int, Any]()
        self._running, self._lives = dict[Any, int](), dict[Any, int]()
        self._ready, self._signs = set[int](), dict[int, int]()
        self._count, self._asked = 0, time.monotonic()

    def _serve(self, sweep: Sweep, workers: int) -> None:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        _check_room(workers, 0 if gpus else 1)
        place = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
        served = ray.remote(max_restarts=-1, max_task_retries=-1, **place)(_Served)
        self._served = [served.remote(sweep) for _ in range(min(gpus, workers) or 1)]
        try:
            self.acting, self.weights, self.serving = ray.get([served.describe.remote() for served in self._served])[0]
        except RayError as e:
            cause = getattr(e, "cause", None)
            raise TutorialError(
                str(cause) if isinstance(cause, TutorialError) else f"The policy could not be loaded on the cluster: {e}"
            ) from e

    def hire(self) -> int:
        """Start an actor wherever the cluster has a CPU."""
        number = self._count
        self._count += 1
        given = {key: os.environ[key] for key in ("VLA_TUTORIAL_SIMULATOR", "MUJOCO_GL") if key in os.environ}
        worker = ray.remote(num_cpus=1, concurrency_groups={"life": 1}, runtime_env={"env_vars": ONE_THREAD | given})(_Simulating)
        actor = worker.remote(self.acting, self._served[number % len(self._served)])
        self._actors[number] = actor
        self._running[actor.ready.remote()] = number
        return number

    def send(self, worker: int, order: Order | None) -> None:
        """Give an order; None ends the actor."""
        if order is None:
            self.kill(worker)
        else:
            self._running[self._actors[worker].run.remote(order)] = worker

    def poll(self, seconds: float) -> list[tuple[int, Message]]:
        """What actors have answered, after at most so many seconds."""
        self._ask_for_life()
        told: list[tuple[int, Message]] = []
        done, _ = ray.wait([*self._running, *self._lives], timeout=seconds)
        for ref in done:
            asked, number = ref in self._lives, self._lives.pop(ref, None)
            number = self._running.pop(ref) if number is None else number
            try:
                message = ray.get(ref)
            except RayError as e:
                if not asked:  # its own answer says so too
                    told.append((number, Lost(f"The actor ended: {e}")))
                continue
            told += self._living(number, *message) if asked else [(number, message)]
        return told

    def _ask_for_life(self) -> None:
        if time.monotonic() - self._asked > BEAT:
            self._asked = time.monotonic()
            busy = set(self._running.values()) - set(self._lives.values())
            self._lives |= {self._actors[number].life.remote(): number for number in busy}

    def _living(self, number: int, signs: int, building: bool) -> list[tuple[int, Message]]:
        before, self._signs[number] = self._signs.get(number), signs
        return [] if before == signs else [(number, Alive(building=building))]

    def kill(self, worker: int) -> None:
        """End an actor at once."""
        ray.kill(self._actors[worker])

    def close(self) -> None:
        """End every actor and leave the cluster."""
        for actor in [*self._actors.values(), *self._served]:
            ray.kill(actor)
        self._actors.clear()
        self._served.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connected:
            ray.shutdown()
        self._connected = False


def _connect() -> bool:
    """Whether this call has connected; a program that uses Ray already keeps its connection."""
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as e:  # OSError, ValueError or RuntimeError, by what is wrong
        raise TutorialError(
            f"No Ray cluster answers at {address!r} ({e}). Start one with `ray start --head`, or set RAY_ADDRESS to host:port of its head."
        ) from e
    return True


def _knock(address: str) -> None:
    """Raise an OSError if nobody listens at host:port: `ray.init` would end this process."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def _check_room(workers: int, policies: int) -> None:
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < workers + policies:
        beside = " beside the policy" if policies else ""
        raise TutorialError(
            f"The cluster has {cpus} CPUs: room for {max(0, cpus - policies)} workers{beside}, not {workers}. Lower --workers or add nodes."
        )
