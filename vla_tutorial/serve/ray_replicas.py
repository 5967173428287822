"""Several copies of the server on a Ray cluster, at one address: `vla-tutorial serve --engine ray`.

Ray Serve's proxy on the head passes each request to one copy. Every copy is the whole app with a
policy, a queue and counts of its own. Every machine of the cluster needs this package, and a local
checkpoint at the same path.
"""
# Ray is an extra, and its decorators have no types:
# mypy: disable-error-code="misc, untyped-decorator, no-any-return, no-untyped-call, unused-ignore"

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from starlette.applications import Starlette

from vla_tutorial.errors import TutorialError
from vla_tutorial.serve.app import make_app
from vla_tutorial.serve.recipe import Recipe
from vla_tutorial.serve.running import PATIENCE, listen
from vla_tutorial.sweep.ray_engine import connect

APP = "vla-tutorial"

ON_GPU = 16.0
"""Requests at one copy above which another is started: half of the largest batch. Not measured."""

ON_CPU = 2.0
"""The same for a copy that answers one picture at a time."""

LOOK_BACK = 12.0
"""Seconds whose mean counts: more than the 10 s between two of Ray's own counts."""

VARIABLES = {
    "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
    "RAY_SERVE_PROXY_PREFER_LOCAL_AZ_ROUTING": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}
"""For Serve's controller, and the proxy, which gets its environment from there.

Without the first two the proxy asks copies on other machines only when those on the head are full,
and one address would mean one machine. The third is 5 s, in which a busy machine starts no proxy.
"""


@dataclass(frozen=True)
class Replicas:
    """How many copies there are.

    Attributes:
        least, most: the number follows the requests between these two.
        busy: requests at one copy above which there will be another; None takes `ON_GPU`
            or `ON_CPU`. An open websocket counts as one.
        up_seconds, down_seconds: for which it has to be so before a copy is added, or taken away.
    """

    most: int
    least: int = 0
    busy: float | None = None
    up_seconds: float = 5.0
    down_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            found = f"at least {self.least} and at most {self.most}"
            raise TutorialError(f"There are {found} copies; expected 0 ≤ least ≤ most, 1 ≤ most.")


class Replica:
    """One copy, in an actor of its own."""

    def __init__(self, recipe: Recipe) -> None:
        self._service = recipe.make()

    def __serve_build_asgi_app__(self) -> Starlette:
        return make_app(self._service)

    def check_health(self) -> None:
        """Raise where the policy has failed several times in a row: Ray then makes a new copy."""
        if not self._service.answering.healthy:
            raise RuntimeError("The policy failed several times in a row.")


@contextlib.contextmanager
def serving(recipe: Recipe, replicas: Replicas, host: str, port: int) -> Iterator[str]:
    """Serve on the cluster of RAY_ADDRESS until the end of the block; gives the address.

    Args:
        host, port: of the cluster's head, where this has to run; port 0 takes a free one.

    Raises:
        TutorialError: no cluster answers, it serves already, the port is in use, or the policy
            cannot be loaded there.
    """
    with listen(host, port) as listening:
        port = listening.getsockname()[1]
    connected = connect()
    try:
        _check_unused()
        # It writes each request to the terminal.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            _start_and_deploy(recipe, replicas, {"host": host, "port": port})
            yield f"http://{host if host != '0.0.0.0' else '127.0.0.1'}:{port}/"
        finally:
            serve.shutdown()
    finally:
        if connected:
            ray.shutdown()


def _check_unused() -> None:
    if serve.status().proxies:
        what = "Ray Serve runs on this cluster already, and a cluster has one address"
        raise TutorialError(f"{what}. Stop it with `serve shutdown`, or start another cluster.")


def _start_and_deploy(recipe: Recipe, replicas: Replicas, http: dict[str, Any]) -> None:
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options=http,
            controller_options={"runtime_env": {"env_vars": VARIABLES}},
        )
        _deploy(recipe, replicas)
    except (RayError, RuntimeError) as e:
        raise TutorialError(f"The policy could not be served on the cluster: {_why(e)}") from e


def _deploy(recipe: Recipe, replicas: Replicas) -> None:
    """Start the first copy, so that a policy which cannot be loaded is told at once."""
    needs: dict[str, Any] = {"num_cpus": 1}
    busy = replicas.busy or ON_CPU
    if _wants_gpu(recipe):
        needs = {"num_cpus": 0, "num_gpus": 1}
        busy = replicas.busy or ON_GPU
    scaling = {
        "min_replicas": replicas.least,
        "initial_replicas": max(1, replicas.least),
        "max_replicas": replicas.most,
        "target_ongoing_requests": busy,
        "upscale_delay_s": replicas.up_seconds,
        "downscale_delay_s": replicas.down_seconds,
        "look_back_period_s": LOOK_BACK,
    }
    copies = serve.deployment(
        serve.ingress()(Replica),
        name="policy",
        ray_actor_options=needs,
        # The app says itself that it is full.
        max_ongoing_requests=2 * recipe.limits.waiting,
        graceful_shutdown_timeout_s=PATIENCE,
        autoscaling_config=scaling,
    )
    serve.run(copies.bind(recipe), name=APP)


def _wants_gpu(recipe: Recipe) -> bool:
    device = recipe.options.get("device")
    if device is not None:
        return device.startswith("cuda")
    return bool(ray.cluster_resources().get("GPU"))


def _why(error: Exception) -> str:
    """What a copy said when it could not be made, out of its traceback."""
    status = serve.status().applications.get(APP)
    texts = [str(error)]
    if status is not None:
        texts += [found.message for found in status.deployments.values()]
    for text in texts:
        for line in reversed(text.splitlines()):
            _, found, said = line.partition(f"{TutorialError.__name__}: ")
            if found:
                return said
    return str(error)
