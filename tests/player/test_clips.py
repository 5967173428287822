from vla_tutorial.spec import PUBLISHED_WIRING

"""Clips: what is planned, what a folder holds, what is kept and what is made again. Episodes are real LIBERO, four steps long."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vla_tutorial.conditions import BOUNDARIES, CATALOGUE
from vla_tutorial.errors import TutorialError
from vla_tutorial.player.clip_recorder import ClipRecorder, record_all
from vla_tutorial.player.clips import FILES, PAIRS, Clip, index, plan, read, script, write_index
from vla_tutorial.player.episode_data import caption, episode_data, series
from vla_tutorial.provenance import weights_hash

WIRING = replace(PUBLISHED_WIRING, max_steps=4)


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
    studio = _studio(simulator, out)
    for clip in (Clip(0, 0), Clip(0, 0, ("no_flip",)), Clip(0, 0, ("no_flip", "wrong_prompt"))):
        studio.record(clip)
    write_index(out)
    return out


def _studio(simulator, out, policy=None):
    studio = ClipRecorder(policy or Constant(), out, WIRING)
    studio._built = (
        ("libero_object", 0, 256),
        simulator,
    )  # the session's, which nobody here may close
    return studio


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "clips")


def test_plan_holds_what_wants_a_clip_and_no_contradiction():
    shown = [c.name for c in CATALOGUE.values() if c.clip]
    clips = plan([0, 3, 0], also=[*PAIRS, ("flip_only", "no_flip"), ("wrong_prompt", "no_flip")])
    names = [clip.conditions for clip in clips if clip.task == 3]
    assert names == [(), *((name,) for name in shown), *PAIRS]
    assert len(clips) == 2 * len(names)
    assert {c.boundary for c in CATALOGUE.values() if c.clip} == BOUNDARIES.keys() - {"chance"}
    assert clips[0].key == "0_0/published"
    assert clips[len(shown) + 1].key == "0_0/no_flip+wrong_prompt"


def test_the_book_s_clips_leave_a_site_that_can_be_carried():
    """They are most of the site, which is to stay under 60 MB."""
    assert (
        sum(
            path.stat().st_size
            for path in (Path(__file__).parents[2] / "book" / "clips").rglob("*")
        )
        < 45e6
    )


@pytest.mark.parametrize(
    ("tasks", "init", "also"), [([10], 0, ()), ([0], 50, ()), ([0], 0, [("nonsense",)])]
)
def test_plan_refuses_what_does_not_exist(tasks, init, also):
    with pytest.raises(TutorialError):
        plan(tasks, init, also)


def test_folder_is_small_and_complete(made):
    folder = made / "0_0" / "no_flip"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert Image.open(folder / "poster.webp").size == (224, 224)
    assert Image.open(folder / "end.webp").size == (256, 256)
    assert not list(made.glob(".part*"))
    data = read(folder / "episode.js")
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
    found = read(made / "manifest.js")
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
    path.write_text(script("x[0]", {**read(path), "conditions": ["forgotten"]}))
    assert [e["key"] for e in index(copy)["episodes"]] == [
        "0_0/published",
        "0_0/no_flip+wrong_prompt",
    ]


def test_again_gives_the_same_bytes(simulator, made, tmp_path):
    _studio(simulator, tmp_path).record(Clip(0, 0, ("no_flip",)))
    for name in FILES:
        assert (tmp_path / "0_0/no_flip" / name).read_bytes() == (
            made / "0_0/no_flip" / name
        ).read_bytes()


def test_what_is_current_is_kept(simulator, copy):
    studio, clip = _studio(simulator, copy), Clip(0, 0, ("no_flip",))
    assert studio.is_current(clip)
    assert not studio.is_current(Clip(0, 0, ("no_settle",)))
    assert not _studio(simulator, copy, Constant("two")).is_current(clip)
    assert not ClipRecorder(Constant(), copy, replace(WIRING, max_steps=5)).is_current(clip)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_clip_is_made_again(simulator, copy, damage):
    studio, clip = _studio(simulator, copy), Clip(0, 0, ("no_flip",))
    if damage == "missing":
        (copy / clip.key / "episode.mp4").unlink()
    else:
        path = copy / clip.key / "episode.js"
        path.write_text(path.read_text()[:200])
        with pytest.raises(TutorialError, match="missing or broken"):
            read(path)
    assert not studio.is_current(clip)
    studio.record(clip)
    assert studio.is_current(clip)


def test_stopped_recording_leaves_the_old_clip(simulator, copy):
    def stop(step):
        raise KeyboardInterrupt

    studio, clip = _studio(simulator, copy), Clip(0, 0, ("no_flip",))
    with pytest.raises(KeyboardInterrupt):
        studio.record(clip, stop)
    assert studio.is_current(clip)
    assert not list(copy.glob(".part*"))


def test_workers(tmp_path):
    seen = []
    record_all(
        "expert",
        tmp_path,
        [Clip(0, 0, ("no_settle",))],
        wiring=WIRING,
        on_progress=lambda done, steps: seen.append((done, steps)),
    )
    assert seen[-1] == (1, 4)
    assert read(tmp_path / "manifest.js")["episodes"][0]["key"] == "0_0/no_settle"


def test_weights_decide_the_hash(tmp_path):
    policy = Constant()
    policy.provenance = {"checkpoint": str(tmp_path)}
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = weights_hash(policy)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert weights_hash(policy) != before
    assert weights_hash(Constant()) != weights_hash(Constant("two"))


def test_caption_says_what_is_seen(lines):
    assert caption(lines, True) == (
        "The arm hardly moves: the hand gets no more than 9 cm from where it began. "
        "The gripper first closes at step 4, 21 cm up. The task is done after 10 steps."
    )
    far = [
        {**entry, "eef_pos": [0.05 * k, 0.0, 0.25 + 0.01 * k], "action": [0.0] * 6 + [-1.0]}
        for k, entry in enumerate(lines)
    ]
    assert caption(far, None) == (
        "The hand travels 46 cm and never gets lower than 25 cm. The gripper never closes. The episode was stopped after 10 steps."
    )


def test_series_are_rounded(lines):
    found = series(lines)
    assert found["height"][:3] == [25.0, 24.0, 23.0]
    assert found["motion"][0] == 0.141
    assert found["tokens"] == "80" * 70


def test_folder_without_episode(tmp_path):
    with pytest.raises(TutorialError, match=r"episode\.json"):
        episode_data(tmp_path)


def test_script_survives_what_javascript_would_trip_over(tmp_path):
    (tmp_path / "x.js").write_text(script('(a??={})["b"]', {"text": '={"; "'}))
    assert read(tmp_path / "x.js") == {"text": '={"; "'}
    assert json.loads(script("x", {"a": 1})[2:-2]) == {"a": 1}


def test_command_refuses_tasks_that_are_no_numbers(tmp_path):
    from vla_tutorial.cli.app import app

    result = CliRunner().invoke(app, ["clips", "--tasks", "0,x", "--out", str(tmp_path)])
    assert result.exit_code == 2
