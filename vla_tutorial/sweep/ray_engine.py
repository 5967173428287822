"""The engine `ray`: the same workers as actors on a cluster; the journal stays in this process.

There is one policy for each GPU, or one on a CPU. Every machine of the cluster needs this package,
and a local checkpoint at the same path. Records travel as bytes, so no common disk is needed.
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
from vla_tutorial.sim import ONE_THREAD
from vla_tutorial.sweep.messages import Alive, EpisodeRequest, Lost, Message
from vla_tutorial.sweep.plan import SweepPlan
from vla_tutorial.sweep.ray_actors import RayPolicyServer, RayWorker

HEARTBEAT_SECONDS = 2.0
"""Time between two questions whether a worker is alive."""


class RayEngine:
    """Workers on a Ray cluster; `weights` is the hash of the policy's."""

    def __init__(self, plan: SweepPlan, workers: int) -> None:
        """Connect and load the policies.

        A TutorialError says that no cluster answers, it has too few CPUs, or the policy cannot be
        loaded there.
        """
        self._connected = connect()
        self._servers: list[Any] = []
        try:
            self._start_servers(plan, workers)
        except BaseException:
            self._disconnect()
            raise
        self._actors: dict[int, Any] = {}
        # What actors have been asked: reference of the answer → worker.
        self._running: dict[Any, int] = {}
        self._heartbeats: dict[Any, int] = {}
        self._last_count: dict[int, int] = {}
        self._count = 0
        self._asked = time.monotonic()

    def _start_servers(self, plan: SweepPlan, workers: int) -> None:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        needs = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
        _check_room(workers, needs["num_cpus"])
        server = ray.remote(max_restarts=-1, max_task_retries=-1, **needs)(RayPolicyServer)
        replicas = min(gpus, workers) or 1
        # Rounded up: how many workers ask the same policy.
        askers = (workers + replicas - 1) // replicas
        self._servers = [server.remote(plan, askers) for _ in range(replicas)]
        try:
            found = ray.get([server.describe.remote() for server in self._servers])
        except RayError as e:
            cause = getattr(e, "cause", None)
            if isinstance(cause, TutorialError):
                raise TutorialError(str(cause)) from e
            raise TutorialError(f"The policy could not be loaded on the cluster: {e}") from e
        self.policy_info, self.weights, self.serving = found[0]

    def start_worker(self) -> int:
        """Start an actor wherever the cluster has a CPU."""
        number = self._count
        self._count += 1
        passed = [key for key in ("VLA_TUTORIAL_SIMULATOR", "MUJOCO_GL") if key in os.environ]
        variables = ONE_THREAD | {key: os.environ[key] for key in passed}
        needs = {"num_cpus": 1, "runtime_env": {"env_vars": variables}}
        worker = ray.remote(concurrency_groups={"life": 1}, **needs)(RayWorker)
        actor = worker.remote(self.policy_info, self._servers[number % len(self._servers)])
        self._actors[number] = actor
        self._running[actor.ready.remote()] = number
        return number

    def send(self, worker: int, request: EpisodeRequest | None) -> None:
        """Send an actor its next episode; None ends it."""
        if request is None:
            self.kill(worker)
        else:
            self._running[self._actors[worker].run.remote(request)] = worker

    def poll(self, seconds: float) -> list[tuple[int, Message]]:
        """What actors have answered, after at most `seconds`."""
        self._ask_for_heartbeats()
        messages: list[tuple[int, Message]] = []
        done, _ = ray.wait([*self._running, *self._heartbeats], timeout=seconds)
        for ref in done:
            if ref in self._heartbeats:
                messages += self._heartbeat(ref, self._heartbeats.pop(ref))
            else:
                messages.append(self._answer(ref, self._running.pop(ref)))
        return messages

    def _answer(self, ref: Any, number: int) -> tuple[int, Message]:
        try:
            return number, ray.get(ref)
        except RayError as e:
            return number, Lost(f"The actor ended: {e}")

    def _heartbeat(self, ref: Any, number: int) -> list[tuple[int, Message]]:
        try:
            count, building = ray.get(ref)
        except RayError:
            # The actor's own answer says that it ended.
            return []
        before = self._last_count.get(number)
        self._last_count[number] = count
        return [] if before == count else [(number, Alive(building=building))]

    def _ask_for_heartbeats(self) -> None:
        if time.monotonic() - self._asked > HEARTBEAT_SECONDS:
            self._asked = time.monotonic()
            for number in set(self._running.values()) - set(self._heartbeats.values()):
                self._heartbeats[self._actors[number].life.remote()] = number

    def kill(self, worker: int) -> None:
        """End an actor at once."""
        ray.kill(self._actors[worker])

    def close(self) -> None:
        """End every actor and leave the cluster."""
        for actor in [*self._actors.values(), *self._servers]:
            ray.kill(actor)
        self._actors.clear()
        self._servers.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connected:
            ray.shutdown()
        self._connected = False


def connect() -> bool:
    """Connect to the cluster of RAY_ADDRESS.

    Returns:
        Whether this call has connected; a program that uses Ray already keeps its connection.

    Raises:
        TutorialError: no cluster answers.
    """
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        _check_address(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as e:
        # An OSError, ValueError or RuntimeError, by what is wrong.
        raise TutorialError(
            f"No Ray cluster answers at {address!r} ({e}). Start one with `ray start --head`, "
            "or set RAY_ADDRESS to host:port of its head."
        ) from e
    return True


def _check_address(address: str) -> None:
    """Raise an OSError if nobody listens at host:port: `ray.init` would end this process."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def _check_room(workers: int, policies: int) -> None:
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < workers + policies:
        beside = " beside the policy" if policies else ""
        room = f"room for {max(0, cpus - policies)} workers{beside}, not {workers}"
        raise TutorialError(f"The cluster has {cpus} CPUs: {room}. Lower --workers or add nodes.")
