"""Shards of one sweep become one folder, or nothing is written and the reason is told."""

import json
import shutil
import sys

import pytest
import sweep_folder
from sweep_folder import episode, error

from vla_tutorial.cli import app as cli
from vla_tutorial.episodes import Episode, EpisodeKey, read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.report import build_report
from vla_tutorial.sweep import join_shards
from vla_tutorial.sweep.journal import Journal


@pytest.fixture
def shards(tmp_path):
    """Two shards by inits; lines stand in the order in which episodes ended."""
    lines = [
        [episode(task, init) for task, init in places]
        for places in ([(1, 0), (0, 1), (0, 0), (1, 1)], [(1, 2), (0, 2)])
    ]
    return [
        sweep_folder.write(
            tmp_path / name,
            found,
            command=f"vla-tutorial sweep --out {name}",
            started=name,
            machine={"cpu": name},
        )
        for name, found in zip("ab", lines, strict=True)
    ]


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vla-tutorial", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, " ".join(said.out.split()), " ".join(said.err.split())

    return call


def refused(shards, out, *words):
    before = {
        path: path.read_bytes() for shard in shards for path in shard.rglob("*") if path.is_file()
    }
    with pytest.raises(TutorialError) as told:
        join_shards(shards, out)
    assert not out.exists() or out in shards or out.is_file()
    assert before == {
        path: path.read_bytes() for shard in shards for path in shard.rglob("*") if path.is_file()
    }
    for word in words:
        assert str(word) in str(told.value)


def rewrite(shard, **config):
    path = shard / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))


def test_two_shards_become_one_sweep(tmp_path, shards, run, read_json):
    code, out, _ = run("join", *shards, "--out", tmp_path / "j")
    assert code == 0
    assert (
        f"6 of 6 episodes are in {tmp_path / 'j'}. Next: vla-tutorial report {tmp_path / 'j'}"
        == out
    )
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == [
        "episodes.jsonl",
        "sweep.json",
    ]
    found = read_sweep(tmp_path / "j")
    assert [(e.task, e.init) for e in found.episodes] == [
        (t, i) for t in (0, 1) for i in (0, 1, 2)
    ] and found.notes == ()
    assert build_report([found]).sweeps[0].conditions[0].rate.episodes == 6
    config = read_json(tmp_path / "j/sweep.json")
    assert (config["tasks"], config["inits"], config["conditions"]) == (
        [0, 1],
        [0, 1, 2],
        ["published"],
    )
    assert config["command"] == f"vla-tutorial join {shards[0]} {shards[1]} --out {tmp_path / 'j'}"
    assert config["joined"] == [
        {"command": f"vla-tutorial sweep --out {name}", "machine": {"cpu": name}, "started": name}
        for name in "ab"
    ]
    assert config["policy"] == read_json(shards[0] / "sweep.json")["policy"]


def test_lines_stay_as_they_are(tmp_path, shards):
    extra = (
        json.dumps(
            episode(0, 3, success=False) | {"note": "ü"}, ensure_ascii=False, separators=(",", ":")
        )
        + "\n"
    )
    with (shards[1] / "episodes.jsonl").open("a") as file:
        file.write(extra)
    rewrite(shards[1], inits=[2, 3])
    join_shards(shards, tmp_path / "j")
    lines = [
        (folder / "episodes.jsonl").read_text().splitlines(keepends=True)
        for folder in (*shards, tmp_path / "j")
    ]
    assert sorted(lines[2]) == sorted(lines[0] + lines[1]) and extra in lines[2]


def test_what_is_missing_is_named_and_the_sweep_resumes(tmp_path, run, read_json):
    a = sweep_folder.write(tmp_path / "a", [episode(0, 0), error(0, 1)])
    b = sweep_folder.write(tmp_path / "b", [episode(1, 0, "no_flip"), episode(1, 0)], inits=[0, 4])
    out = tmp_path / "the rest"
    code, said, _ = run("join", a, b, "--out", out)
    assert code == 0 and "4 of 12 episodes" in said
    command = "vla-tutorial sweep --suite libero_object --tasks 0-1 --inits 0-1,4 --condition published --condition no_flip"
    assert f"{command} --out '{out}'" in said
    assert "4 of 12 planned episodes have ended." in read_sweep(out).notes
    config = {key: value for key, value in read_json(a / "sweep.json").items() if key != "format"}
    config |= {
        "tasks": [0, 1],
        "inits": [0, 1, 4],
        "conditions": ["published", "no_flip"],
        "command": "another",
        "started": "today",
    }
    with Journal(out, config) as journal:
        places = [("published", 0, 0), ("published", 0, 1), ("published", 1, 0), ("no_flip", 1, 0)]
        assert (
            list(journal.episodes) == [EpisodeKey(*place) for place in places]
            and journal.repaired is None
        )
        journal.append(Episode(**episode(0, 0, "no_flip")))
    assert len(read_sweep(out).episodes) == 5
    with pytest.raises(TutorialError, match="max_steps was 280 and is 9 now"):
        Journal(out, config | {"max_steps": 9})


def test_records_are_copied_where_there_are_any(tmp_path, shards, run):
    record = shards[1] / "episodes/published/0_2"
    record.mkdir(parents=True)
    (record / "steps.jsonl").write_text("{}\n")
    (shards[1] / "episodes/published/7_7").mkdir()  # of an episode that had not ended
    (tmp_path / "j").mkdir()
    assert run("join", *shards, "--out", tmp_path / "j")[0] == 0
    files = [path for path in (tmp_path / "j/episodes").rglob("*") if not path.is_dir()]
    assert (
        files == [tmp_path / "j/episodes/published/0_2/steps.jsonl"]
        and files[0].read_text() == "{}\n"
    )
    assert len(list((tmp_path / "j/episodes/published").iterdir())) == 1


def test_a_shard_without_episodes_and_one_that_was_joined(tmp_path, shards, read_json):
    join_shards(shards, tmp_path / "j", "the first")
    empty = sweep_folder.write(tmp_path / "c", [], tasks=[5], inits=[0], conditions=["published"])
    joined = join_shards([tmp_path / "j", empty], tmp_path / "k", "the second")
    assert (joined.plan.tasks, joined.plan.inits, joined.ended) == ((0, 1, 5), (0, 1, 2), 6)
    told = read_json(tmp_path / "k/sweep.json")["joined"]
    assert told[0]["command"] == "the first" and [
        origin["started"] for origin in told[0]["joined"]
    ] == ["a", "b"]


def test_the_same_line_in_two_shards_counts_once(tmp_path, shards):
    shutil.copytree(shards[1], tmp_path / "c")
    assert join_shards([*shards, tmp_path / "c"], tmp_path / "j").ended == 6


def test_an_episode_that_two_shards_ran_is_refused(tmp_path, shards):
    other = sweep_folder.write(tmp_path / "c", [episode(3, 0), episode(0, 2, success=False)])
    refused(
        [*shards, other],
        tmp_path / "j",
        f"{shards[1]} and {other} both ran published, task 0, init 2",
    )


def test_shards_of_other_settings_are_refused_and_these_named(tmp_path, shards):
    rewrite(
        shards[1],
        max_steps=9,
        policy={"name": "mini", "checkpoint": "mini", "weights": "other"},
        serving="may differ",
    )
    said = ("max_steps was 280 and is 9 now", 'policy.weights was "sha256:ab12" and is "other" now')
    refused(
        shards, tmp_path / "j", f"{shards[1]} is not a shard of the sweep in {shards[0]}", *said
    )


@pytest.mark.parametrize("which", [0, 1])
def test_a_setting_that_only_one_shard_has_is_refused(tmp_path, shards, which):
    rewrite(
        shards[which],
        policy={"name": "mini", "checkpoint": "mini", "weights": "sha256:ab12", "revision": "abc"},
    )
    refused(
        shards,
        tmp_path / "j",
        f"{shards[which]} is not a shard",
        shards[1 - which],
        'policy.revision was null and is "abc" now',
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace('"task": 0', '"task": 0.5', 1), "task"),
        (lambda text: "{half\n" + text, "line 1 is"),
        (lambda text: text.splitlines()[0] + "\n" + text, "lines 1 and 2"),
        (
            lambda text: text.replace('"init": 0', '"init": 9', 1),
            "line 1 is of published, task 1, init 9",
        ),
    ],
)
def test_a_damaged_line_is_named(tmp_path, shards, damage, words):
    path = shards[0] / "episodes.jsonl"
    path.write_text(damage(path.read_text()))
    refused(shards, tmp_path / "j", path, words)


@pytest.mark.parametrize(
    ("cut", "left"),
    [(lambda text: text[:-20], 5), (lambda text: text[:-1], 5), (lambda text: text + "\n", 6)],
)
def test_a_last_line_that_is_cut_off_is_left_out_and_said(tmp_path, shards, cut, left, run):
    path = shards[0] / "episodes.jsonl"
    path.write_text(cut(path.read_text()))
    code, said, told = run("join", *shards, "--out", tmp_path / "j")
    assert code == 0 and f"{left} of 6 episodes" in said
    assert f"{path}, line {left - 1} is cut off" in told
    assert "vla-tutorial sweep --out a" in told
    assert len(read_sweep(tmp_path / "j").episodes) == left


def test_shards_of_other_targets_are_joined(tmp_path, run):
    lines = [[episode(0, 0, target=name)] for name in ("milk_1", "butter_1")]
    shards = [
        sweep_folder.write(tmp_path / name, found, targets={"0": [found[0]["target"]]})
        for name, found in zip("ab", lines, strict=True)
    ]
    assert run("join", *shards, "--out", tmp_path / "j")[0] == 0
    found = read_sweep(tmp_path / "j")
    assert found.config["targets"] == {"0": ["milk_1", "butter_1"]}
    assert [e.target for e in found.episodes] == ["milk_1", "butter_1"] and found.notes == ()


def test_a_shard_that_still_runs_is_refused(tmp_path, shards, read_json):
    with Journal(shards[1], read_json(shards[1] / "sweep.json")):
        refused(shards, tmp_path / "j", f"still writing to {shards[1]}")
    assert join_shards(shards, tmp_path / "j").ended == 6
    with Journal(shards[1], read_json(shards[1] / "sweep.json")) as found:  # the locks are gone
        assert len(found.episodes) == 2


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda shard: shutil.rmtree(shard), "There is no folder"),
        (lambda shard: (shard / "sweep.json").unlink(), "holds no sweep.json"),
        (lambda shard: (shard / "sweep.json").write_text("{"), "not JSON"),
        (lambda shard: (shard / "episodes.jsonl").unlink(), "holds no episodes.jsonl"),
        (lambda shard: rewrite(shard, inits="0-4"), "inits"),
        (lambda shard: rewrite(shard, tasks=[]), "without tasks"),
    ],
)
def test_a_folder_that_is_no_shard_is_told(tmp_path, shards, break_it, words):
    break_it(shards[1])
    refused(shards, tmp_path / "j", words)


def test_where_it_cannot_go_is_told(tmp_path, shards, monkeypatch):
    refused(shards, shards[1], f"{shards[1]} is a shard")
    refused([*shards, tmp_path / "b/../a"], tmp_path / "j", "named twice")
    refused(shards, shards[0] / "sweep.json", "not a folder")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept").write_text("")
    with pytest.raises(TutorialError, match="full is not empty"):
        join_shards(shards, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["kept"]


@pytest.mark.parametrize("what", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_copy_that_stops_halfway_leaves_nothing(tmp_path, shards, what):
    for name in ("0_0", "0_1"):
        (shards[0] / "episodes/published" / name).mkdir(parents=True)

    def watch(done, total):
        assert (tmp_path / "j/episodes/published/0_0").is_dir() and (done, total) == (1, 2)
        raise what

    with pytest.raises(TutorialError if isinstance(what, OSError) else KeyboardInterrupt):
        join_shards(shards, tmp_path / "j", watch=watch)
    assert list((tmp_path / "j").iterdir()) == []
    assert join_shards(shards, tmp_path / "j").ended == 6


def test_the_command_tells_errors_and_has_an_example(tmp_path, shards, run):
    code, _, err = run("join", *shards, "--out", shards[0])
    assert code == 2 and "is a shard" in err and "Traceback" not in err
    assert "vla-tutorial join out/shard_0 out/shard_1 --out out/joined" in run("join", "--help")[1]


def test_shards_that_ask_for_the_own_and_for_another_object_are_refused(tmp_path):
    own = sweep_folder.write(tmp_path / "a", [episode(0, 0)])
    other = sweep_folder.write(
        tmp_path / "b", [episode(0, 0, target="milk_1")], targets={"0": ["milk_1"]}
    )
    refused([own, other], tmp_path / "j", f"{other} is not a shard", "targets was")


def test_the_rest_of_a_sweep_of_layouts_and_others_is_named(tmp_path, run):
    names = ["salad_dressing_1", "cream_cheese_1", "milk_1", "tomato_sauce_1", "butter_1"]
    config = {"targets": {"0": names}, "starts": "layouts"}
    shard = sweep_folder.write(tmp_path / "a", [episode(0, 7, target="milk_1")], **config)
    code, said, _ = run("join", shard, "--out", tmp_path / "j")
    assert code == 0 and "1 of 5 episodes" in said
    assert "--tasks 0 --layouts 7 --condition published --target others" in said
