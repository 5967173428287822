"""`vla-tutorial join`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import err, interrupt, out, progress_bar, tell
from vla_tutorial.ranges import format_numbers

if TYPE_CHECKING:
    from vla_tutorial.sweep import SweepPlan


def join(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders of the shards.", show_default=False),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the joined sweep: a new or an empty one.")
    ],
) -> None:
    """Join the shards of one sweep, which ran separately, into one folder.

    Shards may differ in --tasks, --inits, --condition or --target. Everything else (checkpoint,
    settings, kind of GPU, versions) must be the same; an error names what differs. Episodes that
    no shard ran can be run in the joined folder with `vla-tutorial sweep`.

    Example: `vla-tutorial join out/shard_0 out/shard_1 --out out/joined`
    """
    # Not above: it imports the simulator's packages, and --help should be quick.
    from vla_tutorial.sweep import join_shards

    with contextlib.ExitStack() as shown:
        progress = progress_bar()
        bar = progress.add_task("copying records")

        def show(done: int, total: int) -> None:
            # Many shards have no records: then there is nothing to show.
            if done == 1:
                shown.enter_context(progress)
            progress.update(bar, completed=done, total=total)
            interrupt.check()

        command = shlex.join(["vla-tutorial", *sys.argv[1:]])
        joined = join_shards(folders, out_dir, command, show)
    for note in joined.notes:
        tell(err, escape(note))
    planned = len(list(joined.plan.specs()))
    name = escape(str(out_dir))
    tell(out, f"{joined.ended} of {planned} episodes are in [bold]{name}[/].")
    if joined.ended < planned:
        rest = shlex.join(["vla-tutorial", "sweep", *_options(joined.plan), "--out", str(out_dir)])
        tell(out, f"To run the rest, add the shards' other settings to: {escape(rest)}")
    tell(out, f"Next: [bold]vla-tutorial report {name}[/]")


def _options(plan: SweepPlan) -> list[str]:
    """The options of `vla-tutorial sweep` that say which episodes there are."""
    from vla_tutorial.scene import OWN
    from vla_tutorial.sweep.plan import OTHERS, find_targets

    suite = plan.spec.suite
    starts = "--inits" if plan.starts == "saved" else "--layouts"
    found = ["--suite", suite, "--tasks", format_numbers(plan.tasks)]
    if suite.startswith(OWN):
        found = ["--bddl", f"{suite.removeprefix(OWN)}.bddl"]
    found += [starts, format_numbers(plan.inits)]
    for condition in plan.conditions:
        found += ["--condition", condition]
    targets = dict.fromkeys(chain.from_iterable((plan.targets or {}).values()))
    if targets and plan.targets == find_targets(suite, plan.tasks, [OTHERS]):
        targets = {OTHERS: None}
    for target in targets:
        found += ["--target", target]
    return found
