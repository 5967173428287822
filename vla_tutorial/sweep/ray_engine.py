"""The engine `ray`: the same workers as actors on a cluster, one policy a GPU (or one on a CPU); the driver keeps the journal.

Every machine of the cluster needs this package (and a local checkpoint, if one is named, at the same path). Records travel back as bytes, so the machines
need no common disk.
"""
# Ray is an extra, and its decorators have no types:
# mypy: disable-error-code="misc, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

import ray
from ray.exceptions import RayError

from vla_tutorial.errors import TutorialError
from vla_tutorial.sweep.local_engine import ONE_THREAD
from vla_tutorial.sweep.messages import Alive, EpisodeRequest, Lost, Message
from vla_tutorial.sweep.plan import Sweep
from vla_tutorial.sweep.ray_actors import PolicyServer, RayWorker

BEAT = 2.0
"""Seconds between two questions whether a worker goes on."""


class RayEngine:
    """Workers on a Ray cluster; `drive.Engine` says what the methods are for, `LocalEngine` what they do.

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
        served = ray.remote(max_restarts=-1, max_task_retries=-1, **place)(PolicyServer)
        replicas = min(gpus, workers) or 1
        self._served = [served.remote(sweep, -(-workers // replicas)) for _ in range(replicas)]
        try:
            self.policy_info, self.weights, self.serving = ray.get(
                [served.describe.remote() for served in self._served]
            )[0]
        except RayError as e:
            cause = getattr(e, "cause", None)
            raise TutorialError(
                str(cause)
                if isinstance(cause, TutorialError)
                else f"The policy could not be loaded on the cluster: {e}"
            ) from e

    def start_worker(self) -> int:
        """Start an actor wherever the cluster has a CPU."""
        number = self._count
        self._count += 1
        given = {
            key: os.environ[key]
            for key in ("VLA_TUTORIAL_SIMULATOR", "MUJOCO_GL")
            if key in os.environ
        }
        worker = ray.remote(
            num_cpus=1, concurrency_groups={"life": 1}, runtime_env={"env_vars": ONE_THREAD | given}
        )(RayWorker)
        actor = worker.remote(self.policy_info, self._served[number % len(self._served)])
        self._actors[number] = actor
        self._running[actor.ready.remote()] = number
        return number

    def send(self, worker: int, order: EpisodeRequest | None) -> None:
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
