"""Episodes that end in errors: said at the end, run again by the same command, and a bad machine stops a sweep early."""

import json
import os
import traceback
from collections import Counter
from pathlib import Path

import pytest
import sweep_fakes
import typer
from small_disk import resize, small_disk
from sweep_fakes import KEY, Fake, Follow

from vla_tutorial.cli.sweep import describe_errors, finish
from vla_tutorial.cli.terminal import Interrupt
from vla_tutorial.episodes import Episode, EpisodeKey, one_line, read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import DiskFull
from vla_tutorial.log import read_log
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep import SweepPlan, SweepProgress, run_sweep
from vla_tutorial.sweep.journal import Journal
from vla_tutorial.sweep.messages import Lost, PolicyInfo, Ready
from vla_tutorial.sweep.worker import Worker

PLAN = SweepPlan(EpisodeSpec(KEY, policy="follow", max_steps=12), (0, 1), (0, 1, 2))


class Inline:
    """An engine without processes: a request has ended when `send` returns."""

    def __init__(self):
        self.policy = Follow()
        self.policy_info = PolicyInfo.of(self.policy)
        self.serving = {}
        self.said = []
        self.workers = {}

    def start_worker(self):
        number = len(self.workers)
        self.workers[number] = Worker(
            self.policy_info,
            self.policy.predict,
            lambda message: self.said.append((number, message)),
        )
        self.said.append((number, Ready()))
        return number

    def send(self, worker, request):
        if request is not None:
            self.said.append((worker, self.workers[worker].run(request)))

    def poll(self, seconds):
        said, self.said = self.said, []
        return said

    def kill(self, worker):
        self.said.append((worker, Lost("killed")))

    def close(self):
        pass


class Machine:
    """What breaks: "build" for every simulator, or a set of (task, init) that raise at a step."""

    broken = ()
    at_step = 3


class Breaking(Fake):
    def __init__(self, *arguments):
        if Machine.broken == "build":
            raise RuntimeError("no EGL device here")
        super().__init__(*arguments)

    def start(self, scene, settle_steps):
        seen = super().start(scene, settle_steps)
        if Machine.at_step == 0:
            self._break()
        return seen

    def step(self, action):
        if self.steps + 1 == Machine.at_step:
            self._break()
        return super().step(action)

    def _break(self):
        if Machine.broken == "start" or (self.task.index, self.init) in Machine.broken:
            raise ValueError("the simulator's own mistake")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    sweep_fakes.Breaking = Breaking
    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Breaking")
    monkeypatch.setattr(sweep_fakes, "STEP_SECONDS", 0)
    monkeypatch.setattr(Machine, "broken", ())
    monkeypatch.setattr(Machine, "at_step", 3)
    return Machine


def sweep(folder, plan=PLAN, workers=2, **options):
    """Run a sweep → its progress, and what it said."""
    said = []
    progress = run_sweep(plan, folder, Inline(), workers, say=said.append, **options)
    return progress, " ".join(said)


def lines(folder):
    return [json.loads(text) for text in (folder / "episodes.jsonl").read_text().splitlines()]


def outcomes(folder):
    """Everything in the lines that must not depend on time and attempts."""
    free = {"seconds": 0, "attempt": 0}
    return sorted((e | free for e in lines(folder)), key=lambda e: e["folder"])


def places(folder, outcome="error"):
    return {(e["task"], e["init"]) for e in lines(folder) if e["outcome"] == outcome}


def test_errors_run_again_with_the_same_command(tmp_path, machine):
    machine.broken = {(0, 1), (1, 2)}
    first, _ = sweep(tmp_path)
    assert (first.done, first.outcomes["error"], first.given_up) == (6, 2, 0)
    assert first.causes == {"ValueError: the simulator's own mistake": 2}
    machine.broken = ()
    second, said = sweep(tmp_path)
    assert "holds 6 of 6 episodes; resuming. 2 of them ended in errors and run again." in said
    assert (second.done, second.outcomes["error"], second.here) == (6, 0, 2)
    assert second.causes == {}
    assert len(lines(tmp_path)) == 6 and places(tmp_path) == set()
    assert {e["attempt"] for e in lines(tmp_path)} == {1, 3}
    sweep(tmp_path / "healthy")
    assert outcomes(tmp_path) == outcomes(tmp_path / "healthy")


def test_errors_that_stay_are_given_up_until_they_are_asked_for(tmp_path, machine):
    machine.broken = {(0, 1)}
    assert sweep(tmp_path)[0].given_up == 0
    assert sweep(tmp_path)[0].given_up == 1
    (error,) = (e for e in lines(tmp_path) if e["outcome"] == "error")
    assert error["attempt"] == 4
    third, said = sweep(tmp_path)
    assert (third.here, third.given_up, third.outcomes["error"]) == (0, 1, 1)
    assert "1 ended in errors too often; --retry-errors runs them again." in said
    assert third.causes == {"ValueError: the simulator's own mistake": 1}
    machine.broken = ()
    assert sweep(tmp_path, retry_errors=True)[0].outcomes["error"] == 0
    assert places(tmp_path) == set()


def test_a_run_that_is_stopped_keeps_the_errors_that_it_has_not_tried(tmp_path, machine):
    machine.broken = {(0, 1), (1, 2)}
    sweep(tmp_path)
    before = (tmp_path / "episodes.jsonl").read_bytes()
    progress, _ = sweep(tmp_path, stopping=lambda: True)
    assert progress.done == 4
    assert (tmp_path / "episodes.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("broken", "at_step", "words"),
    [
        (
            "build",
            3,
            "No simulator could be built in 3 attempts, so the sweep stopped: RuntimeError: no EGL device here",
        ),
        (
            "start",
            0,
            "None of the first 3 attempts at an episode took a step, so the sweep stopped: ValueError",
        ),
    ],
)
def test_a_machine_on_which_nothing_begins_stops_the_sweep_early(
    tmp_path, machine, broken, at_step, words
):
    machine.broken = broken
    machine.at_step = at_step
    with pytest.raises(TutorialError) as told:
        sweep(tmp_path)
    said = str(told.value)
    assert (
        said.startswith(words) and "test_errors.py, line" in said and "same command again" in said
    )
    assert len(said.splitlines()) == 1
    assert len(lines(tmp_path)) <= 1
    assert not (tmp_path / ".parts").exists()
    # On a machine that is fixed the same command runs everything.
    machine.broken = ()
    progress, _ = sweep(tmp_path)
    assert progress.outcomes["error"] == 0 and progress.done == 6


def test_many_workers_have_an_attempt_each(tmp_path, machine):
    machine.broken = "build"
    with pytest.raises(TutorialError, match="in 5 attempts"):
        sweep(tmp_path, workers=5)


def test_one_broken_task_does_not_stop_the_others(tmp_path, machine):
    machine.broken = {(0, 0), (0, 1), (0, 2)}
    progress, _ = sweep(
        tmp_path,
        workers=1,
        plan=SweepPlan(PLAN.spec, (1, 0), (0, 1, 2), ("published", "wrong_prompt")),
    )
    assert progress.done == 12
    assert progress.outcomes["error"] == 6


def test_a_few_episodes_on_a_bad_machine_are_errors(tmp_path, machine):
    """Two attempts are fewer than what stops a sweep early."""
    machine.broken = "build"
    progress, _ = sweep(tmp_path, SweepPlan(PLAN.spec, (0,), (0,)))
    assert progress.causes == {"RuntimeError: no EGL device here": 1}


def test_the_file_of_episodes_is_locked_while_a_line_is_replaced(tmp_path):
    key = EpisodeKey("published", 0, 0)
    broken = Episode("s", 0, 0, "published", None, "error", attempt=2, error="x")
    with Journal(tmp_path, {"suite": "s"}) as journal:
        journal.append(broken)
        journal.append(Episode("s", 0, 1, "published", True, "success"))
        assert (journal.tried(key), journal.is_left(key)) == (2, True)
        old = os.open(tmp_path / "episodes.jsonl", os.O_RDWR)
        journal.append(Episode("s", 0, 0, "published", True, "success", attempt=3))
        assert not journal.is_left(key)
        with pytest.raises(TutorialError, match="still writing"):
            Journal(tmp_path, {"suite": "s"})
        os.close(old)
    with Journal(tmp_path, {"suite": "s"}) as found:
        assert [e.success for e in found.episodes.values()] == [True, True]
    assert sorted(os.listdir(tmp_path)) == ["episodes.jsonl", "sweep.json"]


def test_a_replaced_line_keeps_the_keys_of_others(tmp_path):
    """A later version may write more into a line."""
    with Journal(tmp_path, {"suite": "s"}) as journal:
        journal.append(Episode("s", 0, 0, "published", None, "error", attempt=2, error="x"))
    path = tmp_path / "episodes.jsonl"
    other = (
        Episode("s", 0, 1, "published", True, "success").to_line().replace("{", '{"later": 1, ', 1)
    )
    path.write_text(path.read_text() + other)
    with Journal(tmp_path, {"suite": "s"}) as journal:
        journal.append(Episode("s", 0, 0, "published", False, "failure", attempt=3))
    assert other in path.read_text()


def test_a_folder_that_is_deleted_while_it_runs_is_named(tmp_path):
    with Journal(tmp_path, {"suite": "s"}) as journal:
        (tmp_path / "episodes.jsonl").unlink()
        with pytest.raises(TutorialError, match="was deleted while the sweep ran"):
            journal.append(Episode("s", 0, 0, "published", True, "success"))


def test_a_full_disk_at_20_sizes_never_loses_what_has_ended(tmp_path):
    plan = SweepPlan(PLAN.spec, (0, 1), tuple(range(6)))
    disk = tmp_path / "disk"
    folder = disk / "s"
    stops = 0
    done = set()
    with small_disk(disk, 4):
        for kib in range(4, 4 + 20 * 8, 8):
            resize(disk, kib)
            try:
                sweep(folder, plan)
            except DiskFull as e:
                stops += e.why == "No space left on device"
            found = (
                {e["folder"] for e in lines(folder)} if (folder / "sweep.json").exists() else set()
            )
            assert found >= done, "an episode was lost"
            done = found
            if done:
                read_sweep(folder)
            for name in done:
                episode = json.loads((folder / name / "episode.json").read_text())
                assert len(read_log(folder / name)) == episode["steps"]
            assert not (folder / ".parts").exists()
        assert stops > 10
        resize(disk, 2000)
        assert sweep(folder, plan)[0].outcomes["error"] == 0
        assert sorted(os.listdir(folder)) == ["episodes", "episodes.jsonl", "sweep.json"]
        sweep(tmp_path / "calm", plan)
        assert outcomes(folder) == outcomes(tmp_path / "calm")


def raised():
    try:
        try:
            raise KeyError("first")
        except KeyError as e:
            raise TutorialError("Two lines.\nThe second.") from e
    except TutorialError:
        return traceback.format_exc(limit=-3)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("The simulator's process ended with signal 11 (Segmentation fault).", None),
        (raised(), "Two lines."),
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    x\n    ^\nValueError: no\n',
            "ValueError: no",
        ),
        ("", "unknown"),
        ("x" * 999, "x" * 200),
    ],
)
def test_an_error_in_one_line(error, cause):
    assert one_line(error) == (cause or error)


def progress_with(causes, given_up=0):
    errors = sum(causes.values())
    return SweepProgress(10, Counter(success=10 - errors, error=errors), Counter(causes), given_up)


def test_the_last_line_says_what_broke_and_what_runs_it_again(capsys):
    with Interrupt() as stop:
        assert not finish(progress_with({}), Path("out/s"), stop)
        assert capsys.readouterr().out.splitlines()[-1] == "Next: vla-tutorial report out/s"
        assert finish(progress_with({"A: [x]": 2, "B": 1}), Path("out/s"), stop)
    last = capsys.readouterr().out.splitlines()[-1]
    assert (
        last
        == "Errors: 3 of 10 episodes ended in errors (2 × A: [x]; 1 × B). The same command runs them once more."
    )
    assert "--retry-errors" in describe_errors(progress_with({"A": 3}, given_up=3))
    assert "2 of them" in describe_errors(progress_with({"A": 3}, given_up=2))
    assert "and others" in describe_errors(progress_with(dict.fromkeys("ABCDE", 1)))


def test_a_sweep_that_was_stopped_exits_as_its_signal_does():
    stop = Interrupt(graceful=True)
    stop._presses = 1
    stop.exit_code = 143
    with pytest.raises(typer.Exit) as told:
        finish(SweepProgress(10, Counter(success=3)), Path("s"), stop)
    assert told.value.exit_code == 143
