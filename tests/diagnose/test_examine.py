"""Tests of the boundaries on a recorded published episode, with one thing changed at a time."""

import json
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vla_tutorial import pixels
from vla_tutorial.actions import embedded_statistics
from vla_tutorial.diagnose.examine import ANSWERS, NEXT, examine, examine_folder, judge
from vla_tutorial.diagnose.measures import MEASURES, lagged, measure
from vla_tutorial.diagnose.normal import learn_taps, load_normal
from vla_tutorial.diagnose.traces import PromptEntry, Traces, read_traces
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import log_of
from vla_tutorial.sim.protocol import task_instructions
from vla_tutorial.wiring import OPENVLA_TEMPLATE, Wiring

LOGS = Path(__file__).parents[1] / "data" / "logs"
NORMAL = load_normal()
OWN = task_instructions("libero_object")[0]
WORLD = {m.name for m in MEASURES if m.place == "world"}


@pytest.fixture(scope="module")
def lines():
    text = lzma.decompress((LOGS / "published.jsonl.xz").read_bytes())
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def camera():
    rough = np.random.default_rng(0).integers(60, 200, (64, 64, 3), np.uint8)
    return np.asarray(Image.fromarray(rough).resize((256, 256), Image.Resampling.BICUBIC))


@pytest.fixture
def good(lines, camera):
    """All that a folder can hold, as published; the picture is made up."""
    return Traces(
        log_of(lines),
        camera,
        pixels.prepare(camera, Wiring("libero_object")),
        "libero_object",
        0,
        OWN,
        PromptEntry(OPENVLA_TEMPLATE.format(instruction=OWN), True, [1, 5, 3]),
        "3.3.2",
    )


def failed(traces):
    return replace(traces, log=replace(traces.log, reward=np.zeros_like(traces.log.reward)))


def verdict(traces):
    return examine(traces, limit=len(traces.log)).verdict


def test_a_published_success_has_nothing_wrong(good):
    found = examine(good)
    assert (found.verdict, found.untested) == ("nothing wrong", ())
    assert {sentence.split(":")[0] for sentence in found.evidence} <= {"world"}


def test_a_failure_with_all_boundaries_right_is_not_the_wiring(good):
    assert verdict(failed(good)) == "not the wiring"


def test_an_early_stop_is_no_failure(good):
    assert examine(failed(good), limit=280).verdict == "nothing wrong"


@pytest.mark.parametrize(
    "changes",
    [
        {"orientation": "raw"},
        {"jpeg": False},
        {"center_crop": False},
        {"colour_order": "bgr"},
        {"resize": "bilinear"},
    ],
)
def test_any_other_path_of_the_picture_is_pixels(good, changes):
    seen = pixels.prepare(good.camera, replace(Wiring("libero_object"), **changes))
    assert verdict(failed(replace(good, seen=seen))) == "pixels"


def test_a_picture_that_stands_still_is_pixels(good):
    quarters = good.log.quarters.copy()
    quarters[1:20] = quarters[0]
    log = replace(good.log, quarters=quarters)
    assert verdict(failed(replace(good, log=log))) == "pixels"


@pytest.mark.parametrize(
    "prompt",
    [
        PromptEntry(OWN),
        PromptEntry(OPENVLA_TEMPLATE.format(instruction=OWN.upper())),
        PromptEntry(OPENVLA_TEMPLATE.format(instruction=OWN), False),
        PromptEntry(OPENVLA_TEMPLATE.format(instruction=OWN), True, [1, 5, 2]),
    ],
)
def test_any_other_prompt_is_prompt(good, prompt):
    assert verdict(failed(replace(good, prompt=prompt))) == "prompt"


def test_another_sentence_in_the_right_scaffold_is_not_the_wiring(good):
    other = "grab the soup"
    prompt = PromptEntry(OPENVLA_TEMPLATE.format(instruction=other), True, [1, 5, 3])
    found = examine(failed(replace(good, instruction=other, prompt=prompt)), limit=len(good.log))
    assert found.verdict == "not the wiring"
    assert any("the sentence is not the task's" in sentence for sentence in found.evidence)


@pytest.mark.parametrize("column", range(7))
def test_any_other_action_than_the_tokens_mean_is_motion(good, column):
    changed = good.log.actions.copy()
    changed[10, column] += 0.01
    log = replace(good.log, actions=changed)
    assert verdict(failed(replace(good, log=log))) == "motion"


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0])
def test_motion_that_does_not_follow_from_the_action_is_motion(good, factor):
    """The action is right, and below the log something else happens."""
    path = good.log.eef_pos[0] + factor * (good.log.eef_pos - good.log.eef_pos[0])
    log = replace(good.log, eef_pos=path)
    assert verdict(failed(replace(good, log=log))) == "motion"


def test_another_start_is_simulator(good):
    log = replace(good.log, fingers=good.log.fingers - 36)
    assert verdict(failed(replace(good, log=log))) == "simulator"
    moved = replace(good.log, eef_pos=good.log.eef_pos + np.array([0, 0, 0.4]))
    assert verdict(failed(replace(good, log=moved))) == "simulator"
    assert verdict(failed(replace(good, mujoco="3.9.0"))) == "simulator"


def test_what_the_record_lacks_leaves_nobody_able_to_tell(good):
    found = examine(failed(Traces(good.log)), limit=len(good.log))
    assert found.verdict == "cannot tell"
    assert found.untested == ("pixels", "prompt")
    assert examine(Traces(good.log)).verdict == "nothing wrong"
    changed = replace(good.log, actions=good.log.actions + 0.1)
    assert verdict(failed(Traces(changed))) == "motion", "what it holds is tested all the same"


def test_few_steps_leave_the_motion_untested(good, lines):
    short = replace(good, log=log_of(lines[:5]))
    found = examine(failed(short), limit=5)
    assert (found.verdict, found.untested) == ("cannot tell", ("motion",))


def test_every_answer_has_a_next_step():
    assert set(NEXT) == set(ANSWERS)


def test_the_margin_counts_widths_of_the_normal_range():
    low, high = NORMAL.ranges["gain"]
    width = max(high - low, 0.02)
    assert NORMAL.deviates("gain", high + 1.9 * width, 2.0) is False
    assert NORMAL.deviates("gain", high + 2.1 * width, 2.0) is True
    assert NORMAL.deviates("gain", None) is None
    assert set(NORMAL.ranges) == {m.name for m in MEASURES}


def test_judge_takes_numbers_alone(good):
    values = measure(good, NORMAL.standard)
    assert judge(values, NORMAL, 4.0, failed=True).verdict == "not the wiring"
    assert judge({**values, "waiting": 0.5}, NORMAL, 4.0, failed=True).verdict == "motion"


def test_taps_are_found_again(rng):
    taps = np.array([5.0, 4.0, 1.0, 0.0, 0.5, 0.0])
    commanded = rng.uniform(-0.9, 0.9, (30, 3))
    moved = lagged(commanded, 6) @ taps
    position = np.cumsum(np.vstack([np.zeros(3), moved]), axis=0) / 1000
    pairs = enumerate(zip(commanded, position[:30], strict=True))
    log = log_of([_line(k, command, place) for k, (command, place) in pairs])
    assert learn_taps([Traces(log)]) == pytest.approx(taps, abs=0.02)


def _line(k, command, position):
    return {
        "step": k,
        "img_mean": 130.0,
        "img_quarters": [130.0] * 4,
        "action": [*map(float, command), 0.0, 0.0, 0.0, -1.0],
        "reward": 0.0,
        "tokens": [31872] * 7,
        "eef_pos": [float(x) for x in position],
        "gripper_qpos": [0.04, -0.04],
    }


# Folders


def test_a_folder_is_read_without_its_wiring(good, lines, tmp_path):
    Image.fromarray(good.camera).save(tmp_path / "camera.png")
    Image.fromarray(good.seen).save(tmp_path / "agentview.png")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "steps.jsonl").write_text(text)
    entry = {
        "suite": "libero_object",
        "task": 0,
        "instruction": OWN,
        "conditions": ["no_flip"],
        "wiring": {"orientation": "raw"},
        "prompt": {"text": good.prompt.text, "empty_token": True},
        "versions": {"mujoco": "3.3.2"},
    }
    (tmp_path / "episode.json").write_text(json.dumps(entry))
    traces = read_traces(tmp_path)
    assert np.array_equal(traces.camera, good.camera)
    assert examine_folder(tmp_path).verdict == "nothing wrong"
    (tmp_path / "camera.png").write_bytes(b"no picture")
    with pytest.raises(TutorialError, match=r"camera\.png is not a picture"):
        read_traces(tmp_path)


def test_statistics_of_the_suite_are_shipped():
    assert NORMAL.standard.reference.key in embedded_statistics()


def test_unknown_suites_and_policies_are_named():
    with pytest.raises(TutorialError, match="libero_object"):
        load_normal("libero_moon")
    with pytest.raises(TutorialError, match="mini"):
        load_normal("libero_object", "maxi")
