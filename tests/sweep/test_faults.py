"""Whatever stops a sweep: nothing is lost but what was in flight, nothing is there twice, nothing stays behind."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.episodes import read_sweep

TESTS = Path(__file__).parents[1]
ENDS = [signal.SIGKILL] * 8 + [signal.SIGTERM, signal.SIGHUP, signal.SIGINT] * 4
WORKER_KILLS = 8
PLAN = [
    "--suite",
    "libero_object",
    "--policy",
    "expert",
    "--tasks",
    "0-1",
    "--inits",
    "0-2",
    "--max-steps",
    "12",
]


def environment(**more):
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "VLA_TUTORIAL_SIMULATOR": "sweep_fakes:Fake", **more}


@contextlib.contextmanager
def started(*arguments, script=("tests/sweep_fakes.py",), **more):
    """A sweep in a process; whatever becomes of the test, nothing of it stays."""
    command = [sys.executable, *script, *map(str, arguments)]
    with subprocess.Popen(
        command,
        cwd=TESTS.parent,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def finished(*arguments, code=0, **more):
    with started(*arguments, **more) as process:
        said, _ = process.communicate(timeout=180)
    assert process.returncode == code, said
    return said


def lines(folder):
    return [json.loads(text) for text in (folder / "episodes.jsonl").read_text().splitlines()]


def story(folder):
    """Everything that must not depend on workers, kills or time."""
    found = lines(folder)
    assert len({(e["condition"], e["task"], e["init"]) for e in found}) == len(found)
    rows = [{k: v for k, v in e.items() if k not in ("seconds", "attempt")} for e in found]
    steps = {
        e["folder"]: (folder / e["folder"] / "steps.jsonl").read_bytes()
        for e in found
        if e["outcome"] != "error"
    }
    return sorted(rows, key=lambda e: e["folder"]), steps


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def count(folder):
    path = folder / "episodes.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def simulators(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return [
            p
            for p in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(p.cmdline())
        ]
    return []


def assert_gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not alive


def end_main(process, folder, rng, number=signal.SIGKILL):
    """Somewhere between its start and some episodes later; the workers get the signal as well."""
    if rng.random() < 0.3:
        time.sleep(rng.uniform(0, 2))
    else:
        before = count(folder)
        wait_for(lambda: count(folder) >= before + rng.randint(0, 3), process)
        time.sleep(rng.uniform(0, 0.1))
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    code = process.wait(60)
    # Before the sweep has begun, a signal does what it does to any program.
    said = process.stdout.read()
    starting = "init_import_site" in said
    assert starting or code in (0, -number, 128 + number), said
    assert_gone(family)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "s"
    finished(folder, 1)
    assert len(lines(folder)) == 24
    return story(folder)


def test_kills_and_signals_at_20_random_moments(tmp_path, undisturbed):
    folder, rng = tmp_path / "s", random.Random(6)
    for number in rng.sample(ENDS, len(ENDS)):
        with started(folder, 2) as process:
            end_main(process, folder, rng, number)
        text = (folder / "episodes.jsonl").read_bytes() if count(folder) else b""
        assert text.endswith(b"\n") or not text
        if text:
            read_sweep(folder)
    finished(folder, 2)
    assert story(folder) == undisturbed
    assert sorted(p.name for p in folder.iterdir()) == ["episodes", "episodes.jsonl", "sweep.json"]
    assert all(e["attempt"] == 1 for e in lines(folder))


def test_kill_9_of_workers_at_random_moments(tmp_path, undisturbed):
    folder, rng, killed = tmp_path / "s", random.Random(7), []
    with started(folder, 2, SWEEP_FAKE_SECONDS="0.02") as process:
        while len(killed) < WORKER_KILLS and process.poll() is None:
            before = count(folder)
            wait_for(lambda before=before: count(folder) > before, process)
            time.sleep(rng.uniform(0, 0.3))
            if alive := sorted(simulators(process), key=psutil.Process.create_time):
                killed.append(
                    alive[0] if len(killed) % 3 else alive[-1]
                )  # the newest may still be starting
                killed[-1].kill()
        said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert len(killed) == WORKER_KILLS
    assert_gone(killed)
    twice = [
        e for e in lines(folder) if e["outcome"] == "error"
    ]  # by chance two kills may hit one episode
    assert len(twice) <= WORKER_KILLS / 2 and all(
        "signal 9" in e["error"] and e["attempt"] == 2 for e in twice
    )
    finished(folder, 2)
    assert story(folder) == undisturbed


@pytest.mark.parametrize(
    ("misdeed", "word"),
    [("segfault", "signal 11"), ("hang", "hung"), ("stop", "hung"), ("raise", "own mistake")],
)
def test_a_bad_simulator_is_replaced_and_its_episode_retried_once(
    tmp_path, undisturbed, misdeed, word
):
    (tmp_path / "once").mkdir()
    timeouts = (1, 4, 60, 3)  # tasks, inits, seconds for building, seconds for a step
    finished(tmp_path / "s", 2, *timeouts, SWEEP_FAKE=f"{misdeed} 0_1 {tmp_path / 'once'}")
    first, *_ = (e for e in lines(tmp_path / "s") if e["attempt"] == 2)
    assert (first["task"], first["init"]) == (0, 1)
    kept = [e for e in undisturbed[0] if e["task"] == 0]
    assert story(tmp_path / "s")[0] == kept

    finished(tmp_path / "always", 2, *timeouts, SWEEP_FAKE=f"{misdeed} 0_1")
    found = story(tmp_path / "always")[0]
    errors = [e for e in found if e["init"] == 1]
    assert [e["condition"] for e in errors] == [PUBLISHED, "wrong_prompt"]
    assert all(
        e["outcome"] == "error"
        and e["success"] is None
        and e["steps"] is None
        and word in e["error"]
        for e in errors
    )
    assert {e["attempt"] for e in lines(tmp_path / "always") if e["init"] == 1} == {2}
    assert [e for e in found if e["init"] != 1] == [e for e in kept if e["init"] != 1]


def test_a_machine_on_which_nothing_runs_stops_the_sweep(tmp_path):
    said = finished(tmp_path / "s", 2, code=2, VLA_TUTORIAL_SIMULATOR="sweep_fakes:Nothing")
    assert "No simulator could be built in 3 attempts" in said and "Nothing" in said
    assert count(tmp_path / "s") == 0


def test_a_simulator_that_is_never_built_stops_the_sweep(tmp_path):
    said = finished(tmp_path / "s", 1, 1, 1, 2, 60, code=2, SWEEP_FAKE="build")
    assert "hung" in said and "2 s while it was being built" in said


def test_a_policy_that_raises_stops_the_sweep_which_then_resumes(tmp_path, undisturbed):
    said = finished(tmp_path / "s", 2, code=2, SWEEP_FAKE_POLICY="60")
    assert "the policy's own mistake" in said and "resume" in said
    done = len(lines(tmp_path / "s"))
    assert 0 < done < 24
    said = finished(tmp_path / "s", 2)
    assert f"holds {done} of 24" in said
    assert story(tmp_path / "s") == undisturbed


def test_a_full_disk_stops_the_sweep_which_then_resumes(tmp_path, undisturbed):
    """A limit on the size of files, which the kernel holds against the journal and the workers' records alike."""
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); import sweep_fakes; sweep_fakes.main(*sys.argv[1:])"
    said = finished(tmp_path / "s", 1, code=2, script=("-c", limited))
    assert str(tmp_path / "s") in said and "File too large" in said
    assert 0 < len(lines(tmp_path / "s")) < 24
    finished(tmp_path / "s", 2)
    assert story(tmp_path / "s") == undisturbed


def test_ctrl_c_once_finishes_what_is_in_flight(tmp_path, undisturbed):
    with started(tmp_path / "s", 2, SWEEP_FAKE_SECONDS="0.05") as process:
        wait_for(lambda: count(tmp_path / "s") >= 2, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Ctrl-C" in said and "Traceback" not in said
    assert 2 < len(lines(tmp_path / "s")) < 24
    assert {e["outcome"] for e in lines(tmp_path / "s")} <= {"success", "failure"}
    assert not (tmp_path / "s/.parts").exists()
    finished(tmp_path / "s", 2)
    assert story(tmp_path / "s") == undisturbed


def test_ctrl_c_twice_stops_now(tmp_path):
    (tmp_path / "once").mkdir()
    with started(tmp_path / "s", 2, SWEEP_FAKE=f"hang 0_1 {tmp_path / 'once'}") as process:
        wait_for((tmp_path / "once/hang").exists, process)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in said
    assert_gone(family)
    assert (0, 1) not in {
        (e["task"], e["init"]) for e in lines(tmp_path / "s") if e["condition"] == PUBLISHED
    }


def test_real_libero_survives_kills_of_both_kinds(tmp_path):
    def sweep(folder, workers):
        return {
            "script": (
                "-m",
                "vla_tutorial.cli",
                "sweep",
                *PLAN,
                "--workers",
                str(workers),
                "--out",
                str(folder),
            ),
            "VLA_TUTORIAL_SIMULATOR": "sweep_fakes:blind",
        }

    finished(**sweep(tmp_path / "calm", 1))
    folder = tmp_path / "s"
    with started(**sweep(folder, 2)) as process:  # a worker, in the middle of an episode
        wait_for(
            lambda: any(p.stat().st_size for p in folder.glob(".parts/*/steps.jsonl")), process, 120
        )
        victim = simulators(process)[0]
        victim.kill()
        assert_gone([victim])
        wait_for(lambda: count(folder) >= 2, process, 120)  # then the main process
        end_main(process, folder, random.Random(1))
    with started(**sweep(folder, 2)) as process:  # while simulators are being built
        wait_for(lambda: len(simulators(process)) == 2, process)
        time.sleep(2)
        end_main(process, folder, random.Random(3))
    finished(**sweep(folder, 2))
    assert story(folder) == story(tmp_path / "calm")
    assert len(lines(folder)) == 6
