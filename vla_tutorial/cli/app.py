"""The commands of `vla-tutorial`, and what an error or Ctrl-C means for all of them."""

from __future__ import annotations

from typing import Any

import typer
import typer.core
from rich.markup import escape

import vla_tutorial
from vla_tutorial.cli.clips import clips
from vla_tutorial.cli.conditions import conditions
from vla_tutorial.cli.demo import demo
from vla_tutorial.cli.diagnose import diagnose
from vla_tutorial.cli.doctor import doctor
from vla_tutorial.cli.join import join
from vla_tutorial.cli.report import compare, report
from vla_tutorial.cli.rollout import rollout
from vla_tutorial.cli.sweep import sweep
from vla_tutorial.cli.terminal import BAD_INPUT, INTERRUPTED, err, interrupt, tell
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
            tell(err, f"[red]Error:[/] {escape(str(e))}")
            raise typer.Exit(BAD_INPUT) from e
        except KeyboardInterrupt as e:
            tell(err, "[yellow]Stopped.[/] What was recorded is kept and marked incomplete.")
            raise typer.Exit(INTERRUPTED) from e


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help=vla_tutorial.__doc__,
)
for command in (doctor, conditions, demo, rollout, diagnose, sweep, join, report, compare, clips):
    app.command()(command)
app.add_typer(train, name="train")


def main() -> None:
    """Entry point of `vla-tutorial`."""
    app()
