"""`vla-tutorial demo`: one task right and wrong, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import advance, out, progress_bar, tell


def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the two episodes and index.html.")
    ] = Path("demo"),
    policy: Annotated[
        str, typer.Option(help="Which policy acts: mini, openvla or expert.")
    ] = "mini",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a demonstration that is there already.")
    ] = False,
) -> None:
    """See one task succeed and then fail through one wrong setting: two videos and plots on one page (about two minutes on two cores).

    Example: `vla-tutorial demo --out demo`
    """
    from vla_tutorial import demo as demonstration
    from vla_tutorial.policies import load_policy
    from vla_tutorial.sim import step_limit
    from vla_tutorial.spec import PUBLISHED_SCENE

    acting = load_policy(policy)
    with progress_bar() as progress:
        limit = step_limit(PUBLISHED_SCENE.suite)
        bar = progress.add_task("building the simulator", total=None)
        report = demonstration.run(
            acting,
            out_dir,
            overwrite=overwrite,
            on_step=lambda name, step: advance(progress, bar, name, step, limit),
        )
    for name, result in report.results.items():
        tell(out, f"{name:<18} {escape(result.sentence())}")
    tell(out, f"Open [bold]{escape(str(report.page))}[/] in a browser. ({report.seconds:.0f} s)")
