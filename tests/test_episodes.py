"""Reading a sweep's folder, whole and broken."""

import json
import time

import pytest
import sweep_folder
from sweep_folder import episode, error

from vla_tutorial.episodes import read_sweep
from vla_tutorial.errors import TutorialError


def test_reads_what_mini_did(tmp_path):
    lines = sweep_folder.episodes() + sweep_folder.episodes("no_flip")
    started = time.perf_counter()
    sweep = read_sweep(sweep_folder.write(tmp_path, lines))
    assert time.perf_counter() - started < 1
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
    assert "cut off" in sweep.notes[0] and "2 of 3" in sweep.notes[1]


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
        ("{half", "not JSON"),
        ("", "not JSON"),
        ("null", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        (
            json.dumps({"suite": "libero_object", "task": 0}),
            "without init, condition, success, outcome",
        ),
        (json.dumps(episode(task="3")), "where task is '3'"),
        (json.dumps(episode(task=True)), "where task is True"),
        (json.dumps(episode(seconds="1 s")), "where seconds is '1 s'"),
        (
            json.dumps(episode(success=True, outcome="failure")),
            "where success is True and outcome is 'failure'",
        ),
        (json.dumps(episode(success=None, outcome="incomplete")), "outcome is 'incomplete'"),
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
    assert "episodes.jsonl, line 2:" in str(e.value) and why in str(e.value)


def test_an_episode_twice_is_refused(tmp_path):
    with pytest.raises(TutorialError, match="published, task 3, init 7 2 times"):
        read_sweep(sweep_folder.write(tmp_path, [episode(3, 7), episode(3, 7, success=False)]))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "sweep.json").unlink(), "holds no sweep.json"),
        (lambda f: (f / "sweep.json").write_text("{"), "not JSON"),
        (
            lambda f: (f / "sweep.json").write_text('{"format": 0, "suite": "x"}'),
            "format 0; this version reads 1",
        ),
        (lambda f: (f / "sweep.json").write_text("[]"), "format None"),
        (lambda f: (f / "sweep.json").write_text('{"format": 1}'), "names no suite"),
        (lambda f: (f / "episodes.jsonl").unlink(), "ended no episode yet"),
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
