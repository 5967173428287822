"""`vla-tutorial clips`: record the player's clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import interrupt, out, progress_bar, tell


def clips(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the clips. The book shows book/clips.")
    ] = Path("book/clips"),
    tasks: Annotated[
        str, typer.Option(help="Tasks of libero_object with every condition, for example 0-3,7.")
    ] = "0",
    few: Annotated[
        str, typer.Option(help="Tasks with only the lab's ten clips; '' for none.")
    ] = "3,7",
    init: Annotated[int, typer.Option(help="Number of the saved initial state.")] = 0,
    policy: options.PolicyName = "mini",
    also: Annotated[
        list[str] | None,
        typer.Option(help="One more combination, for example no_flip+no_settle. Repeatable."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Processes. Each has a simulator and the policy and takes about 2 GB.", min=1
        ),
    ] = 2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Record clips again that are up to date.")
    ] = False,
) -> None:
    """Record the player's clips (half an hour on two cores).

    The tasks get clips of the published settings, of most conditions and of a few pairs. The tasks
    of --few get the clips that the lab shows. A complete clip of the same weights is kept, so a
    new condition costs only its own episodes.

    Example: `vla-tutorial clips`
    """
    from vla_tutorial.files import check_writable
    from vla_tutorial.player.clip_recorder import ClipRecorder, record_clips
    from vla_tutorial.player.clips import PAIRS, plan_clips
    from vla_tutorial.policies import load_policy
    from vla_tutorial.ranges import parse_numbers
    from vla_tutorial.spec import split_condition

    check_writable(out_dir)
    pairs = [*PAIRS, *(split_condition(name) for name in also or [])]
    lab = parse_numbers(few) if few else []
    wanted = plan_clips(parse_numbers(tasks), init, pairs, policy, lab)
    recorder = ClipRecorder(load_policy(policy), out_dir)
    todo = [clip for clip in wanted if overwrite or not recorder.is_current(clip)]
    kept = len(wanted) - len(todo)
    folder = escape(str(out_dir))
    tell(out, f"{len(wanted)} clips in {folder}: {len(todo)} to record, {kept} up to date.")
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=len(todo))

        def show(done: int, steps: int) -> None:
            progress.update(bar, description=f"{steps} control steps", completed=done)
            interrupt.check()

        record_clips(policy, out_dir, todo, min(workers, len(todo) or 1), on_progress=show)
    size = sum(path.stat().st_size for path in out_dir.rglob("*") if path.is_file())
    tell(out, f"Wrote [bold]{folder}/manifest.js[/]; all clips together are {size / 1e6:.1f} MB.")
