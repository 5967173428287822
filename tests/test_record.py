"""The loop and its records on real LIBERO."""

import os
from dataclasses import replace

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

from vla_tutorial import pixels, prompt, record
from vla_tutorial.conditions import apply
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import read_log
from vla_tutorial.loop import rollout, statistics_for
from vla_tutorial.record import Recorder, Result, record_episode
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

SCENE = Scene("libero_object", 0, 0)
WIRING = Wiring(unnorm_key="libero_object", max_steps=12)


@pytest.fixture
def episode(simulator, expert, tmp_path):
    return tmp_path / "episode", record_episode(
        expert, simulator, WIRING, SCENE, tmp_path / "episode"
    )


def test_folder_holds_everything(episode, read_json):
    folder, result = episode
    assert sorted(p.name for p in folder.iterdir()) == [
        "agentview.png",
        "camera.png",
        "episode.json",
        "episode.mp4",
        "gripper.png",
        "steps.jsonl",
    ]
    entry = read_json(folder / "episode.json")
    assert (entry["success"], entry["steps"], entry["task"], entry["init"]) == (False, 12, 0, 0)
    assert entry["wiring"]["unnorm_key"] == "libero_object"
    assert entry["versions"]["mujoco"] == "3.3.2"
    assert entry["policy"]["name"] == "expert"
    assert entry["warnings"] == []
    assert result.success is False
    log = read_log(folder)
    assert len(log) == 12
    assert log.channels is not None
    assert log.sharpness is not None
    assert (entry["first_close"], entry["closes"]) == (log.first_close, log.closes)
    assert (result.first_close, result.closes) == (log.first_close, log.closes)


def test_video_and_pictures_open(episode):
    folder, _ = episode
    frames = imageio.mimread(folder / "episode.mp4")
    assert len(frames) == 12
    assert frames[0].shape == (256, 256, 3)
    seen = np.asarray(Image.open(folder / "agentview.png"))
    assert seen.shape == (224, 224, 3)
    assert abs(seen.mean() - read_log(folder).image_mean[0]) < 0.01
    given = np.asarray(Image.open(folder / "camera.png"))
    assert np.array_equal(pixels.prepare(given, WIRING), seen)


def test_the_prompt_is_kept_as_the_policy_got_it(episode, read_json):
    entry = read_json(episode[0] / "episode.json")
    expected = prompt.build(WIRING, entry["instruction"])
    assert entry["prompt"] == {"text": expected.text, "empty_token": True}


def test_same_rollout_gives_the_same_bytes(simulator, expert, episode, tmp_path):
    record_episode(expert, simulator, WIRING, SCENE, tmp_path / "again")
    for name in ("steps.jsonl", "episode.mp4", "agentview.png", "gripper.png"):
        assert (tmp_path / "again" / name).read_bytes() == (episode[0] / name).read_bytes()


def test_success_ends_the_episode(simulator, expert):
    steps = list(rollout(expert, simulator, replace(WIRING, max_steps=None), SCENE))
    assert steps[-1].done and steps[-1].reward == 1.0
    assert not any(s.done for s in steps[:-1])
    commands = np.array([s.action[6] for s in steps])
    assert np.count_nonzero(np.diff(commands)) == 2  # one close, one open


def test_wrong_unnorm_key_leaves_the_arm_nearly_still(simulator, expert):
    wiring, scene = apply(["wrong_unnorm_key"], replace(WIRING, max_steps=60), SCENE)
    still = list(rollout(expert, simulator, wiring, scene))
    right = list(rollout(expert, simulator, replace(WIRING, max_steps=60), SCENE))
    travel = [
        np.linalg.norm(run[-1].observation.eef_pos - run[0].observation.eef_pos)
        for run in (still, right)
    ]
    assert travel[0] < 0.05 < 0.2 < travel[1]
    assert not still[-1].done


def test_no_flip_reaches_the_policy(simulator, expert):
    for names, turned in ((["no_flip"], 0), ([], 2)):
        wiring, scene = apply(names, replace(WIRING, max_steps=1), SCENE)
        step = next(iter(rollout(expert, simulator, wiring, scene)))
        image = np.rot90(step.observation.image, turned)
        plain = pixels.center_crop(pixels.resize_lanczos3(image))  # all but the JPEG
        assert np.abs(step.pixels.astype(int) - plain).mean() < 4


def test_never_overwrites_without_being_told(simulator, expert, episode):
    folder, _ = episode
    before = (folder / "steps.jsonl").read_bytes()
    with pytest.raises(TutorialError, match="--overwrite"):
        record_episode(expert, simulator, WIRING, SCENE, folder)
    assert (folder / "steps.jsonl").read_bytes() == before
    record_episode(expert, simulator, replace(WIRING, max_steps=2), SCENE, folder, overwrite=True)
    assert len(read_log(folder)) == 2


def test_stopped_episode_is_kept_and_says_so(simulator, expert, tmp_path, read_json):
    def stop(step):
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_episode(expert, simulator, WIRING, SCENE, tmp_path, on_step=stop)
    assert read_json(tmp_path / "episode.json")["success"] is None
    assert len(read_log(tmp_path)) == 4
    assert len(imageio.mimread(tmp_path / "episode.mp4")) == 4
    assert (tmp_path / "gripper.png").exists()


def test_killed_run_leaves_valid_files(simulator, expert, tmp_path, read_json):
    """What is on the disk while the episode runs, as kill -9 would leave it."""
    recorder = Recorder(tmp_path, record.header(expert, WIRING, SCENE, [], "x"))
    for step in rollout(expert, simulator, replace(WIRING, max_steps=2), SCENE):
        recorder.write(step)
        assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == step.step + 1
        assert read_json(tmp_path / "episode.json")["success"] is None
        assert not (tmp_path / "episode.mp4").exists()
    recorder.__exit__(None, None, None)


def test_target_and_layout_stand_in_the_header_where_they_are_set(expert):
    def entry(**changes):
        return record.header(expert, WIRING, replace(SCENE, **changes), [], "own words")

    assert not entry().keys() & {"target", "layout_seed"}
    named = entry(target="milk_1")
    assert named["target"] == "milk_1"
    assert "milk" in named["instruction"]
    assert "layout_seed" not in named
    assert entry(layout_seed=0)["layout_seed"] == 0
    assert entry(target="milk_1", layout_seed=7).keys() - entry().keys() == {
        "target",
        "layout_seed",
    }


@pytest.mark.parametrize(
    ("success", "first_close", "words"),
    [
        (True, 59, ("Success", "126", "59")),
        (False, None, ("Failure", "126", "never closed")),
        (None, 3, ("Incomplete", "126", "3")),
    ],
)
def test_a_result_says_how_it_ended(success, first_close, words):
    result = Result(success, 126, 25.0, first_close, 1)
    assert result.outcome == words[0].lower()
    for word in words:
        assert word in result.sentence()


def test_policy_error_is_not_a_failure(simulator, expert, tmp_path, read_json):
    class Broken:
        name, privileged, statistics, provenance = "broken", False, {}, {}

        def predict(self, batch):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        record_episode(Broken(), simulator, WIRING, SCENE, tmp_path)
    assert read_json(tmp_path / "episode.json")["success"] is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TutorialError, match="Cannot write"):
        record.check_folder(tmp_path / "x")


def test_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TutorialError, match="Cannot write"):
        record.check_folder(tmp_path / "file" / "x")


class _WithOwnKeys:
    name, privileged, provenance = "checkpoint", False, {}

    def __init__(self, expert):
        from vla_tutorial.actions import embedded_statistics

        self.statistics = {"libero_object": embedded_statistics()["libero_object"]}


def test_foreign_key_must_be_supplied_on_purpose(expert):
    policy = _WithOwnKeys(expert)
    with pytest.raises(TutorialError, match="embedded_statistics=True"):
        statistics_for(policy, Wiring(unnorm_key="bridge_orig"))
    assert (
        statistics_for(policy, Wiring(unnorm_key="bridge_orig", embedded_statistics=True)).q99[0]
        < 0.03
    )
