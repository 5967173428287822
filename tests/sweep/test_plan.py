"""What a sweep runs, and what its folder remembers."""

import json
import os
import subprocess
import sys

import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.sweep import journal
from vla_tutorial.sweep.journal import DiskFull, Journal, differences
from vla_tutorial.sweep.plan import Job, Sweep, names

PLAN = Sweep("libero_object", (0, 1), (0, 1, 2))


def entry(job, **more):
    return {
        "suite": "libero_object",
        "task": job.task,
        "init": job.init,
        "condition": job.condition,
        "outcome": "success",
        **more,
    }


def test_every_episode_is_there_once():
    plan = Sweep(
        "libero_object",
        (3, 1, 3),
        (7, 0),
        ("no_flip+wrong_prompt", "published", "no_flip+wrong_prompt"),
    )
    assert [(j.condition, j.task, j.init) for j in plan.jobs()] == [
        (c, t, i) for c in ("no_flip+wrong_prompt", "published") for t in (1, 3) for i in (0, 7)
    ]
    assert plan.jobs()[0].folder == "episodes/no_flip+wrong_prompt/1_0"
    assert names("published") == () and names("a+b") == ("a", "b")


def test_conditions_change_the_wiring_of_their_episodes_alone():
    plan = Sweep("libero_object_swap", (0,), (0,), ("published", "no_flip+no_settle"), max_steps=7)
    published, broken = (plan.settings(job)[0] for job in plan.jobs())
    assert (published.unnorm_key, published.orientation, published.max_steps) == (
        "libero_object",
        "rotate_180",
        7,
    )
    assert (broken.orientation, broken.settle_steps, broken.max_steps) == ("raw", 0, 7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suite": "libero_objekt"}, "Did you mean 'libero_object'"),
        ({"tasks": (0, 10)}, "expected 0 … 9"),
        ({"inits": (50,)}, "expected 0 … 49"),
        ({"conditions": ("noflip",)}, "Did you mean 'no_flip'"),
        ({"conditions": ("published+no_flip",)}, "Unknown condition 'published'"),
        ({"conditions": ("no_flip+flip_only",)}, "both change orientation"),
        ({"policy": "expart"}, "Did you mean 'expert'"),
        ({"tasks": ()}, "without tasks"),
        ({"inits": ()}, "without inits"),
        ({"conditions": ()}, "without conditions"),
        ({"video": "some"}, "none, failures, all"),
        ({"max_steps": 0}, "max_steps ≥ 1"),
    ],
)
def test_what_does_not_exist_is_named(change, words):
    with pytest.raises(TutorialError, match=words):
        Sweep(**{"suite": "libero_object", "tasks": (0,), "inits": (0,), **change}).check()


def test_a_journal_goes_on_where_it_stood(tmp_path):
    config, jobs = {**PLAN.entry(), "started": "today"}, PLAN.jobs()
    with Journal(tmp_path / "s", config) as first:
        assert first.entries == {}
        first.append(jobs[0], entry(jobs[0], error="ü"))
    with Journal(tmp_path / "s", {**config, "started": "tomorrow"}) as second:
        assert list(second.entries) == [jobs[0]] and second.repaired is None
        second.append(jobs[1], entry(jobs[1]))
    lines = (tmp_path / "s/episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["init"] for line in lines] == [0, 1]
    assert json.loads((tmp_path / "s/sweep.json").read_text())["started"] == "today"


@pytest.mark.parametrize(
    "tail", [b'{"suite": "libero_ob', b"\0" * 40, b'{"task": 1}\n', b"[1]\n", b"\n"]
)
def test_a_damaged_last_line_is_removed_and_said(tmp_path, tail):
    with Journal(tmp_path, PLAN.entry()) as first:
        first.append(PLAN.jobs()[0], entry(PLAN.jobs()[0]))
    path = tmp_path / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with Journal(tmp_path, PLAN.entry()) as second:
        assert f"{len(tail)} bytes" in second.repaired and list(second.entries) == [PLAN.jobs()[0]]
    assert path.read_bytes() == whole


def test_a_whole_last_line_without_its_end_is_damaged_too(tmp_path):
    with Journal(tmp_path, PLAN.entry()) as first:
        for job in PLAN.jobs()[:2]:
            first.append(job, entry(job))
    path = tmp_path / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with Journal(tmp_path, PLAN.entry()) as second:
        assert list(second.entries) == [PLAN.jobs()[0]]


def test_damage_in_the_middle_and_a_second_line_are_not_mended(tmp_path):
    line = (json.dumps(entry(Job("published", 0, 0))) + "\n").encode()
    for content, words in ((b"half\n" + line, "line 1 is damaged"), (line + line, "a second time")):
        with Journal(tmp_path, PLAN.entry()):
            pass
        (tmp_path / "episodes.jsonl").write_bytes(content)
        with pytest.raises(TutorialError, match=words):
            Journal(tmp_path, PLAN.entry())
        assert (tmp_path / "episodes.jsonl").read_bytes() == content
        (tmp_path / "episodes.jsonl").write_bytes(b"")


def test_another_configuration_is_refused_and_its_settings_named(tmp_path):
    with Journal(tmp_path, {**PLAN.entry(), "policy": {"name": "mini", "weights": "a"}}):
        pass
    other = {
        **Sweep("libero_object", (0, 1), (0, 1), max_steps=9).entry(),
        "policy": {"name": "mini", "weights": "b"},
    }
    with pytest.raises(TutorialError) as told:
        Journal(tmp_path, other)
    for words in (
        "inits was [0, 1, 2] and is [0, 1] now",
        "max_steps was null and is 9",
        'policy.weights was "a" and is "b"',
    ):
        assert words in str(told.value)


def test_order_of_names_and_the_command_do_not_matter():
    a, b = (
        Sweep("s", (0,), (0,), c).entry()
        for c in (("published", "no_flip"), ("no_flip", "published"))
    )
    assert differences({**a, "command": "x"}, {**b, "command": "y"}) == []


def test_two_sweeps_cannot_write_one_folder(tmp_path):
    with Journal(tmp_path, PLAN.entry()):
        code = "import sys; from pathlib import Path; from vla_tutorial.sweep.journal import Journal; Journal(Path(sys.argv[1]), {})"
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert "Another sweep is writing" in other.stderr
    with Journal(tmp_path, PLAN.entry()):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "steps.jsonl").write_text("{}")
    with pytest.raises(TutorialError, match="not empty and holds no sweep"):
        Journal(tmp_path, PLAN.entry())
    (tmp_path / "file").write_text("")
    with pytest.raises(TutorialError, match="not a folder"):
        Journal(tmp_path / "file", PLAN.entry())


def test_a_start_that_was_killed_is_no_obstacle(tmp_path):
    (tmp_path / "episodes.jsonl").write_text("")
    (tmp_path / "sweep.json.part").write_text("{")
    with Journal(tmp_path, PLAN.entry()) as found:
        assert found.entries == {}


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path):
    """A limit on the size of files makes the kernel write half a line and then fail, as a full disk does."""
    code = f"""
import json, resource, sys
from pathlib import Path
from vla_tutorial.sweep.journal import DiskFull, Journal
from vla_tutorial.sweep.plan import Job
with Journal(Path({str(tmp_path)!r}), {{}}) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for k in range(99):
        try:
            journal.append(Job("published", 0, k), {{"task": 0, "init": k, "condition": "published", "pad": "x" * 80}})
        except DiskFull as e:
            print(k, e)
            break
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, words = done.stdout.partition(" ")
    assert "Make room and give the same command again" in words
    with Journal(tmp_path, {}) as found:
        assert len(found.entries) == int(count) > 3 and found.repaired is None


def test_a_full_disk_is_told_from_other_errors(tmp_path, monkeypatch):
    assert not journal.is_full(PermissionError(13, "no"), tmp_path)
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 10**6, 0, 0, 0, 0, 0, 0, 255))
    )
    assert journal.is_full(BrokenPipeError(32, "the video's encoder died"), tmp_path)
    with pytest.raises(DiskFull), journal.explained(tmp_path):
        raise OSError(28, "No space left on device")
