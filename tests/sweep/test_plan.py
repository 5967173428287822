"""What a sweep runs, and what its folder remembers."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from vla_tutorial.episodes import Episode, EpisodeKey
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import DiskFull, explain_full_disk, is_disk_full
from vla_tutorial.spec import EpisodeSpec, split_condition
from vla_tutorial.sweep import SweepPlan
from vla_tutorial.sweep.journal import Journal, config_differences
from vla_tutorial.sweep.plan import OTHERS, find_targets, key_of, scene_objects

PLAN = SweepPlan(EpisodeSpec(), (0, 1), (0, 1, 2))
KEYS = tuple(map(key_of, PLAN.specs()))


def ended(key, **more):
    return Episode(
        suite="libero_object",
        task=key.task,
        init=key.init,
        condition=key.condition,
        success=True,
        outcome="success",
        target=key.target,
        **more,
    )


def test_every_episode_is_there_once():
    names = ("no_flip+wrong_prompt", "published", "no_flip+wrong_prompt")
    plan = SweepPlan(EpisodeSpec(), (3, 1, 3), (7, 0), names)
    keys = list(map(key_of, plan.specs()))
    assert keys == [
        EpisodeKey(c, t, i)
        for c in ("no_flip+wrong_prompt", "published")
        for t in (1, 3)
        for i in (0, 7)
    ]
    assert keys[0].folder == "episodes/no_flip+wrong_prompt/1_0"
    assert split_condition("published") == () and split_condition("a+b") == ("a", "b")


def test_conditions_change_the_wiring_of_their_episodes_alone():
    spec = EpisodeSpec("libero_object_swap", max_steps=7)
    plan = SweepPlan(spec, (0,), (0,), ("published", "no_flip+no_settle"))
    published, broken = (spec.settings()[0] for spec in plan.specs())
    assert (published.unnorm_key, published.orientation, published.max_steps) == (
        "libero_object",
        "rotate_180",
        7,
    )
    assert (broken.orientation, broken.settle_steps, broken.max_steps) == ("raw", 0, 7)


def test_another_object_is_an_episode_of_its_own():
    targets = find_targets("libero_object", (0, 3), [OTHERS, "cream_cheese_1"])
    assert targets[0] == (
        "salad_dressing_1",
        "cream_cheese_1",
        "milk_1",
        "tomato_sauce_1",
        "butter_1",
    )
    plan = replace(PLAN, tasks=(0,), inits=(2,), targets=targets)
    specs = list(plan.specs())
    assert [spec.target for spec in specs] == list(targets[0])
    assert key_of(specs[0]).folder == "episodes/published/0_2_salad_dressing_1"
    assert (
        specs[2].settings()[1].instruction_for("own")
        == "pick up the milk and place it in the basket"
    )
    assert plan.entry()["targets"]["3"] == list(targets[3]) and "targets" not in PLAN.entry()
    assert all(
        len(find_targets("libero_object", [task], [OTHERS])[task]) == 5 for task in range(10)
    )


def test_an_object_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(TutorialError, match=r"ketchup_1.*milk_1.*libero_object, task 0"):
        find_targets("libero_object", (0,), ["ketchup_1"])
    assert scene_objects("libero_goal", 0) == ()


def test_layouts_are_numbered_by_their_seeds():
    plan = replace(PLAN, inits=(20_000,), starts="layouts")
    plan.check()
    assert [(spec.init, spec.layout_seed) for spec in plan.specs()] == [(20_000, 20_000)] * 2
    assert plan.entry()["starts"] == "layouts" and "starts" not in PLAN.entry()
    for suite in ("libero_spatial", "libero_goal", "libero_10"):
        replace(plan, spec=EpisodeSpec(suite)).check()
    said = (
        "Layouts are known for libero_object, libero_spatial, .* libero_goal_swap, task 0, is none"
    )
    with pytest.raises(TutorialError, match=said):
        replace(plan, spec=EpisodeSpec("libero_goal_swap")).check()
    # Its scenes have a seventh thing, for which libero_object's places do not suffice.
    with pytest.raises(TutorialError, match="a basket and 6 other objects; libero_object_with_"):
        replace(plan, spec=EpisodeSpec("libero_object_with_mug")).check()


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
        ({"video": "some"}, "'some'"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_what_does_not_exist_is_named(change, words):
    with pytest.raises(TutorialError, match=words):
        plan_with(**change).check()


def plan_with(tasks=(0,), inits=(0,), conditions=("published",), video="none", **spec):
    return SweepPlan(EpisodeSpec(**spec), tasks, inits, conditions, video)


def test_a_journal_resumes_where_it_stood(tmp_path):
    config = {**PLAN.entry(), "started": "today"}
    with Journal(tmp_path / "s", config) as first:
        assert first.episodes == {}
        first.append(replace(ended(KEYS[0]), error="ü"))
    with Journal(tmp_path / "s", {**config, "started": "tomorrow"}) as second:
        assert list(second.episodes) == [KEYS[0]] and second.repaired is None
        second.append(ended(KEYS[1]))
    lines = (tmp_path / "s/episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["init"] for line in lines] == [0, 1]
    assert json.loads((tmp_path / "s/sweep.json").read_text())["started"] == "today"


@pytest.mark.parametrize("tail", [b'{"suite": "libero_ob', b"\0" * 40, b'{"task": 1}', b"\n"])
def test_a_damaged_last_line_is_removed_and_said(tmp_path, tail):
    with Journal(tmp_path, PLAN.entry()) as first:
        first.append(ended(KEYS[0]))
    path = tmp_path / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with Journal(tmp_path, PLAN.entry()) as second:
        assert f"line 2 was cut off ({len(tail)} bytes)" in second.repaired
        assert list(second.episodes) == [KEYS[0]]
    assert path.read_bytes() == whole


def test_a_whole_last_line_without_its_end_is_damaged_too(tmp_path):
    with Journal(tmp_path, PLAN.entry()) as first:
        for key in KEYS[:2]:
            first.append(ended(key))
    path = tmp_path / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with Journal(tmp_path, PLAN.entry()) as second:
        assert list(second.episodes) == [KEYS[0]]


def test_damage_in_the_middle_and_a_second_line_are_not_repaired(tmp_path):
    line = ended(EpisodeKey("published", 0, 0)).to_line().encode()
    damage = (
        (b"half\n" + line, "line 1 is not"),
        (line + line, "lines 1 and 2"),
        (line + b'{"task": 1}\n', "line 2 lacks suite"),
        (line + b"[1]\n", "line 2 is not"),
    )
    for content, words in damage:
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
        **SweepPlan(EpisodeSpec(max_steps=9), (0, 1), (0, 1)).entry(),
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


@pytest.mark.parametrize("change", [{"targets": {0: ("milk_1",)}}, {"starts": "layouts"}])
def test_the_own_object_and_saved_states_do_not_resume_others(tmp_path, change):
    (key,) = change
    plans = (PLAN, replace(PLAN, **change))
    for before, after in (plans, plans[::-1]):
        folder = tmp_path / before.starts / str(bool(before.targets))
        Journal(folder, before.entry()).close()
        with pytest.raises(TutorialError, match=f"{key} was"):
            Journal(folder, after.entry())
        Journal(folder, before.entry()).close()


def test_order_of_names_and_the_command_do_not_matter():
    a, b = (
        replace(PLAN, conditions=c).entry()
        for c in (("published", "no_flip"), ("no_flip", "published"))
    )
    assert config_differences({**a, "command": "x"}, {**b, "command": "y"}) == []


def test_two_sweeps_cannot_write_one_folder(tmp_path):
    with Journal(tmp_path, PLAN.entry()):
        code = "import sys; from pathlib import Path; from vla_tutorial.sweep.journal import Journal; Journal(Path(sys.argv[1]), {})"
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert f"still writing to {tmp_path}" in other.stderr
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
    (tmp_path / "sweep.part.json").write_text("{")
    with Journal(tmp_path, PLAN.entry()) as found:
        assert found.episodes == {}


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path):
    """A limit on the size of files makes the kernel write half a line and then fail, as a full disk does."""
    code = f"""
import json, resource, sys
from pathlib import Path
from vla_tutorial.episodes import Episode
from vla_tutorial.files import DiskFull
from vla_tutorial.sweep.journal import Journal
with Journal(Path({str(tmp_path)!r}), {{'suite': 's'}}) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for k in range(99):
        try:
            journal.append(Episode("s", 0, k, "published", None, "error", error="x" * 20))
        except DiskFull as e:
            print(k, e)
            break
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, words = done.stdout.partition(" ")
    assert str(tmp_path) in words and "Make room" in words
    with Journal(tmp_path, {"suite": "s"}) as found:
        assert len(found.episodes) == int(count) > 3 and found.repaired is None


def test_a_full_disk_is_told_from_other_errors(tmp_path, monkeypatch):
    assert not is_disk_full(PermissionError(13, "no"), tmp_path)
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 10**6, 0, 0, 0, 0, 0, 0, 255))
    )
    assert is_disk_full(BrokenPipeError(32, "the video's encoder died"), tmp_path)
    with pytest.raises(DiskFull), explain_full_disk(tmp_path):
        raise OSError(28, "No space left on device")
