"""Clips: what is planned, what a folder holds, what is kept and what is made again. Episodes are real LIBERO, four steps long."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vla_tutorial.conditions import BOUNDARIES, CATALOGUE, PUBLISHED
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import log_of
from vla_tutorial.player.clip_recorder import ClipRecorder, record_clips
from vla_tutorial.player.clip_script import ClipIndex, read_clip_script, write_clip_script
from vla_tutorial.player.clips import (
    CLIP_FILES,
    FAILING_STARTS,
    FEW,
    FEW_TASKS,
    PAIRS,
    TASKS,
    clip_index,
    clip_key,
    plan_clips,
    write_clip_index,
)
from vla_tutorial.player.episode_data import caption, episode_data, series
from vla_tutorial.policies import load_policy
from vla_tutorial.provenance import weights_hash
from vla_tutorial.spec import EpisodeSpec

BOOK = Path(__file__).parents[2] / "book" / "clips"


def clip(*conditions, max_steps=4):
    return EpisodeSpec(conditions=conditions, max_steps=max_steps)


class Constant:
    """Goes down and keeps the gripper open, whatever it sees."""

    name, privileged, statistics = "constant", False, {}

    def __init__(self, revision="one"):
        self.provenance = {"checkpoint": "nowhere", "revision": revision}

    def predict(self, batch):
        return np.tile([31872, 31872, 31990, 31872, 31872, 31872, 31744], (len(batch), 1))

    def close(self):
        pass


@pytest.fixture(scope="module")
def made(simulator, tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    recorder = _recorder(simulator, out)
    for names in ((), ("no_flip",), ("no_flip", "wrong_prompt")):
        recorder.record(clip(*names))
    write_clip_index(out)
    return out


def _recorder(simulator, out, policy=None):
    return ClipRecorder(policy or Constant(), out, lambda suite, task, camera_size: simulator)


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "clips")


def test_plan_holds_what_wants_a_clip_and_no_contradiction():
    shown = [c.name for c in CATALOGUE.values() if c.clip]
    clips = plan_clips(
        [0, 3, 0], also=[*PAIRS, ("flip_only", "no_flip"), ("wrong_prompt", "no_flip")]
    )
    assert [(c.init, c.condition) for c in clips if c.init] == [
        (start, name) for condition, _, start in FAILING_STARTS for name in (PUBLISHED, condition)
    ]
    names = [c.conditions for c in clips if c.task == 3]
    assert names == [(), *((name,) for name in shown), *PAIRS]
    assert len(clips) == 2 * len(names) + 2 * len(FAILING_STARTS)
    assert {c.boundary for c in CATALOGUE.values() if c.clip} == BOUNDARIES.keys() - {"chance"}
    assert clip_key(clips[0]) == "0_0/published"
    assert clip_key(clips[len(shown) + 1]) == "0_0/no_flip+wrong_prompt"


def test_few_are_what_the_lab_shows():
    from vla_tutorial.lab.unlabelled import CHOICES

    few = [clip.condition for clip in plan_clips((), few=(3,))]
    assert few == [PUBLISHED, *FEW]
    assert set(CHOICES) <= set(few)
    assert plan_clips((0,), few=(0,)) == plan_clips((0,)), "each clip once"


@pytest.mark.parametrize(("condition", "task", "start"), FAILING_STARTS)
def test_a_failing_start_fails_where_the_published_run_succeeds(condition, task, start):
    """Else a reader who does what the chapter says sees nothing."""
    folder = BOOK / f"{task}_{start}"
    assert read_clip_script(folder / condition / "episode.js")["success"] is False
    assert read_clip_script(folder / PUBLISHED / "episode.js")["success"] is True
    assert read_clip_script(BOOK / f"{task}_0" / condition / "episode.js")["success"] is True


def test_the_book_s_clips_leave_a_site_that_can_be_carried():
    """They travel with the tree to machines with a GPU, and the live page runs whatever they lack."""
    assert sum(path.stat().st_size for path in BOOK.rglob("*") if path.is_file()) < 8e6


def test_the_book_s_clips_are_current_and_their_index_is_what_the_code_writes():
    recorder = ClipRecorder(load_policy("mini"), BOOK)
    planned = plan_clips(TASKS, few=FEW_TASKS)
    assert all(recorder.is_current(clip) for clip in planned)
    assert {clip_key(clip) for clip in planned} == {
        f"{path.parent.parent.name}/{path.parent.name}" for path in BOOK.glob("*/*/episode.js")
    }, "the book has what `vla-tutorial clips` records, and nothing else"
    assert read_clip_script(BOOK / "manifest.js", ClipIndex) == clip_index(BOOK)


@pytest.mark.parametrize(
    ("tasks", "init", "also"), [([10], 0, ()), ([0], 50, ()), ([0], 0, [("nonsense",)])]
)
def test_plan_refuses_what_does_not_exist(tasks, init, also):
    with pytest.raises(TutorialError):
        plan_clips(tasks, init, also)


def test_folder_is_small_and_complete(made):
    folder = made / "0_0" / "no_flip"
    assert sorted(path.name for path in folder.iterdir()) == sorted(CLIP_FILES)
    assert Image.open(folder / "poster.webp").size == (224, 224)
    assert Image.open(folder / "end.webp").size == (256, 256)
    assert not list(made.glob(".part*"))
    data = read_clip_script(folder / "episode.js")
    assert (data["task"], data["init"], data["steps"], data["success"], data["first_close"]) == (
        0,
        0,
        4,
        False,
        None,
    )
    assert data["conditions"] == ["no_flip"]
    assert data["changes"] == {"orientation": ["rotate_180", "raw"], "max_steps": [None, 4]}
    assert data["policy"]["name"] == "constant"
    assert data["versions"]["mujoco"] == "3.3.2"
    assert {
        len(data["series"][name]) for name in ("gripper", "height", "motion", "image_mean")
    } == {4}
    assert list(bytes.fromhex(data["series"]["tokens"])) == [128, 128, 246, 128, 128, 128, 0] * 4


def test_index_tells_conditions_and_outcomes(made):
    found = read_clip_script(made / "manifest.js", ClipIndex)
    assert [c["name"] for c in found["conditions"]] == ["no_flip", "wrong_prompt"], (
        "those that a clip shows, in the catalogue's order"
    )
    assert found["conditions"][0]["settings"] == ["orientation"]
    assert [e["key"] for e in found["episodes"]] == [
        "0_0/published",
        "0_0/no_flip",
        "0_0/no_flip+wrong_prompt",
    ]
    assert "series" not in found["episodes"][0]
    assert found["episodes"][0]["caption"].endswith("No success within 4 steps.")
    assert found["policies"] == [f"constant ({weights_hash(Constant())})"]


def test_clips_of_forgotten_conditions_are_not_listed(copy):
    path = copy / "0_0" / "no_flip" / "episode.js"
    write_clip_script(path, "x[0]", {**read_clip_script(path), "conditions": ["forgotten"]})
    assert [e["key"] for e in clip_index(copy)["episodes"]] == [
        "0_0/published",
        "0_0/no_flip+wrong_prompt",
    ]


def test_again_gives_the_same_bytes(simulator, made, tmp_path):
    _recorder(simulator, tmp_path).record(clip("no_flip"))
    for name in CLIP_FILES:
        assert (tmp_path / "0_0/no_flip" / name).read_bytes() == (
            made / "0_0/no_flip" / name
        ).read_bytes()


def test_what_is_current_is_kept(simulator, copy):
    recorder = _recorder(simulator, copy)
    assert recorder.is_current(clip("no_flip"))
    assert not recorder.is_current(clip("no_settle"))
    assert not _recorder(simulator, copy, Constant("two")).is_current(clip("no_flip"))
    assert not recorder.is_current(clip("no_flip", max_steps=5))


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_clip_is_made_again(simulator, copy, damage):
    recorder = _recorder(simulator, copy)
    wanted = clip("no_flip")
    folder = copy / clip_key(wanted)
    if damage == "missing":
        (folder / "episode.mp4").unlink()
    else:
        path = folder / "episode.js"
        path.write_text(path.read_text()[:200])
        with pytest.raises(TutorialError, match=r"episode\.js.*vla-tutorial clips --out"):
            read_clip_script(path)
    assert not recorder.is_current(wanted)
    recorder.record(wanted)
    assert recorder.is_current(wanted)


def test_stopped_recording_leaves_the_old_clip(simulator, copy):
    def stop(step):
        raise KeyboardInterrupt

    recorder = _recorder(simulator, copy)
    with pytest.raises(KeyboardInterrupt):
        recorder.record(clip("no_flip"), stop)
    assert recorder.is_current(clip("no_flip"))
    assert not list(copy.glob(".part*"))


def test_one_simulator_at_a_time(simulator, tmp_path):
    opened = []

    class Counted:
        def __init__(self, suite, task, camera_size):
            assert not opened, "the last simulator is still open"
            opened.append(task)

        def __getattr__(self, name):
            return getattr(simulator, name)

        def close(self):
            opened.clear()

    recorder = ClipRecorder(Constant(), tmp_path, Counted)
    recorder.record(clip())
    recorder.record(clip("no_flip"))
    assert opened == [0]
    recorder.record(replace(clip(), task=3))
    assert opened == [3]


def test_workers(tmp_path):
    seen = []
    record_clips(
        "expert",
        tmp_path,
        [clip("no_settle")],
        on_progress=lambda done, steps: seen.append((done, steps)),
    )
    assert seen[-1] == (1, 4)
    assert (
        read_clip_script(tmp_path / "manifest.js", ClipIndex)["episodes"][0]["key"]
        == "0_0/no_settle"
    )


def test_weights_decide_the_hash(tmp_path):
    policy = Constant()
    policy.provenance = {"checkpoint": str(tmp_path)}
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = weights_hash(policy)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert weights_hash(policy) != before
    assert weights_hash(Constant()) != weights_hash(Constant("two"))


def test_caption_says_what_is_seen(lines):
    assert caption(log_of(lines), True) == (
        "The arm hardly moves: the hand gets no more than 9 cm from where it began. "
        "The gripper first closes at step 4, 21 cm up. The task is done after 10 steps."
    )
    far = [
        {**entry, "eef_pos": [0.05 * k, 0.0, 0.25 + 0.01 * k], "action": [0.0] * 6 + [-1.0]}
        for k, entry in enumerate(lines)
    ]
    assert caption(log_of(far), None) == (
        "The hand travels 46 cm and never gets lower than 25 cm. The gripper never closes. The episode was stopped after 10 steps."
    )


def test_series_are_rounded(lines):
    found = series(log_of(lines))
    assert found["height"][:3] == [25.0, 24.0, 23.0]
    assert found["motion"][0] == 0.141
    assert found["tokens"] == "80" * 70


def test_folder_without_episode(tmp_path):
    with pytest.raises(TutorialError, match=r"episode\.json"):
        episode_data(tmp_path)


def test_script_survives_what_javascript_would_trip_over(tmp_path):
    class Text(msgspec.Struct):
        text: str

    odd = {"text": '={"; "</script><!--<script>\u2028é'}
    write_clip_script(tmp_path / "x.js", '(a??={})["b"]', odd)
    assert read_clip_script(tmp_path / "x.js", Text) == odd
    write_clip_script(tmp_path / "x.js", "x", odd)
    text = (tmp_path / "x.js").read_text()
    assert json.loads(text[2:-2]) == odd
    assert "<" not in text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"key": "../../elsewhere"}, "key '../../elsewhere'"),
        ({"key": "0_0/.."}, "key '0_0/..'"),
        ({"task": "0"}, "task '0'"),
        ({"success": "yes"}, "success 'yes'"),
        ({"conditions": "no_flip"}, "conditions 'no_flip'"),
        ({"changes": {"seed": [1]}}, "changes"),
        ({"policy": []}, "policy []"),
        ({"policy": {"name": 3}}, "policy.name 3"),
        ({"format": 2}, "format 2"),
        ({"series": {}}, "series {}"),
        ({"instruction": None}, "instruction None"),
    ],
)
def test_a_wrong_value_in_a_clip_is_named(copy, change, named):
    path = copy / "0_0/no_flip/episode.js"
    write_clip_script(path, "x[0]", {**read_clip_script(path), **change})
    with pytest.raises(TutorialError) as e:
        clip_index(copy)
    assert f"0_0/no_flip/episode.js holds {named}" in str(e.value)
    assert str(e.value).endswith(f"vla-tutorial clips --out {copy}")


def test_series_of_a_clip_have_one_length(copy):
    path = copy / "0_0/no_flip/episode.js"
    data = read_clip_script(path)
    data["series"]["height"].pop()
    write_clip_script(path, "x[0]", data)
    with pytest.raises(TutorialError, match="different numbers of steps"):
        clip_index(copy)


def test_command_refuses_tasks_that_are_no_numbers(tmp_path):
    from vla_tutorial.cli.app import app

    result = CliRunner().invoke(app, ["clips", "--tasks", "0,x", "--out", str(tmp_path)])
    assert result.exit_code == 2
