"""Build the live page's folder: `build` calls every part's `export` and writes the manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial import __version__
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import check_writable
from vla_tutorial.live import (
    diagnosis_data,
    physics_export,
    policy_export,
    policy_vectors,
    scene_export,
    vectors,
    vendor,
    wiring_export,
)
from vla_tutorial.live.site_files import entries, write_bytes, write_json
from vla_tutorial.sim import Simulator, count_initial_states, count_tasks, step_limit
from vla_tutorial.sim.sensors import CAMERA
from vla_tutorial.wiring import PINNED_MUJOCO

FORMAT = 1
"""Of the manifest. A page refuses another one."""

PAGE_FILES = ("*.html", "*.css", "*.js", "*.svg")
"""Of the folder `page`: what is copied as it is."""

DATA = "data"


@dataclass(frozen=True)
class LiveOptions:
    """What is built.

    Attributes:
        suite, tasks: whose tasks the page offers.
        vectors: whether golden vectors for the tests are written, which takes minutes.
    """

    suite: str = "libero_object"
    tasks: tuple[int, ...] = tuple(range(10))
    vectors: bool = False


def build(
    folder: Path, options: LiveOptions | None = None, tell: Callable[[str], None] = print
) -> None:
    """Write the whole page into `folder`, which must be new or an older build.

    Args:
        tell: gets a line of progress.

    Raises:
        TutorialError: the folder holds something else, npm or node is missing, or the suite cannot
            be shown in a page.
    """
    options = options or LiveOptions()
    _check_replaceable(folder)
    tell("npm packages")
    packages = vendor.install()
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    _write(part, options, packages, tell)
    # The folder is whole or as it was: a build that dies leaves the older one.
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _write(folder: Path, options: LiveOptions, packages: Path, tell: Callable[[str], None]) -> None:
    """Everything, into a folder that does not exist yet; raises as `build`."""
    vendor.export(folder, packages)
    _copy_page(folder)
    collected = scene_export.Collected()
    tasks = []
    for task in options.tasks:
        tell(f"task {task} of {options.suite}")
        tasks.append(_export_task(folder, options, task, collected))
    tell("meshes")
    scene_export.export_meshes(folder, collected, packages)
    manifest = _manifest(packages, options, tasks)
    # Each further part of the page adds its own keys here, by one function `export(folder, …)`.
    tell("policy")
    manifest["policies"] = {"mini": policy_export.export(folder, suite=options.suite)}
    settings = wiring_export.export(options.suite, options.tasks)
    manifest.update(msgspec.structs.asdict(settings))
    diagnosis_data.export(folder, options.suite)
    if options.vectors:
        policy_vectors.export(folder, options.suite, options.tasks)
    manifest["files"] = entries(folder, DATA)
    write_json(folder / DATA / "manifest.json", manifest)


def _check_replaceable(folder: Path) -> None:
    """Raise a TutorialError unless `folder` is new, empty or an older build."""
    check_writable(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / DATA / "manifest.json").is_file():
        raise TutorialError(
            f"{folder} is not empty and holds no live page. Choose a new folder with --out."
        )


def _copy_page(folder: Path) -> None:
    for pattern in PAGE_FILES:
        for path in sorted(vendor.PAGE.glob(pattern)):
            write_bytes(folder / path.name, path.read_bytes())


def _export_task(
    folder: Path, options: LiveOptions, task: int, collected: scene_export.Collected
) -> dict[str, Any]:
    """Everything of one task in one go, since building its simulator takes seconds."""
    with Simulator(options.suite, task, render=options.vectors) as simulator:
        found = {
            "task": task,
            "instruction": simulator.task.instruction,
            "goal": [list(predicate) for predicate in simulator.goal],
        }
        found.update(physics_export.export(folder, simulator))
        found.update(scene_export.export(folder, simulator, collected))
        if options.vectors:
            vectors.export(folder, simulator)
    return found


def _manifest(packages: Path, options: LiveOptions, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest's keys but `files`."""
    locked = json.loads((packages / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return {
        "format": FORMAT,
        "versions": {
            "vla_tutorial": __version__,
            "mujoco": PINNED_MUJOCO,
            "mujoco-js": locked["node_modules/mujoco-js"]["version"],
            "onnxruntime-web": locked["node_modules/onnxruntime-web"]["version"],
        },
        "suite": options.suite,
        "camera": {"name": CAMERA, "size": 256},
        "stepLimit": step_limit(options.suite),
        "initialStates": count_initial_states(options.suite, options.tasks[0]),
        "tasks": tasks,
    }


def all_tasks(suite: str) -> tuple[int, ...]:
    """Every task's number; raises a TutorialError if there is no such suite."""
    return tuple(range(count_tasks(suite)))
