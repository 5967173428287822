"""Options that several commands share, each defined once."""

from __future__ import annotations

from typing import Annotated

import typer

Suite = Annotated[str, typer.Option(help="LIBERO suite, for example libero_object.")]
PolicyName = Annotated[str, typer.Option(help="Which policy acts: mini, openvla or expert.")]
Checkpoint = Annotated[
    str | None, typer.Option(help="Checkpoint of the policy: a hub id or a folder.")
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a checkpoint on the hub.")
]
Device = Annotated[
    str | None,
    typer.Option(help="Where a model runs, for example cuda:0 or cpu. Default: the first GPU."),
]
Tasks = Annotated[str, typer.Option(help="Task numbers, for example 0-3,7.")]
Workers = Annotated[
    int,
    typer.Option(help="Simulators at a time, 1 GB each: one a core, or some 3 with a GPU.", min=1),
]
UnnormKey = Annotated[
    str | None,
    typer.Option(help="Whose action statistics to use. Default: those the policy was made for."),
]
EmbeddedStatistics = Annotated[
    bool, typer.Option(help="Allow this package's statistics in place of the checkpoint's own.")
]
MaxSteps = Annotated[
    int | None, typer.Option(help="Step limit. Default: the suite's published one.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")]
RetryErrors = Annotated[
    bool, typer.Option("--retry-errors", help="Run all errors again, also those that broke twice.")
]
