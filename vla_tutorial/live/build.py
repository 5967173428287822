"""Build the live page's folder: `build` calls every part's `export` and writes the manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
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
from vla_tutorial.policies import known_suites, packaged_policies
from vla_tutorial.sim import Simulator, count_initial_states, step_limit
from vla_tutorial.sim.sensors import CAMERA
from vla_tutorial.wiring import PINNED_MUJOCO

FORMAT = 2
"""Of the manifest. A page refuses another one."""

PAGE_FILES = ("*.html", "*.css", "*.js", "*.svg")
"""Of the folder `page`: what is copied as it is."""

DATA = "data"


FIRST = "libero_object"
"""The suite that a link without one means (`page/share.js`)."""


def usual_suites() -> tuple[str, ...]:
    """The suites that the packaged `mini` knows. The page begins with the first one: `FIRST`."""
    return tuple(sorted(known_suites("mini"), key=lambda suite: suite != FIRST))


@dataclass(frozen=True)
class LiveOptions:
    """What is built.

    Attributes:
        suites: whose tasks the page offers.
        tasks: their numbers in each suite.
        policies: small policies that come with the package; the first one acts unless the reader
            chooses another.
        vectors: whether golden vectors for the tests are written, which takes minutes.
    """

    suites: tuple[str, ...] = field(default_factory=usual_suites)
    tasks: tuple[int, ...] = tuple(range(10))
    policies: tuple[str, ...] = field(default_factory=packaged_policies)
    vectors: bool = False


def build(
    folder: Path, options: LiveOptions | None = None, tell: Callable[[str], None] = print
) -> None:
    """Write the whole page into `folder`, which must be new or an older build.

    Args:
        tell: gets a line of progress.

    Raises:
        TutorialError: the folder holds something else, npm or node is missing, a suite cannot be
            shown in a page, or the first policy must not be run there.
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
    wirings = {
        suite: wiring_export.export(suite, options.tasks, options.policies[0])
        for suite in options.suites
    }
    suites = [
        _export_suite(folder, options, suite, wiring, collected, tell)
        for suite, wiring in wirings.items()
    ]
    tell("meshes")
    scene_export.export_meshes(folder, collected, packages)
    manifest = _manifest(packages, suites)
    # Each further part of the page adds its own keys here, by one function `export(folder, …)`.
    keys = [key for wiring in wirings.values() for key in wiring.keys]
    for policy in options.policies:
        tell(f"policy {policy}")
        exported = policy_export.export(folder, policy, suites=options.suites)
        found = msgspec.to_builtins(exported)
        found["statistics"] = wiring_export.statistics(policy, keys)
        manifest["policies"][policy] = found
    diagnosis_data.export(folder, options.suites, options.policies)
    if options.vectors:
        # Of one suite: they test the graph, which is the same everywhere.
        policy_vectors.export(folder, options.suites[0], options.tasks, options.policies[0])
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


def _export_suite(
    folder: Path,
    options: LiveOptions,
    suite: str,
    wiring: wiring_export.WiringEntry,
    collected: scene_export.Collected,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Everything of one suite; its entry in the manifest."""
    tasks = []
    for task in options.tasks:
        tell(f"task {task} of {suite}")
        tasks.append(_export_task(folder, options, suite, task, collected))
    return {
        "suite": suite,
        "stepLimit": step_limit(suite),
        "initialStates": count_initial_states(suite, options.tasks[0]),
        **msgspec.structs.asdict(wiring),
        "tasks": tasks,
    }


def _export_task(
    folder: Path, options: LiveOptions, suite: str, task: int, collected: scene_export.Collected
) -> dict[str, Any]:
    """Everything of one task in one go, since building its simulator takes seconds."""
    with Simulator(suite, task, render=options.vectors) as simulator:
        found = {
            "task": task,
            "instruction": simulator.task.instruction,
            "goal": [list(predicate) for predicate in simulator.goal],
            "refusals": wiring_export.refusals(simulator),
        }
        found.update(physics_export.export(folder, simulator))
        found.update(scene_export.export(folder, simulator, collected))
        if options.vectors:
            vectors.export(folder, simulator)
    return found


def _manifest(packages: Path, suites: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest without policies and `files`."""
    locked = json.loads((packages / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return {
        "format": FORMAT,
        "versions": {
            "vla_tutorial": __version__,
            "mujoco": PINNED_MUJOCO,
            "mujoco-js": locked["node_modules/mujoco-js"]["version"],
            "onnxruntime-web": locked["node_modules/onnxruntime-web"]["version"],
        },
        "camera": {"name": CAMERA, "size": 256},
        "suites": suites,
        "policies": {},
    }
