"""Golden vectors of the policy: what Python's engine answers to recorded pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_tutorial.arrays import Picture
from vla_tutorial.live.site_files import stem, write_bytes, write_json
from vla_tutorial.pixels import prepare
from vla_tutorial.policies import PolicyInput, load_policy, native_key
from vla_tutorial.policies.model import ModelPolicy
from vla_tutorial.prompt import build
from vla_tutorial.sim import task_instructions
from vla_tutorial.wiring import Wiring

EVERY = 4
"""Of the pictures that `vectors.export` keeps, 20 a task: each fourth."""


def export(folder: Path, suite: str, tasks: Sequence[int], policy: str = "mini") -> None:
    """Write answers to pictures of each task, after `vectors.export` has written the pictures.

    vectors/policy.bin holds the raw pictures (256, 256, 3), then as many prepared ones
    (224, 224, 3), all uint8. vectors/policy.json has for each its task, ids and tokens (7).
    """
    model = load_policy(policy, device="cpu")
    assert isinstance(model, ModelPolicy)
    wiring = Wiring(native_key(policy, suite))
    instructions = task_instructions(suite)
    pictures: list[Picture] = []
    inputs: list[PolicyInput] = []
    answers = []
    for task in tasks:
        prompt = build(wiring, instructions[task])
        for picture in _recorded(folder, stem(suite, task), wiring.camera_size)[::EVERY]:
            pictures.append(picture)
            inputs.append(PolicyInput(prepare(picture, wiring), prompt))
            tokens = model.predict(inputs[-1:])[0].tolist()
            answers.append({"task": task, "ids": model.ids(prompt), "tokens": tokens})
    prepared = np.stack([one.pixels for one in inputs])
    content = np.stack(pictures).tobytes() + prepared.tobytes()
    write_bytes(folder / "vectors/policy.bin", content)
    write_json(folder / "vectors/policy.json", answers)


def _recorded(folder: Path, name: str, size: int) -> Picture:
    content = (folder / f"vectors/{name}.rgb").read_bytes()
    return np.frombuffer(content, np.uint8).reshape(-1, size, size, 3)
