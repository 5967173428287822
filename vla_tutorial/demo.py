"""The two-minute demonstration: one task done right, then with one silent failure, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path

import jinja2

from vla_tutorial import plots
from vla_tutorial.conditions import changed_settings, find_condition
from vla_tutorial.files import write_atomically
from vla_tutorial.log import read_log
from vla_tutorial.loop import Step
from vla_tutorial.policies import Policy
from vla_tutorial.provenance import versions
from vla_tutorial.record import Result, check_folder, record_episode
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import PUBLISHED_EPISODE, PUBLISHED_SCENE, PUBLISHED_WIRING, EpisodeSpec

DEMO_CONDITION = "wrong_unnorm_key"


@dataclass(frozen=True)
class DemoResult:
    """The page, outcomes by condition (which names the episode's folder), and the wall time."""

    page: Path
    results: dict[str, Result]
    seconds: float


def run_demo(
    policy: Policy,
    out: Path,
    *,
    spec: EpisodeSpec = PUBLISHED_EPISODE,
    overwrite: bool = False,
    on_step: Callable[[str, Step], None] = lambda name, step: None,
) -> DemoResult:
    """Run `spec` as published and with `DEMO_CONDITION`, and write `out/index.html`.

    Args:
        policy: it acts, whatever `spec` says.
        out: folder; each episode has one of its own below it.
        on_step: gets the condition's name and each step.

    Raises:
        TutorialError: `out` is not writable, or holds a demonstration and `overwrite` is False.
    """
    started = time.perf_counter()
    specs = (spec, replace(spec, conditions=(DEMO_CONDITION,)))
    folders = [out / episode.condition for episode in specs]
    for folder in folders:
        check_folder(folder, overwrite)
    results = {}
    with Simulator(spec.suite, spec.task, PUBLISHED_WIRING.camera_size) as simulator:
        instruction = simulator.task.instruction
        for episode, folder in zip(specs, folders, strict=True):
            results[episode.condition] = record_episode(
                policy,
                simulator,
                *episode.settings(),
                folder,
                episode.conditions,
                overwrite=overwrite,
                on_step=partial(on_step, episode.condition),
            )
    first, second = [read_log(folder) for folder in folders]
    labels = (spec.condition, DEMO_CONDITION)
    figure = plots.episode_figure(first, second, title=instruction, labels=labels)
    plots.save(figure, out / "overlay.png")
    found = DemoResult(out / "index.html", results, time.perf_counter() - started)
    write_atomically(found.page, _page(policy, instruction, found))
    return found


def _page(policy: Policy, instruction: str, found: DemoResult) -> str:
    source = resources.files("vla_tutorial").joinpath("data/demo.html.jinja").read_text()
    undefined = jinja2.StrictUndefined
    environment = jinja2.Environment(
        autoescape=True,
        undefined=undefined,
        trim_blocks=True,
    )
    return environment.from_string(source).render(
        instruction=instruction,
        results=found.results,
        failure=DEMO_CONDITION,
        changes=changed_settings(find_condition(DEMO_CONDITION), PUBLISHED_WIRING, PUBLISHED_SCENE),
        policy=policy,
        seconds=round(found.seconds),
        versions=versions(),
    )
