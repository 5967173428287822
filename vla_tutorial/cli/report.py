"""`vla-tutorial report` and `vla-tutorial compare`: what sweeps measured."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.markup import escape

from vla_tutorial.cli.terminal import err, out, show, tell
from vla_tutorial.errors import TutorialError

Folder = Annotated[Path, typer.Argument(help="Folder of a sweep.", show_default=False)]
Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", help="File to write. Default: the terminal, or report.html with --html."),
]


def report(
    folders: Folders,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print one row for each task, as CSV.")
    ] = False,
    as_html: Annotated[
        bool,
        typer.Option("--html", help="Write one page with figures. It opens without a network."),
    ] = False,
    out_file: OutFile = None,
) -> None:
    """Report what sweeps measured: success by condition and task, first close, time, comparisons.

    Success rates have 95 % intervals. It takes 3 s, or 6 s with --html.

    Example: `vla-tutorial report out/mini --html --out report.html`
    """
    if as_json + as_csv + as_html > 1:
        raise TutorialError("--json, --csv and --html were given together. Choose one of them.")
    _check_writable(out_file)
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise TutorialError(f"The folder {folder} is named twice. Expected each sweep once.")
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.report import build_report, report_csv, report_json, report_text

    sweeps = [read_sweep(folder) for folder in folders]
    found = build_report(sweeps)
    if as_html:
        # Not above: it imports matplotlib, which the other formats do not need.
        from vla_tutorial.report.page import report_html

        _write(out_file or Path("report.html"), report_html(found, sweeps))
    elif as_json:
        command = shlex.join(["vla-tutorial", *sys.argv[1:]])
        _give(report_json(found, command), out_file)
    elif as_csv:
        _give(report_csv(found), out_file)
    else:
        _show(lambda width: report_text(found, width), out_file)


def compare(
    a: Folder,
    b: Folder,
    condition_a: Annotated[
        str | None,
        typer.Option(help="Condition of A. Default: its only one, or the published one."),
    ] = None,
    condition_b: Annotated[
        str | None, typer.Option(help="Condition of B. Default: as for A.")
    ] = None,
    as_json: AsJson = False,
    out_file: OutFile = None,
) -> None:
    """Compare sweep B with sweep A by pairs, on their common initial states (3 s).

    Example: `vla-tutorial compare out/mini out/mini --condition-b no_flip`
    """
    _check_writable(out_file)
    from vla_tutorial.episodes import read_sweep
    from vla_tutorial.report import (
        ConditionRun,
        choose_condition,
        compare_runs,
        comparison_json,
        comparison_text,
    )

    first = read_sweep(a)
    second = read_sweep(b)
    chosen_a = choose_condition(first, condition_a, "--condition-a")
    chosen_b = choose_condition(second, condition_b, "--condition-b")
    label_a, label_b = _labels(a, b, chosen_a, chosen_b)
    run_a = ConditionRun(first, chosen_a, label_a)
    run_b = ConditionRun(second, chosen_b, label_b)
    found = compare_runs(run_a, run_b)
    if as_json:
        _give(comparison_json(found), out_file)
    else:
        _show(lambda _width: comparison_text(found), out_file)


def _labels(a: Path, b: Path, condition_a: str, condition_b: str) -> tuple[str, str]:
    """What tells the two apart: the conditions of one folder, the folders, or both."""
    if a.resolve() == b.resolve():
        return condition_a, condition_b
    names = (a.resolve().name, b.resolve().name)
    if names[0] == names[1]:
        names = (str(a), str(b))
    if condition_a == condition_b:
        return names
    return f"{names[0]} · {condition_a}", f"{names[1]} · {condition_b}"


def _check_writable(path: Path | None) -> None:
    """Refuse a file that cannot be written before anything is computed."""
    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        expected = "Expected the name of a file in a folder that exists."
        raise TutorialError(f"Cannot write {path}. {expected}")


def _give(text: str, path: Path | None) -> None:
    """Write to the file, or plainly to the terminal so that it can be piped."""
    if path:
        _write(path, text)
    else:
        show(text)


def _show(text: Callable[[int], RenderableType], path: Path | None) -> None:
    """Print tables, made for a number of columns, or write them to the file without colours."""
    if path is None:
        show(text(out.width))
        return
    file = io.StringIO()
    console = Console(width=140, file=file, color_system=None)
    console.print(text(console.width), highlight=False)
    _write(path, file.getvalue())


def _write(path: Path, text: str) -> None:
    from vla_tutorial.files import write_atomically

    write_atomically(path, text)
    tell(err, f"Wrote [bold]{escape(str(path))}[/].")
