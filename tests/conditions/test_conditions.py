"""Each condition changes what it should and nothing else: in the settings, in what the policy gets, and in what the arm does."""

from dataclasses import replace
from importlib import resources
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.conditions import (
    BOUNDARIES,
    CATALOGUE,
    Boundary,
    apply,
    camera,
    changed_settings,
    families,
    find_condition,
    goal_of,
    held_out_sentences,
    light,
    noise,
    nudge,
    paraphrase,
)
from vla_tutorial.conditions.language import kinds, paraphrases
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import rollout
from vla_tutorial.openvla.checkpoint import open_checkpoint
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Observation, Simulator, task_instructions
from vla_tutorial.wiring import OPENVLA_TEMPLATE, Wiring

WIRING, SCENE = Wiring(unnorm_key="libero_object"), Scene("libero_object", 0, 0)

EXPECTED = {
    "no_flip": {"orientation": "raw"},
    "flip_only": {"orientation": "flip_vertical"},
    "no_center_crop": {"center_crop": False},
    "no_jpeg": {"jpeg": False},
    "bgr": {"colour_order": "bgr"},
    "stale_frame": {"frame_delay": 1},
    "bilinear_resize": {"resize": "bilinear"},
    "wrist_camera": {"camera": "wrist"},
    "wrong_prompt": {"prompt_template": "What action should the robot take? {instruction}"},
    "no_empty_token": {"empty_token": False},
    "upper_case": {"letter_case": "upper"},
    "trailing_period": {
        "prompt_template": "In: What action should the robot take to {instruction}.?\nOut:"
    },
    "wrong_unnorm_key": {"unnorm_key": "bridge_orig", "embedded_statistics": True},
    "wrong_suite_key": {"unnorm_key": "libero_spatial", "embedded_statistics": True},
    "gripper_inverted": {"gripper": "inverted"},
    "gripper_not_binarised": {"gripper": "continuous"},
    "gripper_not_rescaled": {"gripper": "unscaled"},
    "actions_too_large": {"translation_gain": 4.0},
    "padded_vocabulary": {"vocabulary": 32064},
    "mask_ignored": {"action_mask": False},
    "min_max_statistics": {"action_bounds": "extremes"},
    "control_rate_10": {"control_rate": 10.0},
    "absolute_control": {"absolute_control": True},
    **{f"latency_{steps}": {"latency": steps} for steps in (1, 2, 4, 8)},
    **{f"replan_steps_{steps}": {"replan_steps": steps} for steps in (1, 10)},
    "stale_chunk": {"stale_chunks": 1},
    "no_settle": {"settle_steps": 0},
    "mujoco_drift": {"srgb_textures": True},
    **{f"camera_{degrees}": {"camera_degrees": degrees} for degrees in (5, 10, 15, 30)},
    **{f"light_{percent}": {"light": percent / 100} for percent in (75, 50, 25)},
    **{f"noise_{sigma}": {"camera_noise": sigma} for sigma in (5, 10, 20)},
    "second_can": {"second_can": True},
    "distractors_swapped": {"distractors": "swapped"},
    "distractors_hidden": {"distractors": "hidden"},
    **{
        f"paraphrase_{k}": {"instruction": words}
        for k, words in enumerate(paraphrases("libero_object", 0), 1)
    },
    "held_out_words": {"instruction": held_out_sentences(goal_of("libero_object", 0))[0].sentence},
    "unrelated_instruction": {"instruction": "turn on the stove"},
    "no_instruction": {"instruction": ""},
    "friction_low": {"friction": 0.9},
    "friction_high": {"friction": 1.1},
    **{f"nudge_{k}": {"joint_noise_seed": k} for k in (1, 2, 3)},
}


def test_the_catalogue_is_what_this_file_expects():
    assert list(CATALOGUE) == list(EXPECTED)
    assert list(dict.fromkeys(c.boundary for c in CATALOGUE.values())) == list(BOUNDARIES)


@pytest.mark.parametrize("name", CATALOGUE)
def test_changes_what_it_should_and_nothing_else(name):
    changed = changed_settings(find_condition(name), WIRING, SCENE)
    assert {k: after for k, (_, after) in changed.items()} == EXPECTED[name]


@pytest.mark.parametrize("condition", CATALOGUE.values(), ids=list(CATALOGUE))
def test_says_what_it_teaches(condition):
    assert condition.teaches.endswith(".") and len(condition.teaches) < 230
    assert all(address.startswith("https://github.com/") for address in condition.seen_in)
    assert (condition.level is None) == (not condition.unit)
    assert condition.name.startswith(condition.family)


def test_levels_stand_in_the_name():
    for family in ("camera", "light", "noise"):
        assert [c.name for c in families("shift")[family]] == [
            f"{family}_{c.level}" for c in families("shift")[family]
        ]


def test_every_boundary_is_said_in_words_and_in_order():
    assert list(BOUNDARIES) == list(get_args(Boundary))


# Together


def test_those_of_different_boundaries_compose():
    wiring, scene = apply(
        ["no_flip", "wrong_unnorm_key", "camera_15", "light_50", "paraphrase_1"], WIRING, SCENE
    )
    assert (wiring.orientation, wiring.unnorm_key) == ("raw", "bridge_orig")
    assert (scene.perturbation.camera_degrees, scene.perturbation.light) == (15, 0.5)
    assert scene.instruction == "put the soup can in the bin"


def test_none_changes_nothing():
    assert apply([], WIRING, SCENE) == (WIRING, SCENE)


@pytest.mark.parametrize(
    ("first", "second", "setting"),
    [
        ("no_flip", "flip_only", "orientation"),
        ("no_flip", "no_flip", "orientation"),
        ("wrong_prompt", "trailing_period", "prompt_template"),
        ("camera_5", "camera_30", "camera_degrees"),
        ("paraphrase_2", "no_instruction", "instruction"),
        ("friction_low", "friction_high", "friction"),
        ("wrong_suite_key", "wrong_unnorm_key", "unnorm_key"),
    ],
)
def test_contradictions_name_both(first, second, setting):
    with pytest.raises(TutorialError, match=f"{first}.*{second}.*{setting}"):
        apply([first, second], WIRING, SCENE)


# Names and levels


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noflip", "'noflip'.*'no_flip'"),
        ("camera_400", "camera_400.*-90 … 90"),
        ("camera_-91", "camera_-91.*-90 … 90"),
        ("light_201", "light_201.*0 … 200"),
        ("noise_129", "noise_129.*0 … 128"),
        ("nudge_0", "nudge_0.*1 …"),
        ("paraphrase_9", "9.*1 … 8"),
        ("camera_12", r"camera_5, camera_10, camera_15, camera_30.*conditions\.camera\(12\)"),
    ],
)
def test_what_there_is_not_is_said(name, words):
    with pytest.raises(TutorialError, match=words):
        apply([name], WIRING, SCENE)


@pytest.mark.parametrize(
    ("factory", "level"),
    [(camera, 91), (light, -1), (noise, 200), (nudge, 0), (paraphrase, 0), (camera, float("nan"))],
)
def test_factories_check_the_level(factory, level):
    with pytest.raises(TutorialError, match=str(level)):
        factory(level)


def test_another_level_can_be_made():
    wiring, scene = apply([camera(12), "light_50"], WIRING, SCENE)
    assert (wiring, scene.perturbation.camera_degrees) == (WIRING, 12)
    assert (camera(12.5).name, camera(12.5).family, camera(-3).family) == (
        "camera_12.5",
        "camera",
        "camera",
    )


# Pixels


def _seen(names, image):
    return pixels.prepare(image, apply(names, WIRING, SCENE)[0])


@pytest.fixture
def image(rng):
    """Smooth colours, so that JPEG keeps them."""
    small = rng.integers(0, 256, (4, 4, 3), np.uint8)
    return pixels.resize_lanczos3(small, 256)


def test_bgr_changes_the_order_of_channels_and_nothing_else(image):
    assert np.array_equal(_seen(["bgr", "no_jpeg"], image), _seen(["no_jpeg"], image)[..., ::-1])
    assert np.array_equal(_seen(["bgr"], image), _seen([], image[..., ::-1]))


def test_no_center_crop_shows_the_margin(image):
    whole, crop = _seen(["no_center_crop"], image), _seen([], image)
    assert np.abs(pixels.center_crop(whole).astype(int) - crop).max() == 0
    assert not np.array_equal(whole, crop)


def test_no_jpeg_is_nearly_invisible(image):
    difference = np.abs(_seen(["no_jpeg"], image).astype(int) - _seen([], image))
    assert 0 < difference.mean() < 4


class _Counting:
    """A simulator whose picture at control step k is all 20 k."""

    def __init__(self):
        self.task, self.k = SimpleNamespace(instruction="do it"), 0

    def _look(self):
        return Observation(
            np.full((64, 64, 3), 20 * self.k, np.uint8),
            np.zeros(3),
            np.zeros(4),
            np.zeros(2),
            np.zeros(7),
        )

    def start(self, scene, settle_steps):
        return self._look()

    def step(self, action):
        self.k += 1
        return self._look(), 0.0, False


class _Still:
    name, privileged, statistics = "still", False, {}

    def predict(self, batch):
        return np.full((len(batch), 7), 31872)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(0, [0, 20, 40, 60, 80]), (1, [0, 0, 20, 40, 60]), (3, [0, 0, 0, 0, 20])],
)
def test_stale_frame_is_late_by_that_many_steps(delay, expected):
    wiring = replace(WIRING, frame_delay=delay, max_steps=5)
    steps = list(rollout(_Still(), _Counting(), wiring, SCENE))
    assert [round(float(s.pixels.mean())) for s in steps] == expected
    assert [int(s.observation.image[0, 0, 0]) for s in steps] == [0, 20, 40, 60, 80], (
        "the record keeps the present picture"
    )


# Prompt


@pytest.fixture(scope="module")
def ids():
    with resources.as_file(resources.files("vla_tutorial") / "weights" / "mini") as folder:
        tokenizer = open_checkpoint(folder).tokenizer
    own = task_instructions("libero_object")[0]

    def of(*names):
        wiring, scene = apply(names, WIRING, SCENE)
        return prompt.token_ids(prompt.build(wiring, scene.instruction_for(own)), tokenizer)

    return of


def test_no_empty_token_leaves_out_the_last_id_alone(ids):
    assert ids("no_empty_token") == ids()[:-1]
    assert ids()[-1] == prompt.EMPTY_TOKEN


def test_trailing_period_changes_the_end_of_the_sentence_alone(ids):
    before, after = ids(), ids("trailing_period")
    assert before != after
    assert after[: len(before) - 6] == before[: len(before) - 6]
    assert after[-4:] == before[-4:]


@pytest.mark.parametrize(
    "name", ["upper_case", "paraphrase_1", "unrelated_instruction", "no_instruction"]
)
def test_the_scaffold_around_the_words_stays(ids, name):
    before, after = ids(), ids(name)
    assert before != after
    assert after[:7] == before[:7], "In: What action should the"
    assert after[-4:] == before[-4:], "Out: and the empty token"


def test_upper_case_is_the_same_sentence():
    text = prompt.build(apply(["upper_case"], WIRING, SCENE)[0], "pick up the milk").text
    assert text == OPENVLA_TEMPLATE.format(instruction="PICK UP THE MILK")


# Language


def test_paraphrases_are_different_sentences_in_lower_case():
    for suite in (
        "libero_object",
        "libero_object_swap",
        "libero_object_object",
        "libero_object_lan",
    ):
        for task, own in enumerate(task_instructions("libero_object")):
            found = paraphrases(suite, task)
            assert len(found) == len(kinds()) >= 8
            assert len({own, *found}) == len(found) + 1
            assert [words.lower().strip() for words in found] == list(found)


def test_paraphrases_name_the_thing_of_their_own_task():
    everything = [words for task in range(10) for words in paraphrases("libero_object", task)]
    assert len(set(everything)) == len(everything)
    for task, own in enumerate(task_instructions("libero_object")):
        thing = own.removeprefix("pick up the ").removesuffix(" and place it in the basket")
        naming = [
            words for words in paraphrases("libero_object", task) if thing.split()[-1] in words
        ]
        assert len(naming) >= 7, "all but the one that gives everything another name"


def test_the_chapters_example_is_the_first_of_task_0():
    assert paraphrases("libero_object", 0)[0] == "put the soup can in the bin"


@pytest.mark.parametrize(
    "place", [("libero_10", 0), ("libero_object_task", 0), ("libero_object", 10)]
)
def test_no_paraphrase_is_made_up(place):
    with pytest.raises(TutorialError, match=f"{place[0]} task {place[1]}"):
        apply(["paraphrase_1"], WIRING, Scene(*place, 0))


def test_no_instruction_is_not_the_tasks_own():
    scene = apply(["no_instruction"], WIRING, SCENE)[1]
    assert (SCENE.instruction_for("do it"), scene.instruction_for("do it")) == ("do it", "")


# Motion


@pytest.mark.parametrize(
    ("name", "opening", "closing"),
    [
        ("gripper_inverted", 1, -1),
        ("gripper_not_binarised", -0.99, 1),
        ("gripper_not_rescaled", -0.99, 0),
    ],
)
def test_gripper_mappings(name, opening, closing):
    """A model's 1 (open) and 0 (close), through tokens, as LIBERO gets them; published −1 and +1."""
    statistics = actions.embedded_statistics()["libero_object"]
    for wiring, wanted in (
        (WIRING, (-1, 1)),
        (apply([name], WIRING, SCENE)[0], (opening, closing)),
    ):
        sent = [
            actions.to_libero(
                actions.decode(
                    actions.encode([0.1] * 3 + [0.05] * 3 + [g], statistics), statistics
                ),
                wiring.gripper,
            )
            for g in (1, 0)
        ]
        assert [a[6] for a in sent] == pytest.approx(wanted, abs=0.01)
        assert np.allclose(sent[0][:6], [0.1] * 3 + [0.05] * 3, atol=0.01)


def test_actions_too_large_are_four_times_the_translation():
    action = [0.1, -0.2, 0.3, 0.1, 0.1, 0.1, 1]
    wiring = apply(["actions_too_large"], WIRING, SCENE)[0]
    sent = actions.to_libero(action, wiring.gripper, wiring.translation_gain)
    assert np.allclose(sent, [0.4, -0.8, 1.2, 0.1, 0.1, 0.1, -1])


@pytest.fixture(scope="module")
def blind():
    """A simulator without a camera, of a LIBERO-PRO suite."""
    with Simulator("libero_object_swap", 0, render=False) as sim:
        yield sim


def _run(blind, expert, names, steps):
    wiring, scene = apply(
        names, replace(WIRING, max_steps=steps), Scene("libero_object_swap", 0, 0)
    )
    done = list(rollout(expert, blind, wiring, scene))
    return done, blind.state()


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_condition_runs_on_a_libero_pro_suite(blind, expert, name):
    steps, _ = _run(blind, expert, [name], 1)
    assert len(steps) == 1 and np.isfinite(steps[0].action).all()


def test_libero_takes_a_gripper_command_by_its_sign(blind, expert):
    """Why `gripper_not_binarised` changes nothing here, and `gripper_not_rescaled` never closes."""
    published, state = _run(blind, expert, [], 60)
    continuous, same = _run(blind, expert, ["gripper_not_binarised"], 60)
    unscaled, _ = _run(blind, expert, ["gripper_not_rescaled"], 60)
    assert any(s.action[6] > 0 for s in published)
    assert np.array_equal(state, same)
    assert not np.array_equal([s.action for s in published], [s.action for s in continuous])
    opening = [s.observation.gripper_qpos[0] - s.observation.gripper_qpos[1] for s in unscaled]
    assert not any(s.action[6] > 0 for s in unscaled) and min(opening[20:]) > 0.07


def test_a_controller_clips_what_is_too_large(blind, expert):
    _run(blind, expert, [], 1)
    ends = []
    for size in (1.0, 4.0):
        blind.reset(0)
        for _ in range(5):
            blind.step([size, 0, 0, 0, 0, 0, -1])
        ends.append(blind.state())
    assert np.array_equal(*ends)
