"""libero_object's expert does what it always did: `mini` was trained on its labels.

`python tests/policies/test_expert_golden.py` makes the file anew. That is right only if a change of
these actions is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from vla_tutorial import actions
from vla_tutorial.policies.base import PrivilegedState
from vla_tutorial.policies.expert import ExpertPolicy
from vla_tutorial.sim import Simulator

GOLDEN = Path(__file__).parents[1] / "data/libero_object_expert_golden.npz"
TASKS = (0, 3)
EVERY = 3
"""Steps from one kept state to the next."""


def state_of(sim: Simulator) -> PrivilegedState:
    return PrivilegedState(sim.model, sim.data, sim.bodies, sim.asked, sim.targets, "libero_object")


def put(sim: Simulator, qpos: Any, qvel: Any) -> PrivilegedState:
    """The state of these positions and speeds, float32 as they are kept."""
    sim.data.qpos[:] = qpos
    sim.data.qvel[:] = qvel
    mujoco.mj_forward(sim.model, sim.data)
    return state_of(sim)


def visited(sim: Simulator, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """States of an episode with noise in what is executed."""
    sim.reset(0)
    expert = ExpertPolicy()
    for step in range(200):
        if step % EVERY == 0:
            yield sim.data.qpos.astype(np.float32), sim.data.qvel.astype(np.float32)
        action = expert.act(state_of(sim))
        action[:3] += rng.normal(0, 0.2, 3)
        if sim.step(action.clip(-1, 1))[2]:
            return


def make() -> None:
    """Write the file."""
    kept = {}
    for task in TASKS:
        with Simulator("libero_object", task, render=False) as sim:
            qpos, qvel = map(np.array, zip(*visited(sim, np.random.default_rng(task)), strict=True))
            expert = ExpertPolicy()
            said = [expert.act(put(sim, *one)) for one in zip(qpos, qvel, strict=True)]
        kept |= {f"qpos_{task}": qpos, f"qvel_{task}": qvel, f"actions_{task}": np.array(said)}
    np.savez_compressed(GOLDEN, **kept)


@pytest.mark.parametrize("task", TASKS)
def test_labels_of_libero_object_are_what_they_were(task: int) -> None:
    """Tokens are equal; actions to 1e-9, as another processor may round otherwise."""
    statistics = actions.find_statistics("libero_object", actions.embedded_statistics())
    with np.load(GOLDEN) as kept:
        qpos, qvel, wanted = (kept[f"{name}_{task}"] for name in ("qpos", "qvel", "actions"))
    expert = ExpertPolicy()
    with Simulator("libero_object", task, render=False) as sim:
        sim.reset(0)
        said = np.array([expert.act(put(sim, *one)) for one in zip(qpos, qvel, strict=True)])
    assert len(said) > 30
    assert np.abs(said - wanted).max() < 1e-9
    tokens = [actions.encode(actions.from_libero(each), statistics) for each in (said, wanted)]
    assert np.array_equal(*tokens)
    assert set(said[:, 6]) == {-1.0, 1.0}, "closing and opening are among them"


if __name__ == "__main__":
    make()
