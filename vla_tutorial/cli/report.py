"""`vla-tutorial report` and `vla-tutorial compare`: what sweeps measured."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.markup import escape

from vla_tutorial.errors import TutorialError

Folder = Annotated[Path, typer.Argument(help="Folder of a sweep.", show_default=False)]


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A row a task, as CSV.")] = False,
    as_html: Annotated[
        bool, typer.Option("--html", help="One page with figures that opens without a network.")
    ] = False,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="File to write; by default report.html, or the terminal."),
    ] = None,
) -> None:
    """Say what sweeps measured: success by condition and task with intervals, the first close, time, and comparisons by pairs (3 s; a page 6 s).

    Example: `vla-tutorial report out/mini --html --out report.html`
    """
    if as_json + as_csv + as_html > 1:
        raise TutorialError(
            "--json, --csv and --html are three different files. Expected one of them."
        )
    _check(out_file)
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.report.build import build
    from vla_tutorial.report.tables import to_csv, to_json

    _refuse_twice(folders)
    sweeps = [read_sweep(folder) for folder in folders]
    found = build(sweeps)
    if as_html:
        from vla_tutorial.report.page import to_html

        _write(out_file or Path("report.html"), to_html(found, sweeps))
    elif as_json or as_csv:
        _give(
            to_json(found, shlex.join(["vla-tutorial", *sys.argv[1:]]))
            if as_json
            else to_csv(found),
            out_file,
        )
    else:
        from vla_tutorial.report.text import report_text

        _show(partial(report_text, found), out_file)


def compare(
    a: Folder,
    b: Folder,
    condition_a: Annotated[
        str | None,
        typer.Option(help="Condition of A; by default its only one, or the published one."),
    ] = None,
    condition_b: Annotated[str | None, typer.Option(help="Condition of B, likewise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="File to write; by default the terminal.")
    ] = None,
) -> None:
    """Compare B with A on the starts that both ran from, and say in a sentence what that shows and what it could have shown (3 s).

    Example: `vla-tutorial compare out/mini out/mini --condition-b no_flip`
    """
    _check(out_file)
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.report.comparison import Run, choose
    from vla_tutorial.report.comparison import compare as compare_runs
    from vla_tutorial.report.tables import comparison_json
    from vla_tutorial.report.text import comparison_text

    first, second = read_sweep(a), read_sweep(b)
    chosen = (
        choose(first, condition_a, "--condition-a"),
        choose(second, condition_b, "--condition-b"),
    )
    found = compare_runs(
        *(Run(*run) for run in zip((first, second), chosen, _labels(a, b, chosen), strict=True))
    )
    if as_json:
        _give(comparison_json(found), out_file)
    else:
        _show(lambda width: comparison_text(found), out_file)


def _labels(a: Path, b: Path, conditions: tuple[str, str]) -> tuple[str, str]:
    """What tells the two apart: the condition in one folder, the folder under one condition, or both."""
    names = (
        (a.resolve().name, b.resolve().name)
        if a.resolve().name != b.resolve().name
        else (str(a), str(b))
    )
    if a.resolve() == b.resolve():
        return conditions
    return (
        names
        if conditions[0] == conditions[1]
        else (f"{names[0]} · {conditions[0]}", f"{names[1]} · {conditions[1]}")
    )


def _refuse_twice(folders: list[Path]) -> None:
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise TutorialError("The same folder is named twice. Expected each sweep once.")


def _check(path: Path | None) -> None:
    """Refuse a file that cannot be written before anything is computed."""
    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise TutorialError(
            f"Cannot write {path}. Expected the name of a file in a folder that exists."
        )


def _give(text: str, path: Path | None) -> None:
    """To the file, or plainly to the terminal so that it can be piped."""
    if path:
        _write(path, text)
    else:
        typer.echo(text, nl=False)


def _show(text: Callable[[int], RenderableType], path: Path | None) -> None:
    """Tables to the terminal, or without colours to the file. `text`: tables for a number of columns."""
    if path is None:
        console = Console()
        console.print(text(console.width), highlight=False)
        return
    written = io.StringIO()
    console = Console(width=140, file=written, color_system=None)
    console.print(text(console.width), highlight=False)
    _write(path, written.getvalue())


def _write(path: Path, text: str) -> None:
    from vla_tutorial.files import (
        write_atomically,
    )  # not above: it imports the simulator's packages, and --help should be quick

    write_atomically(path, text)
    Console(stderr=True).print(
        f"Wrote [bold]{escape(str(path))}[/].", highlight=False, soft_wrap=True
    )
