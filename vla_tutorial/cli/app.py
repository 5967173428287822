"""The commands of `vla-tutorial`, and what an error or a signal means for all of them."""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer
import typer.core
from rich.markup import escape

import vla_tutorial
from vla_tutorial.cli.accept import accept
from vla_tutorial.cli.clips import clips
from vla_tutorial.cli.conditions import conditions
from vla_tutorial.cli.demo import demo
from vla_tutorial.cli.diagnose import diagnose
from vla_tutorial.cli.doctor import doctor
from vla_tutorial.cli.export import export
from vla_tutorial.cli.join import join
from vla_tutorial.cli.lab import app as lab
from vla_tutorial.cli.live import app as live
from vla_tutorial.cli.report import compare, report
from vla_tutorial.cli.rollout import rollout
from vla_tutorial.cli.serve import serve
from vla_tutorial.cli.sweep import sweep
from vla_tutorial.cli.terminal import (
    BAD_INPUT,
    discard_output,
    err,
    interrupt,
    repair_streams,
    tell,
)
from vla_tutorial.cli.train import app as train
from vla_tutorial.errors import TutorialError


class _Commands(typer.core.TyperGroup):
    """Prints a TutorialError as a sentence and turns it into an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with interrupt:
                return super().invoke(ctx)
        except TutorialError as e:
            _tell_error(str(e))
            # Where a signal has come, the error is what came of it.
            raise typer.Exit(interrupt.exit_code if interrupt.asked else BAD_INPUT) from e
        except KeyboardInterrupt as e:
            tell(err, "[yellow]Stopped.[/] What was recorded is kept and marked incomplete.")
            raise typer.Exit(interrupt.exit_code) from e
        except OSError as e:
            _tell_os_error(e)
            raise typer.Exit(BAD_INPUT) from e


def _tell_os_error(error: OSError) -> None:
    """Say what the system refused, such as a folder that is gone; raise what is no refusal."""
    if error.errno in (None, errno.EPIPE):
        raise error
    discard_output()
    what = f"{error.filename or 'Reading or writing'}: {error.strerror}."
    _tell_error(f"{what} Fix that and give the same command again.")


def _tell_error(sentence: str) -> None:
    tell(err, f"[red]Error:[/] {escape(sentence)}")


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help=vla_tutorial.__doc__,
)
for command in (
    doctor,
    conditions,
    demo,
    rollout,
    diagnose,
    sweep,
    accept,
    serve,
    join,
    report,
    compare,
    clips,
    export,
):
    app.command()(command)
app.add_typer(train, name="train")
app.add_typer(live, name="live")
app.add_typer(lab, name="lab")


def main() -> None:
    """Entry point of `vla-tutorial`."""
    repair_streams()
    try:
        app()
    except OSError as e:
        # Of printing help, which no command does.
        _tell_os_error(e)
        sys.exit(BAD_INPUT)
