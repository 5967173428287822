import json

import numpy as np
import pytest

from vla_tutorial.policies import load_policy
from vla_tutorial.sim import Simulator


@pytest.fixture(scope="session")
def simulator():
    """One libero_object task 0 for a whole worker: building it costs seconds."""
    with Simulator("libero_object", 0) as sim:
        yield sim


@pytest.fixture(scope="session")
def expert():
    return load_policy("expert")


@pytest.fixture
def lines():
    """A made-up log: opens, closes at step 4, success at step 9."""
    return [
        {
            "step": k,
            "img_mean": 130.0,
            "img_quarters": [130.0] * 4,
            "action": [0.1, 0.0, -0.1, 0.0, 0.0, 0.0, 1.0 if k >= 4 else -1.0],
            "reward": float(k == 9),
            "tokens": [31872] * 7,
            "eef_pos": [0.0, 0.0, 0.25 - 0.01 * k],
            "gripper_qpos": [0.04, -0.04],
        }
        for k in range(10)
    ]


@pytest.fixture
def read_json():
    return lambda path: json.loads(path.read_text())


@pytest.fixture
def rng():
    return np.random.default_rng(0)
