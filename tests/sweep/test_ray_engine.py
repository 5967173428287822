"""The engine `ray` on a real cluster of two nodes on this machine, one of which is killed on the way."""

import json
import os
import subprocess
import sys

import pytest

ray = pytest.importorskip("ray", reason="pip install 'vla-tutorial[ray]'")

from ray_nodes import python_path, two_nodes  # noqa: E402

from vla_tutorial.errors import TutorialError  # noqa: E402
from vla_tutorial.spec import EpisodeSpec  # noqa: E402
from vla_tutorial.sweep import LocalEngine, SweepPlan, run_sweep  # noqa: E402
from vla_tutorial.sweep.policy_server import load_policy_for  # noqa: E402
from vla_tutorial.sweep.ray_engine import RayEngine  # noqa: E402

PLAN = SweepPlan(EpisodeSpec(device="cpu", max_steps=12), (0, 1), (0, 1, 2))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", python_path(tmp_path_factory.mktemp("without")))
        patch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
        patch.setenv("SWEEP_FAKE_SECONDS", "0.1")
        yield patch


@pytest.fixture(scope="module")
def cluster(environment):
    with two_nodes(3, 2) as found:
        yield found


def story(folder):
    entries = [json.loads(text) for text in (folder / "episodes.jsonl").read_text().splitlines()]
    rows = {
        e["folder"]: {k: v for k, v in e.items() if k not in ("seconds", "attempt")}
        for e in entries
    }
    assert len(rows) == len(entries)
    return rows, {name: (folder / name / "steps.jsonl").read_bytes() for name in rows}


def test_a_node_that_dies_costs_attempts_and_nothing_else(cluster, environment, tmp_path):
    cluster, second = cluster
    environment.setenv("RAY_ADDRESS", cluster.address)
    with pytest.raises(TutorialError, match="5 CPUs: room for 4 workers beside the policy, not 9"):
        RayEngine(PLAN, 9)
    engine, killed = RayEngine(PLAN, 4), []

    def watch(progress):
        if progress.done and not killed:
            killed.append(sum(node["Alive"] for node in ray.nodes()))
            cluster.remove_node(second, allow_graceful=False)

    progress = run_sweep(PLAN, tmp_path / "ray", engine, 4, weights=engine.weights, watch=watch)
    assert killed == [2]
    assert progress.done == 6 and not progress.outcomes["error"]
    assert (
        max(
            json.loads(line)["attempt"]
            for line in (tmp_path / "ray/episodes.jsonl").read_text().splitlines()
        )
        == 2
    )
    policy, weights = load_policy_for(PLAN)
    run_sweep(PLAN, tmp_path / "local", LocalEngine(policy, 1), 1, weights=weights)
    assert story(tmp_path / "ray") == story(tmp_path / "local")


def test_no_cluster_is_told(tmp_path):
    code = "from vla_tutorial.sweep.ray_engine import RayEngine; RayEngine(None, 1)"
    found = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=found,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "No Ray cluster answers at '127.0.0.1:1'" in done.stderr


def test_without_ray_the_command_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['ray'] = None; sys.argv[0] = 'vla-tutorial'; from vla_tutorial.cli.app import main; main()"
    arguments = [
        "sweep",
        "--suite",
        "libero_object",
        "--inits",
        "0",
        "--engine",
        "ray",
        "--out",
        str(tmp_path / "s"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2 and "pip install 'vla-tutorial[ray]'" in done.stderr
    assert not (tmp_path / "s").exists()
