"""`vla-tutorial clips`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import interrupt, out, progress_bar


def clips(
    out_dir: Annotated[
        Path,
        typer.Option("--out", help="Folder of the clips; the book takes them from book/clips."),
    ] = Path("book/clips"),
    tasks: Annotated[
        str, typer.Option(help="Tasks of libero_object, for example 0-3,7.")
    ] = "0,3,7",
    init: Annotated[int, typer.Option(help="Number of the saved initial state.")] = 0,
    policy: Annotated[str, typer.Option(help="Which policy acts: mini or expert.")] = "mini",
    also: Annotated[
        list[str] | None,
        typer.Option(help="One more combination, for example no_flip+no_settle; several times."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes; each has a simulator and the policy, about 2 GB.", min=1)
    ] = 2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Record clips again that are up to date.")
    ] = False,
) -> None:
    """Record the player's clips: the published wiring, most conditions and a few pairs, for some tasks (an hour on two cores).

    What is there, complete and of the same weights, is kept; so a new condition costs only its own episodes. Example: `vla-tutorial clips`
    """
    from vla_tutorial.player.clip_recorder import ClipRecorder, record_all
    from vla_tutorial.player.clips import PAIRS, plan
    from vla_tutorial.policies import load_policy
    from vla_tutorial.ranges import parse_numbers

    wanted = plan(
        parse_numbers(tasks), init, [*PAIRS, *(tuple(name.split("+")) for name in also or [])]
    )
    studio = ClipRecorder(load_policy(policy), out_dir)
    todo = [clip for clip in wanted if overwrite or not studio.is_current(clip)]
    out.print(
        f"{len(wanted)} clips in {escape(str(out_dir))}: {len(todo)} to record, {len(wanted) - len(todo)} up to date.",
        highlight=False,
    )
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=len(todo))

        def show(done: int, steps: int) -> None:
            progress.update(bar, description=f"{steps} control steps", completed=done)
            interrupt.check()

        record_all(policy, out_dir, todo, min(workers, max(1, len(todo))), on_progress=show)
    size = sum(path.stat().st_size for path in out_dir.rglob("*") if path.is_file())
    out.print(
        f"Wrote [bold]{escape(str(out_dir / 'manifest.js'))}[/]; all clips together are {size / 1e6:.1f} MB.",
        highlight=False,
    )
