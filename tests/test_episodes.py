"""Reading a sweep's folder, whole and broken."""

import json
import os
from dataclasses import replace

import pytest
import sweep_folder
from sweep_folder import episode, error

from vla_tutorial.episodes import Episode, read_episodes, read_sweep
from vla_tutorial.errors import TutorialError


def test_reads_what_mini_did(tmp_path):
    lines = sweep_folder.episodes() + sweep_folder.episodes("no_flip")
    sweep = read_sweep(sweep_folder.write(tmp_path, lines))
    assert len(sweep.episodes) == 700
    assert sum(e.success for e in sweep.of("published")) == 482
    assert sweep.conditions == ("published", "no_flip")
    assert [(e.task, e.init) for e in sweep.of("no_flip")] == sorted(
        (r["task"], r["init"]) for r in sweep_folder.measured("no_flip")
    )
    assert sweep.notes == ("700 of 1000 planned episodes have ended.",)


def test_published_comes_first_and_unknown_conditions_are_named(tmp_path):
    sweep = read_sweep(
        sweep_folder.write(
            tmp_path,
            [episode(condition=c) for c in ("no_flip", "published", "no_flip+wrong_prompt")],
        )
    )
    assert sweep.conditions == ("published", "no_flip", "no_flip+wrong_prompt")
    with pytest.raises(TutorialError, match=r"Did you mean 'no_flip'\?.*has episodes of"):
        sweep.of("noflip")


def test_an_error_has_no_outcome_of_the_policy(tmp_path):
    sweep = read_sweep(sweep_folder.write(tmp_path, [episode(), error(init=1)]))
    assert [e.success for e in sweep.episodes] == [True, None]
    assert sweep.episodes[1].steps is None and "signal 11" in sweep.episodes[1].error


@pytest.mark.parametrize("cut", [1, 40, -2, -1])
def test_a_last_line_that_is_cut_off_is_left_out_and_said(tmp_path, cut):
    folder = sweep_folder.write(tmp_path, [episode(init=i) for i in range(3)])
    path = folder / "episodes.jsonl"
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + last[:cut])
    sweep = read_sweep(folder)
    assert len(sweep.episodes) == 2
    assert "line 3 is cut off" in sweep.notes[0] and sweep.config["command"] in sweep.notes[0]
    assert "2 of 3" in sweep.notes[1]


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(episode(seconds=float("nan"))),
        json.dumps(episode(task=-1)),
        "[]",
        "3",
        "[" * 5000 + "]" * 5000,
    ],
)
def test_a_last_line_that_was_edited_is_not_cut_off(tmp_path, line):
    folder = sweep_folder.write(tmp_path, [episode(init=1)])
    with (folder / "episodes.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TutorialError, match=r"episodes\.jsonl, line 2 "):
        read_sweep(folder)


def test_a_last_line_of_zeros_or_half_a_letter_is_cut_off_too(tmp_path):
    folder = sweep_folder.write(tmp_path, [episode()])
    for rest in (b"\0" * 80, '{"suite": "ü'.encode()[:-1], b"{\n"):
        with (folder / "episodes.jsonl").open("ab") as file:
            file.write(rest)
        assert len(read_sweep(folder).episodes) == 1
        sweep_folder.write(tmp_path, [episode()])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{half", "JSON"),
        ("", "truncated"),
        ("null", "null"),
        ("[1, 2]", "array"),
        (
            json.dumps({"suite": "libero_object", "task": 0}),
            "lacks init, condition, success, outcome.",
        ),
        (json.dumps(episode(task="3")), "holds task '3' (expected `int`, got `str`)"),
        (json.dumps(episode(task=True)), "holds task True "),
        (json.dumps(episode(task=-1)), "holds task -1 (expected `int` >= 0)"),
        (json.dumps(episode(task=10**30)), "holds task 1000000000000"),
        (json.dumps(episode(init=2**63)), "holds init 9223372036854775808 "),
        (json.dumps(episode(seconds="1 s")), "holds seconds '1 s' "),
        (json.dumps(episode(seconds=float("nan"))), "holds seconds nan "),
        (json.dumps(episode(seconds=float("inf"))), "holds seconds inf "),
        (json.dumps(episode(seconds=1e300)), "holds seconds 1e+300 "),
        (json.dumps(episode(first_close=1e12)), "holds first_close 1000000000000.0 "),
        (json.dumps(episode(first_close=10**12)), "holds first_close 1000000000000 "),
        (json.dumps(episode(steps=-1)), "holds steps -1 "),
        (json.dumps(episode(condition="a\x1b[2Jb")), "holds condition 'a\\x1b[2Jb' "),
        (json.dumps(episode(condition="x" * 2000)), "holds condition 'xxxxx"),
        (json.dumps(episode(folder="../../etc")), "folder '../../etc' is not below"),
        (json.dumps(episode(folder="/etc")), "folder '/etc' is not below"),
        (json.dumps(episode(error="\ud800")), "is not JSON"),
        ("[" * 100_000, "expected `object`, got `array`"),
        (json.dumps(episode())[:-1] + ', "more": ' + "[" * 5000 + "]" * 5000 + "}", "too deeply"),
        (
            json.dumps(episode(success=True, outcome="failure")),
            "success is True and outcome is 'failure'",
        ),
        (json.dumps(episode(success=None, outcome="incomplete")), "outcome 'incomplete'"),
        (json.dumps(episode(suite="libero_10")), "of suite 'libero_10'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, why):
    folder = sweep_folder.write(tmp_path, [episode(init=i) for i in range(3)])
    path = folder / "episodes.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TutorialError) as e:
        read_sweep(folder)
    assert "episodes.jsonl, line 2 " in str(e.value) and why in str(e.value)
    assert len(str(e.value)) < 500 + len(str(path))


def test_an_episode_twice_is_refused(tmp_path):
    lines = [episode(3, 7), episode(3, 8), episode(3, 7, success=False)]
    with pytest.raises(TutorialError, match=r"lines 1 and 3 .*published, task 3, init 7\."):
        read_sweep(sweep_folder.write(tmp_path, lines))


def test_another_target_is_another_episode(tmp_path):
    asked = [episode(target=name, own_target=False) for name in ("milk_1", "butter_1")]
    folder = sweep_folder.write(tmp_path, asked, targets={"0": ["butter_1", "milk_1", "x_1"]})
    sweep = read_sweep(folder)
    assert [e.key.target for e in sweep.of("published")] == ["butter_1", "milk_1"]
    assert sweep.notes == ("2 of 3 planned episodes have ended.",)
    assert "target milk_1" in str(sweep.episodes[0].key)
    write_twice = [*asked, episode(target="milk_1")]
    with pytest.raises(TutorialError, match=r"lines 1 and 3 .*target milk_1"):
        read_sweep(sweep_folder.write(tmp_path, write_twice))


@pytest.mark.parametrize("folder", sorted((sweep_folder.ROOT / "results/sweeps").iterdir()))
def test_committed_lines_are_written_as_they_were_read(folder):
    found = read_episodes(folder / "episodes.jsonl")
    assert not found.cut
    assert [e.to_line().encode() for e in found.episodes] == list(found.lines)


def test_optional_keys_come_last_and_only_where_they_are_set():
    plain = Episode.from_line(json.dumps(episode()).encode(), "here")
    assert json.loads(plain.to_line()) == episode()
    keys = list(json.loads(replace(plain, target="milk_1", own_target=False, travel=0.3).to_line()))
    assert keys == [*episode(), "target", "own_target", "travel"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "sweep.json").unlink(), "holds no sweep.json"),
        (lambda f: (f / "sweep.json").write_text("{"), "not JSON"),
        (
            lambda f: (f / "sweep.json").write_text('{"format": 0, "suite": "x"}'),
            "format 0; this version reads 1",
        ),
        (lambda f: (f / "sweep.json").write_text("[]"), "expected `object`, got `array`"),
        (lambda f: (f / "sweep.json").write_text('{"format": 1}'), "sweep.json lacks suite"),
        (lambda f: (f / "sweep.json").write_text("{}"), "sweep.json lacks format"),
        (lambda f: (f / "sweep.json").write_bytes(b"\xff"), "not JSON"),
        (lambda f: (f / "episodes.jsonl").unlink(), "no episode yet"),
        (lambda f: (f / "episodes.jsonl").write_text(""), "no episode yet"),
    ],
)
def test_a_folder_that_is_no_sweep_is_told_so(tmp_path, break_it, words):
    folder = sweep_folder.write(tmp_path / "sweep", [episode()])
    break_it(folder)
    with pytest.raises(TutorialError, match=words):
        read_sweep(folder)
    with pytest.raises(TutorialError, match="no folder"):
        read_sweep(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("suite", 5, "suite 5"),
        ("suite", "a\nb", r"suite 'a\\nb'"),
        ("conditions", 5, "conditions 5"),
        ("conditions", [5], r"conditions\[0\] 5"),
        ("tasks", "0-9", "tasks '0-9'"),
        ("inits", [0, None], r"inits\[1\] None"),
        ("targets", [1], r"targets \[1\]"),
        ("targets", {"0": 3}, r"targets\[...\]"),
        ("versions", [1], r"versions \[1\]"),
        ("versions", {"mujoco": 3}, r"versions\[...\]"),
        ("machine", 5, "machine 5"),
        ("machine", {"gpus": 5}, "machine.gpus 5"),
        ("policy", [1], r"policy \[1\]"),
        ("wiring", None, "wiring None"),
        ("max_steps", "many", "max_steps 'many'"),
        ("command", None, "command None"),
        ("started", 5, "started 5"),
        ("joined", {}, "joined {}"),
    ],
)
def test_a_wrong_value_of_sweep_json_is_named(tmp_path, key, value, named):
    folder = sweep_folder.write(tmp_path, [episode()], **{key: value})
    with pytest.raises(TutorialError, match=rf"sweep\.json holds {named} \(expected"):
        read_sweep(folder)


def test_a_sweep_that_plans_too_many_episodes_is_refused(tmp_path):
    many = list(range(2000))
    folder = sweep_folder.write(tmp_path, [episode()], tasks=many, inits=many)
    with pytest.raises(TutorialError, match=r"sweep\.json .*it plans 4000000 episodes"):
        read_sweep(folder)


def test_free_values_of_sweep_json_are_not_nested_deeply(tmp_path):
    deep = []
    for _ in range(60):
        deep = [deep]
    folder = sweep_folder.write(tmp_path, [episode()], summary=deep)
    with pytest.raises(TutorialError, match=r"sweep\.json is nested deeper than 40 levels"):
        read_sweep(folder)


@pytest.mark.parametrize(("name", "most"), [("sweep.json", 4), ("episodes.jsonl", 64)])
def test_a_file_that_is_too_large_is_not_read(tmp_path, name, most):
    folder = sweep_folder.write(tmp_path, [episode()])
    os.truncate(folder / name, (most + 1) * 2**20)
    with pytest.raises(TutorialError, match=rf"{name} has {most + 1} MiB, expected at most {most}"):
        read_sweep(folder)


def test_a_file_of_empty_lines_is_not_read(tmp_path):
    folder = sweep_folder.write(tmp_path, [episode()])
    (folder / "episodes.jsonl").write_bytes(b"\n" * 2_000_000)
    with pytest.raises(TutorialError, match=r"has 2000000 lines, expected at most 1000000"):
        read_sweep(folder)


def test_what_every_committed_sweep_holds_is_accepted():
    for folder in (sweep_folder.ROOT / "results/sweeps").iterdir():
        assert read_sweep(folder).suite.startswith("libero")
