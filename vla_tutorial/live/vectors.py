"""Golden vectors for the page's tests: what Python sees, where the page must see the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.live.site_files import stem, write_bytes, write_json
from vla_tutorial.loop import Step, rollout
from vla_tutorial.policies import load_policy, native_key
from vla_tutorial.scene import Perturbation, Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import Wiring

INITS = 4
"""Initial states of each task whose episodes are recorded."""

SETTLE_STEPS = 10

POSES = (0, 20, 40, 60, 80)
"""Control steps of each episode whose picture is kept: 20 pictures a task."""

CHANGES = {
    "camera": Perturbation(camera_degrees=15),
    "light": Perturbation(light=0.5),
    "second_can": Perturbation(second_can=True),
    "swapped": Perturbation(distractors="swapped"),
    "hidden": Perturbation(distractors="hidden"),
    "srgb": Perturbation(srgb_textures=True),
    "friction": Perturbation(friction=0.9),
    "nudge": Perturbation(joint_noise_seed=2),
}
"""Perturbations of which the start is recorded: the state and its picture."""

CONTROLS = {
    "control_rate": Perturbation(control_rate=10),
    "absolute": Perturbation(absolute_control=True),
}
"""Perturbations of which some moves are recorded: where the hand is before each, and the states."""

MOVES = np.array(
    [
        [0.05, 0.1, 0.4, 3.0, 0.2, 0.1, -1],
        [0.3, -0.2, 0.25, 2.0, 0.0, 0.4, 1],
        [-0.1, 0.0, 0.3, 0.0, 0.0, 0.0, 1],
        [0.0, 0.2, 0.9, -0.3, 1.0, 0.0, -1],
        [0.1, 0.1, 0.2, 3.1, 0.0, 0.0, 1],
        [-0.4, 0.3, 0.5, 0.1, 0.1, -0.2, -1],
    ]
)
"""What LIBERO gets in them: displacements, or places in metres and rotations in radians."""

LAYOUTS = (0, 1, 2, 3)
"""Seeds of the random layouts of which the start is recorded: the state."""


def export(folder: Path, simulator: Simulator) -> None:
    """Record replays of one task below `folder`/vectors, of the privileged policy's actions.

    vectors/SUITE_taskN.json says what is in SUITE_taskN.bin (float64, little endian) and in
    SUITE_taskN.rgb (uint8 pictures of 256 × 256 × 3: those of the episodes, then of the starts).
    """
    task = simulator.task.index
    name = f"vectors/{stem(simulator.task.suite, task)}"
    recorded = [_episode(simulator, init) for init in range(INITS)]
    arrays: list[Floats] = []
    about: list[dict[str, Any]] = []
    for episode in recorded:
        about.append({key: _append(arrays, value) for key, value in episode["arrays"].items()})
        about[-1].update(episode["facts"])
    starts = [start for change in CHANGES for start in _start(simulator, change)]
    changed = [{**start["facts"], "state": _append(arrays, start["state"])} for start in starts]
    controls = [
        {"name": control, "init": 0, "perturbation": asdict(perturbation)}
        | {key: _append(arrays, value) for key, value in _moves(simulator, perturbation).items()}
        for control, perturbation in CONTROLS.items()
    ]
    layouts = [_layout(simulator, seed) for seed in LAYOUTS]
    drawn = [
        {"seed": seed, "state": _append(arrays, state)}
        for seed, state in zip(LAYOUTS, layouts, strict=True)
    ]
    pictures = np.concatenate([part["pictures"] for part in [*recorded, *starts]])
    write_bytes(folder / f"{name}.bin", np.concatenate(arrays).astype("<f8").tobytes())
    write_bytes(folder / f"{name}.rgb", pictures.tobytes())
    facts = {
        "task": task,
        "episodes": about,
        "starts": changed,
        "controls": controls,
        "layouts": drawn,
    }
    write_json(folder / f"{name}.json", facts)


def _append(arrays: list[Floats], value: Floats) -> dict[str, Any]:
    """Add an array; where it begins, counted in numbers, and its shape."""
    start = sum(map(len, arrays))
    arrays.append(np.asarray(value, np.float64).ravel())
    return {"start": start, "shape": list(value.shape)}


def _episode(simulator: Simulator, init: int) -> dict[str, Any]:
    """One recorded episode: its arrays by name, facts about it, and its pictures."""
    suite = simulator.task.suite
    scene = Scene(suite, simulator.task.index, init)
    wiring = Wiring(native_key("expert", suite))
    steps: list[Step] = []
    states: list[Floats] = []
    with _noted_poses(simulator) as poses:
        for step in rollout(load_policy("expert"), simulator, wiring, scene):
            steps.append(step)
            states.append(simulator.state())
            # A picture takes longer than all else, so only those that are kept are drawn. The
            # policy does not look. The next step shows what the one after it begins with.
            simulator._show(len(steps) + 1 in POSES)
    # The first step drew its end as well, since `reset` had switched the camera on.
    del poses[1]
    return {
        "arrays": {
            "actions": np.array([step.action for step in steps]),
            "eef": np.array([step.observation.eef_pos for step in steps]),
            "gripper": np.array([step.observation.gripper_qpos for step in steps]),
            "states": np.array(states),
            "poses": np.array(poses),
        },
        "facts": {"init": init, "steps": len(steps), "done": steps[-1].done},
        "pictures": np.array([step.observation.image for step in steps if step.step in POSES]),
    }


def _start(simulator: Simulator, name: str) -> list[dict[str, Any]]:
    """The start of initial state 1 under a perturbation, settled; none where the scene has none."""
    scene = Scene(simulator.task.suite, simulator.task.index, 1, perturbation=CHANGES[name])
    try:
        observation = simulator.start(scene, SETTLE_STEPS)
    except TutorialError:
        return []
    facts = {"name": name, "init": scene.init, "perturbation": asdict(CHANGES[name])}
    return [{"state": simulator.state(), "facts": facts, "pictures": observation.image[None]}]


def _moves(simulator: Simulator, perturbation: Perturbation) -> dict[str, Floats]:
    """`MOVES` from initial state 0 under a perturbation."""
    task = simulator.task
    scene = Scene(task.suite, task.index, 0, perturbation=perturbation)
    seen = [simulator.start(scene, SETTLE_STEPS)]
    states = []
    for action in MOVES:
        observation, _, _ = simulator.step(action)
        seen.append(observation)
        states.append(simulator.state())
    return {
        "actions": MOVES,
        "eef": np.array([observation.eef_pos for observation in seen[:-1]]),
        "gripper": np.array([observation.gripper_qpos for observation in seen[:-1]]),
        "states": np.array(states),
    }


def _layout(simulator: Simulator, seed: int) -> Floats:
    """The start of a random layout, settled."""
    scene = Scene(simulator.task.suite, simulator.task.index, seed, layout_seed=seed)
    simulator.start(scene, SETTLE_STEPS)
    return simulator.state()


@contextlib.contextmanager
def _noted_poses(simulator: Simulator) -> Iterator[list[Floats]]:
    """A list that grows by one with each picture: (bodies, 12), positions and rotations in it."""
    camera = simulator._camera
    assert camera is not None
    sensor = camera._sensor
    poses: list[Floats] = []

    def noted(cache: Any) -> Any:
        data = simulator.data
        poses.append(np.hstack([data.xpos, data.xmat]))
        return sensor(cache)

    camera._sensor = noted
    try:
        yield poses
    finally:
        camera._sensor = sensor
