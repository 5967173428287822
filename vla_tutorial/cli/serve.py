"""`vla-tutorial serve`: one policy for many simulators, over the network."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import out, tell
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.serve import Recipe, Service


def serve(
    policy: options.PolicyName = "mini",
    checkpoint: options.Checkpoint = None,
    revision: options.Revision = None,
    device: options.Device = None,
    weights: options.Weights = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. 0.0.0.0: all addresses of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port. 0 takes a free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with one token a line, or a student's name and a token."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines connect without a token.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Threads that decode and prepare pictures.", min=1, max=64)
    ] = 2,
    unnorm_key: options.UnnormKey = None,
    compatible_errors: Annotated[
        bool,
        typer.Option(
            "--compatible-errors",
            help='Answer every error of /act as OpenVLA\'s server does: status 200 and "error".',
        ),
    ] = False,
    chunk: Annotated[
        int, typer.Option(help="Copies of an action in the chunk that openpi's clients get.")
    ] = 1,
    rate: Annotated[
        float, typer.Option(help="Limit for one client, in pictures a second.", min=0.1)
    ] = 200.0,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: this process. ray: copies on a Ray cluster (RAY_ADDRESS)."),
    ] = "local",
    replicas: Annotated[
        int | None,
        typer.Option(
            help="With ray: largest number of copies, one for each GPU. Default: 1.", min=1
        ),
    ] = None,
    least: Annotated[
        int | None,
        typer.Option(
            help="With ray: copies that stay when there are no requests. Default: 0.", min=0
        ),
    ] = None,
) -> None:
    """Serve one policy to many simulators, over four protocols.

    Clients are `--policy remote --url http://…` of this package, OpenVLA's `POST /act`, and the
    websocket clients of openpi and vla-eval. The page at / shows who is connected. Ctrl-C stops
    the server.

    Example: `vla-tutorial serve --policy mini --host 0.0.0.0 --token-file tokens.txt`
    """
    try:
        from vla_tutorial.serve import Access, Limits, Recipe, Settings, check_exposure
    except ModuleNotFoundError as e:
        remedy = "Install them: pip install 'vla-tutorial[serve]'"
        raise TutorialError(f"The server's libraries are missing ({e}). {remedy}") from e
    if policy in ("remote", "openpi"):
        what = f"The policy {policy!r} is itself a server's"
        raise TutorialError(f"{what}: let the clients connect there, or serve mini or openvla.")
    if policy == "expert":
        raise TutorialError(f"The policy {policy!r} cannot be served; choose mini or openvla.")
    access = Access.from_file(token_file) if token_file else Access()
    check_exposure(host, access, insecure)
    given = {"revision": revision, "device": device, "weights": weights}
    options = {key: value for key, value in given.items() if value is not None}
    settings = Settings(unnorm_key, compatible_errors, chunk, workers)
    recipe = Recipe(policy, checkpoint, options, access, Limits(per_second=rate), settings)
    if engine == "ray":
        _serve_on_ray(recipe, host, port, replicas or 1, least or 0)
    elif replicas is not None or least is not None:
        raise TutorialError("--replicas and --least are for --engine ray; this is one process.")
    else:
        _serve_here(recipe, host, port)
    tell(out, "Stopped.")


def _serve_here(recipe: Recipe, host: str, port: int) -> None:
    from vla_tutorial.serve import listen

    # Before a checkpoint is loaded, which takes long.
    with listen(host, port) as listening:
        service = recipe.make()
        where = listening.getsockname()[1]
        shown = f"http://{host if host != '0.0.0.0' else '127.0.0.1'}:{where}/"
        _tell_where(service.policy.name, shown)
        _run(service, listening)


def _serve_on_ray(recipe: Recipe, host: str, port: int, most: int, least: int) -> None:
    try:
        from vla_tutorial.serve.ray_replicas import Replicas, serving
    except ModuleNotFoundError as e:
        remedy = "Install it: pip install 'vla-tutorial[ray,serve]'"
        raise TutorialError(f"The engine 'ray' needs Ray Serve ({e}). {remedy}") from e
    with serving(recipe, Replicas(most, least), host, port) as shown:
        _tell_where(recipe.policy, shown)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _tell_where(name: str, shown: str) -> None:
    tell(out, f"Serving {escape(name)} at [bold]{escape(shown)}[/] (Ctrl-C stops it)")


def _run(service: Service, listening: object) -> None:
    from vla_tutorial.serve import make_app, make_server, raise_file_limit

    raise_file_limit()
    server = make_server(make_app(service), service)
    # uvicorn ends its connections first, and then raises the signal again.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])  # type: ignore[list-item]
