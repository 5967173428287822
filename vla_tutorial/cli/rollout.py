"""`vla-tutorial rollout`: run one episode and record it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli import options
from vla_tutorial.cli.terminal import advance, err, out, progress_bar, tell
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.loop import Step
    from vla_tutorial.spec import EpisodeSpec


def rollout(
    init: Annotated[int, typer.Option(help="Number of the saved initial state.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the episode.")],
    suite: options.SuiteOrOwn = None,
    task: Annotated[int | None, typer.Option(help="Task number in the suite.")] = None,
    policy: options.PolicyName = "mini",
    condition: Annotated[
        list[str] | None, typer.Option(help="Name of a condition. Repeatable.")
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(help="A sentence of your own for the policy. Default: the task's."),
    ] = None,
    checkpoint: options.Checkpoint = None,
    url: options.Url = None,
    token: options.Token = None,
    revision: options.Revision = None,
    device: options.Device = None,
    weights: options.Weights = None,
    unnorm_key: options.UnnormKey = None,
    embedded_statistics: options.EmbeddedStatistics = False,
    max_steps: options.MaxSteps = None,
    realtime: options.Realtime = None,
    while_waiting: options.WhileWaiting = "last",
    bddl: options.Bddl = None,
    init_states: options.InitStates = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Run one episode and record it.

    The folder gets steps.jsonl, episode.json, agentview.png, episode.mp4 and gripper.png.

    Example: `vla-tutorial rollout --suite libero_object --task 0 --init 0 --condition no_flip
    --out out/no_flip`
    """
    from vla_tutorial.spec import EpisodeSpec

    others = {"--suite": suite, "--task": None if task is None else f"--task {task}"}
    own = options.own_scene(bddl, init_states, others)
    if own is not None:
        suite = own.suite
        task = 0
    if suite is None or task is None:
        raise TutorialError("Give --suite and --task, or --bddl with a scene of your own.")
    spec = EpisodeSpec(
        suite,
        task,
        init,
        own=own,
        policy=policy,
        checkpoint=options.served_at(policy, checkpoint, url, token),
        conditions=tuple(condition or ()),
        max_steps=max_steps,
        realtime=realtime,
        while_waiting=while_waiting,
        revision=revision,
        device=device,
        weights=weights,
        unnorm_key=unnorm_key,
        instruction=instruction,
        embedded_statistics=embedded_statistics,
    )
    _run(spec, out_dir, overwrite)


def _run(spec: EpisodeSpec, folder: Path, overwrite: bool) -> None:
    from vla_tutorial.doctor import check_mujoco
    from vla_tutorial.loop import statistics_for
    from vla_tutorial.record import check_folder, record_episode
    from vla_tutorial.sim import Simulator

    spec.check()
    wiring, scene = spec.settings()
    check_folder(folder, overwrite)
    policy = spec.load_policy()
    statistics_for(policy, wiring)
    mujoco = check_mujoco()
    if mujoco.verdict == "fail":
        warning = f"MuJoCo {mujoco.detail}; the episode's record says so. {mujoco.remedy}"
        tell(err, f"[yellow]Warning:[/] {escape(warning)}")
    limit = spec.limit()
    with progress_bar() as progress:
        bar = progress.add_task("building the simulator", total=None)

        def show(step: Step) -> None:
            advance(progress, bar, "control step", step, limit)

        with Simulator(scene.suite, scene.task, wiring.camera_size, own=scene.own) as simulator:
            episode = (policy, simulator, wiring, scene, folder, spec.conditions)
            result = record_episode(*episode, overwrite=overwrite, on_step=show)
    tell(out, f"{escape(result.sentence())} Recorded in [bold]{escape(str(folder))}[/].")
