"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.scene import OwnScene

SERVED = ("remote", "openpi")
"""As `policies.SERVED`, which takes seconds to import."""

Suite = Annotated[str, typer.Option(help="LIBERO suite, for example libero_object.")]
SuiteOrOwn = Annotated[
    str | None, typer.Option(help="LIBERO suite, for example libero_object; or give --bddl.")
]
Bddl = Annotated[
    Path | None,
    typer.Option("--bddl", help="BDDL file of a scene of your own, in place of a suite."),
]
InitStates = Annotated[
    Path | None,
    typer.Option(
        "--init-states",
        help="With --bddl: file of initial states, .npy or .npz. Default: LIBERO places the "
        "objects, and --init is the seed.",
    ),
]
PolicyName = Annotated[
    str,
    typer.Option(
        help="Which policy acts: mini, openvla, expert, remote, openpi, or a function of your own, "
        "my_module:make_policy."
    ),
]
Checkpoint = Annotated[
    str | None, typer.Option(help="Checkpoint of the policy: a hub id or a folder.")
]
Url = Annotated[
    str | None,
    typer.Option(help="Address of the server, for --policy remote or openpi: http://host:port."),
]
Token = Annotated[
    str | None,
    typer.Option(help="The server's token. The variable VLA_TUTORIAL_TOKEN hides it better."),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a checkpoint on the hub.")
]
Device = Annotated[
    str | None,
    typer.Option(help="Where a model runs, for example cuda:0 or cpu. Default: the first GPU."),
]
Weights = Annotated[
    Literal["bf16", "int8", "fp8", "int4"] | None,
    typer.Option(
        help="Precision of a model's weights: int8 for GPUs of 10 GB, int4 for 8 GB; fp8, which "
        "also rounds activations, for batches on Ada, Hopper and later."
    ),
]
Tasks = Annotated[str, typer.Option(help="Task numbers, for example 0-3,7.")]
Workers = Annotated[
    int,
    typer.Option(
        help="Simulators at a time, 1 GB each: one for each core, or about 3 with a GPU.", min=1
    ),
]
UnnormKey = Annotated[
    str | None,
    typer.Option(help="Name of the action statistics. Default: those the policy was made for."),
]
EmbeddedStatistics = Annotated[
    bool, typer.Option(help="Allow this package's statistics in place of the checkpoint's own.")
]
Realtime = Annotated[
    float | None,
    typer.Option(
        help="Live mode: the simulator does not wait while the policy thinks. Control steps that "
        "pass in a second; LIBERO has 20."
    ),
]
WhileWaiting = Annotated[
    Literal["last", "zero"],
    typer.Option(help="What the arm does while it waits: repeat its last action, or rest."),
]
MaxSteps = Annotated[
    int | None, typer.Option(help="Step limit. Default: the suite's published one.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")]
RetryErrors = Annotated[
    bool, typer.Option("--retry-errors", help="Run all errors again, also those that failed twice.")
]


def own_scene(
    bddl: Path | None, init_states: Path | None, others: Mapping[str, object]
) -> OwnScene | None:
    """The scene of --bddl and --init-states, checked; None where neither is given.

    Args:
        others: options that exclude --bddl, and what was given for each, None for nothing.

    Raises:
        TutorialError: options exclude each other, or as `sim.read_own_scene`.
    """
    if bddl is None:
        if init_states is not None:
            what = "--init-states belongs to a scene of your own"
            raise TutorialError(f"{what}. Give its --bddl FILE as well, or leave it out.")
        return None
    for name, given in others.items():
        if given:
            what = f"--bddl and {name} exclude each other"
            raise TutorialError(f"{what}: a scene of your own is one task. Give one of them.")
    # Not above: LIBERO takes two seconds to import.
    from vla_tutorial.sim import read_own_scene

    return read_own_scene(bddl, init_states)


def served_at(
    policy: str, checkpoint: str | None, url: str | None, token: str | None
) -> str | None:
    """The checkpoint of an `EpisodeSpec`: the server's address for policies that have one.

    A token goes into this process's environment, so that no record and no command holds it.

    Raises:
        TutorialError: --url without --policy remote or openpi, or such a policy without it.
    """
    if policy not in SERVED:
        if url or token:
            raise TutorialError(
                "--url and --token belong to --policy remote or openpi. Add one, or omit them."
            )
        return checkpoint
    if checkpoint:
        raise TutorialError("The server has its own checkpoint: omit --checkpoint.")
    if not url:
        example = "for example http://192.168.1.5:8000"
        raise TutorialError(f"The policy {policy!r} needs --url, {example}.")
    if token:
        os.environ["VLA_TUTORIAL_TOKEN"] = token
    return url


def command_line(arguments: Sequence[str]) -> str:
    """The shell command that runs this again, as records hold it: without its token."""
    kept = []
    hidden = False
    for word in arguments:
        if not hidden and word != "--token" and not word.startswith("--token="):
            kept.append(word)
        hidden = word == "--token" and not hidden
    return shlex.join(["vla-tutorial", *kept])
