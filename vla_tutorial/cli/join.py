"""`vla-tutorial join`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import interrupt, out, progress_bar
from vla_tutorial.ranges import format_numbers

if TYPE_CHECKING:
    from vla_tutorial.sweep.plan import Sweep


def join(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders of the shares.", show_default=False),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the joined sweep: a new or an empty one.")
    ],
) -> None:
    """Join the shares of one sweep that ran apart, each with other --tasks, --inits or --condition, into one sweep's folder.

    They must have run alike (checkpoint, settings, kind of GPU, versions); what differs is named. What no share ran, `vla-tutorial sweep` can run there.

    Example: `vla-tutorial join out/share_0 out/share_1 --out out/joined`
    """
    from vla_tutorial.sweep import (
        join as joining,
    )  # not above: it imports the simulator's packages, and --help should be quick

    with contextlib.ExitStack() as shown:
        progress = progress_bar()
        bar = progress.add_task("copying records")

        def show(done: int, total: int) -> None:
            if done == 1:  # many shares have no records: then there is nothing to show
                shown.enter_context(progress)
            progress.update(bar, completed=done, total=total)
            interrupt.check()

        plan, ended = joining.join(
            folders, out_dir, shlex.join(["vla-tutorial", *sys.argv[1:]]), show
        )
    planned, name = len(plan.jobs()), escape(str(out_dir))
    out.print(
        f"{ended} of {planned} episodes are in [bold]{name}[/].", highlight=False, soft_wrap=True
    )
    if ended < planned:
        rest = f"vla-tutorial sweep {_numbers(plan)} --out {shlex.quote(str(out_dir))}"
        out.print(
            f"The rest runs with the shares' other settings and: {escape(rest)}",
            highlight=False,
            soft_wrap=True,
        )
    out.print(f"Next: [bold]vla-tutorial report {name}[/]", highlight=False, soft_wrap=True)


def _numbers(plan: Sweep) -> str:
    """The options of `vla-tutorial sweep` that say which episodes there are."""
    conditions = [word for name in plan.conditions for word in ("--condition", name)]
    return shlex.join(
        [
            "--suite",
            plan.suite,
            "--tasks",
            format_numbers(plan.tasks),
            "--inits",
            format_numbers(plan.inits),
            *conditions,
        ]
    )
