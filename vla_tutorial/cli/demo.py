"""`vla-tutorial demo`: one task right and wrong, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import advance, out, progress_bar, tell


def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the two episodes and index.html.")
    ] = Path("demo"),
    policy: options.PolicyName = "mini",
    overwrite: options.Overwrite = False,
) -> None:
    """Show one task that succeeds, and fails under one wrong setting (two minutes on two cores).

    The page shows two videos and plots, and opens without a network.

    Example: `vla-tutorial demo --out demo`
    """
    from vla_tutorial.demo import run_demo
    from vla_tutorial.files import check_writable
    from vla_tutorial.policies import load_policy
    from vla_tutorial.spec import PUBLISHED_EPISODE

    check_writable(out_dir)
    acting = load_policy(policy)
    limit = PUBLISHED_EPISODE.limit()
    with progress_bar() as progress:
        bar = progress.add_task("building the simulator", total=None)
        found = run_demo(
            acting,
            out_dir,
            overwrite=overwrite,
            on_step=lambda name, step: advance(progress, bar, name, step, limit),
        )
    for name, result in found.results.items():
        tell(out, f"{name:<18} {escape(result.sentence())}")
    page = escape(str(found.page))
    tell(out, f"Open [bold]{page}[/] in a browser. ({found.seconds:.0f} s)")
