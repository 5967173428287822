"""Faults from real code of 2026: what each setting does, to the number."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vla_tutorial import actions, pixels
from vla_tutorial.conditions import apply
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import rollout, statistics_for
from vla_tutorial.scene import Perturbation, Scene
from vla_tutorial.sim import Observation, Simulator
from vla_tutorial.wiring import Wiring

WIRING = Wiring(unnorm_key="libero_object")
SCENE = Scene("libero_object", 0, 0)
STATISTICS = actions.embedded_statistics()["libero_object"]


def wired(name):
    return apply([name], WIRING, SCENE)[0]


def test_bilinear_is_that_of_opencv_and_tensorflow():
    """Pixel k of the small picture lies at (k + 0.5) · 256/224 − 0.5 of the large one."""
    ramp = np.repeat(np.arange(0, 256, dtype=np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    small = pixels.resize_bilinear(ramp)
    at = (np.arange(224) + 0.5) * 256 / 224 - 0.5
    assert np.abs(small[7, :, 1] - at).max() < 0.51
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert pixels.resize_bilinear(stripes).std() > pixels.resize_lanczos3(stripes).std() + 20


def test_bilinear_resize_is_hard_to_see(rng):
    small = rng.integers(0, 256, (16, 16, 3), np.uint8)
    image = np.asarray(Image.fromarray(small).resize((256, 256)))
    seen = pixels.prepare(image, wired("bilinear_resize")).astype(int)
    difference = np.abs(seen - pixels.prepare(image, WIRING))
    assert 0 < difference.mean() < 1


def test_padded_vocabulary_is_64_bins_too_high():
    tokens = actions.bin_tokens([0, 10, 100, 190, 191, 254, 127])
    wrong = actions.decode(tokens, STATISTICS, wired("padded_vocabulary").vocabulary)
    right = actions.bin_tokens([64, 74, 164, 254, 254, 254, 191])
    assert np.array_equal(wrong, actions.decode(right, STATISTICS))


def test_mask_ignored_leaves_a_close_without_a_sign():
    close = actions.bin_tokens([127] * 7)
    found = actions.as_wired(STATISTICS, wired("mask_ignored"))
    assert actions.to_libero(actions.decode(close, STATISTICS))[6] == 1
    assert actions.to_libero(actions.decode(close, found))[6] == 0
    opened = actions.bin_tokens([127] * 6 + [254])
    assert actions.to_libero(actions.decode(opened, found))[6] == -1
    assert np.array_equal(actions.decode(close, found)[:6], actions.decode(close, STATISTICS)[:6])


def test_min_max_statistics_stretch_to_the_extremes():
    found = actions.as_wired(STATISTICS, wired("min_max_statistics"))
    low, high = STATISTICS.extremes
    ends = actions.decode(actions.bin_tokens([[0] * 7, [254] * 7]), found)
    half = (high - low)[:6] / 255 / 2
    assert ends[0, :6] == pytest.approx(low[:6] + half)
    assert ends[1, :6] == pytest.approx(high[:6] - half)
    assert (high - low)[0] / (STATISTICS.q99 - STATISTICS.q01)[0] > 1.3
    with pytest.raises(TutorialError, match="min and max"):
        actions.as_wired(replace(STATISTICS, extremes=None), wired("min_max_statistics"))


def test_published_statistics_stay_as_they_are():
    assert actions.as_wired(STATISTICS, WIRING) is STATISTICS


class _TwoCameras:
    """A simulator whose cameras show 40 (agentview) and 200 (wrist)."""

    task = SimpleNamespace(instruction="do it")

    def start(self, scene, settle_steps):
        image = np.full((64, 64, 3), 40, np.uint8)
        return Observation(image, np.zeros(3), np.zeros(4), np.zeros(2), np.zeros(7))

    def step(self, action):
        return self.start(None, 0), 0.0, False

    def wrist_picture(self):
        return np.full((64, 64, 3), 200, np.uint8)


class _Still:
    name = "still"
    privileged = False

    def __init__(self):
        self.statistics = {}

    def predict(self, batch):
        return np.full((len(batch), 7), 31872)


@pytest.mark.parametrize(("name", "level"), [("wrist_camera", 200), ("no_jpeg", 40)])
def test_wrist_camera_is_seen_in_every_step(name, level):
    wiring = replace(wired(name), max_steps=3)
    steps = list(rollout(_Still(), _TwoCameras(), wiring, SCENE))
    assert [round(float(step.pixels.mean())) for step in steps] == [level] * 3
    assert {int(step.observation.image[0, 0, 0]) for step in steps} == {40}


def test_the_loop_decodes_as_wired():
    wiring = replace(wired("padded_vocabulary"), max_steps=1)
    (step,) = rollout(_Still(), _TwoCameras(), wiring, SCENE)
    expected = actions.to_libero(actions.decode(np.full(7, 31872 - 64), STATISTICS))
    assert np.array_equal(step.action, expected)
    assert statistics_for(_Still(), wired("mask_ignored")).mask.all()


# On LIBERO


@pytest.fixture(scope="module")
def small():
    with Simulator("libero_object", 0, camera_size=16) as simulator:
        yield simulator


def moved(simulator, steps=4, **changes):
    """Metres that the hand gets, upwards, in `steps` control steps of half speed."""
    start = simulator.reset(0, 5, Perturbation(**changes))
    for _ in range(steps):
        seen, *_ = simulator.step([0, 0, 0.5, 0, 0, 0, -1])
    return seen.eef_pos - start.eef_pos


def test_control_rate_10_gets_farther_and_nothing_of_it_stays(small):
    before = moved(small)
    slow = moved(small, control_rate=10.0)
    assert slow[2] > 1.8 * before[2] > 0
    assert np.array_equal(moved(small), before)


def test_absolute_control_sends_the_hand_away(small):
    before = moved(small)
    away = moved(small, absolute_control=True)
    # The place (0, 0, 0.5) is above and before the hand's own.
    assert np.linalg.norm(away - before) > 0.03
    assert np.array_equal(moved(small), before)


def test_rates_that_the_simulator_lacks_are_refused():
    with pytest.raises(TutorialError, match="control_rate is 5"):
        Perturbation(control_rate=5)
