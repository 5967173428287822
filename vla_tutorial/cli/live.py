"""`vla-tutorial live`: the page in which the policy acts in the reader's browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import interrupt, out, tell
from vla_tutorial.errors import TutorialError

app = typer.Typer(
    no_args_is_help=True, help="The web page in which the policy acts in the reader's browser."
)


@app.callback()
def live() -> None:
    """The page in which the policy acts in MuJoCo, in the reader's own browser."""


@app.command()
def build(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the page: a new one, or an older build.")
    ] = Path("_build/live"),
    suite: Annotated[
        list[str] | None,
        typer.Option(help="LIBERO suite. Repeatable. Default: those that mini knows."),
    ] = None,
    tasks: options.Tasks = "0-9",
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Also write golden vectors for the page's tests.")
    ] = False,
) -> None:
    """Build the page from the installed packages (a minute or two on two cores; needs npm).

    Example: `vla-tutorial live build --suite libero_object --suite libero_10`
    """
    try:
        from vla_tutorial.live import LiveOptions
        from vla_tutorial.live import build as build_page
        from vla_tutorial.live.build import usual_suites
    except ModuleNotFoundError as e:
        remedy = "Install them: pip install 'vla-tutorial[book]'"
        raise TutorialError(f"Libraries of the live page are missing ({e}). {remedy}") from e
    from vla_tutorial.ranges import parse_numbers

    def show(line: str) -> None:
        tell(out, escape(line))
        interrupt.check()

    suites = tuple(dict.fromkeys(suite or usual_suites()))
    numbers = tuple(parse_numbers(tasks))
    build_page(out_dir, LiveOptions(suites, numbers, vectors=vectors), show)
    size = sum(path.stat().st_size for path in out_dir.rglob("*") if path.is_file())
    folder = escape(str(out_dir))
    tell(out, f"Wrote [bold]{folder}[/], {size / 1e6:.1f} MB. Show it with any web server.")
