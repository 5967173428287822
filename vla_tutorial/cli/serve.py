"""`vla-tutorial serve`: one policy for many simulators, over the network."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import out, tell
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.policies import Policy
    from vla_tutorial.serve import Service

ASKERS = 32
"""Clients at once for which batches are timed at the start: the largest batch."""

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
"""Whose instructions CUDA graphs are captured for before the first client comes."""


def serve(
    policy: options.PolicyName = "mini",
    checkpoint: options.Checkpoint = None,
    revision: options.Revision = None,
    device: options.Device = None,
    weights: options.Weights = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. 0.0.0.0: all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File of tokens, one a line, or a student's name and a token."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines ask without a token.")
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
        int, typer.Option(help="Times that openpi's clients get an action, in one chunk.")
    ] = 1,
    rate: Annotated[float, typer.Option(help="Pictures a second of one client.", min=0.1)] = 200.0,
) -> None:
    """Serve one policy to many simulators: one process a GPU, one queue, four protocols.

    Clients: `--policy remote --url http://…` of this package, OpenVLA's `POST /act`, openpi's
    websocket and vla-eval's. The page at / shows who is connected. Ctrl-C stops it.

    Example: `vla-tutorial serve --policy mini --host 0.0.0.0 --token-file tokens.txt`
    """
    try:
        from vla_tutorial.serve import Access, Limits, Service, Settings, check_exposure, listen
    except ModuleNotFoundError as e:
        remedy = "Install them: pip install 'vla-tutorial[serve]'"
        raise TutorialError(f"The server's libraries are missing ({e}). {remedy}") from e
    if policy in ("expert", "remote"):
        raise TutorialError(f"The policy {policy!r} cannot be served; choose mini or openvla.")
    access = Access.from_file(token_file) if token_file else Access()
    check_exposure(host, access, insecure)
    # Before a checkpoint is loaded, which takes long.
    with listen(host, port) as listening:
        given = {"revision": revision, "device": device, "weights": weights}
        served = _load(policy, checkpoint, {k: v for k, v in given.items() if v is not None})
        settings = Settings(unnorm_key, compatible_errors, chunk, workers)
        service = Service(served, access, Limits(per_second=rate), settings)
        service.answering.server.batch_seconds = _warm_up(served)
        where = listening.getsockname()[1]
        shown = f"http://{host if host != '0.0.0.0' else '127.0.0.1'}:{where}/"
        tell(out, f"Serving {escape(served.name)} at [bold]{escape(shown)}[/] (Ctrl-C stops it)")
        _run(service, listening)
    tell(out, "Stopped.")


def _load(name: str, checkpoint: str | None, given: dict[str, str]) -> Policy:
    from vla_tutorial.policies import load_policy

    return load_policy(name, checkpoint, **given)


def _warm_up(policy: Policy) -> dict[int, float]:
    """Batch size → seconds; captures what a GPU needs for LIBERO's instructions."""
    if policy.provenance.get("device") == "cpu":
        return {}
    from vla_tutorial import prompt
    from vla_tutorial.sim import task_instructions
    from vla_tutorial.sweep import warm_up
    from vla_tutorial.wiring import Wiring

    wiring = Wiring(unnorm_key="")
    prompts = []
    for suite in SUITES:
        prompts += [prompt.build(wiring, text) for text in task_instructions(suite)]
    return warm_up(policy, prompts, ASKERS)


def _run(service: Service, listening: object) -> None:
    from vla_tutorial.serve import make_app, make_server, raise_file_limit

    raise_file_limit()
    server = make_server(make_app(service), service.limits)
    # uvicorn ends its connections first, and then raises the signal again.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])  # type: ignore[list-item]
