"""Perturbations of the scene: what each one changes, what it leaves alone, and that nothing of it stays. A small camera keeps this quick."""

import numpy as np
import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import Perturbation
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.perturb import JOINT_NOISE_RAD, free_positions, srgb_textures
from vla_tutorial.sim.rendered_copy import free_place
from vla_tutorial.sim.simulator import NO_OP

ONLY_SEEN = [
    Perturbation(camera_degrees=15),
    Perturbation(light=0.5),
    Perturbation(camera_noise=10),
    Perturbation(second_can=True),
    Perturbation(srgb_textures=True),
]
FELT = [
    Perturbation(friction=0.9),
    Perturbation(joint_noise_seed=1),
    Perturbation(distractors="swapped"),
    Perturbation(distractors="hidden"),
]
ALL = Perturbation(30, 0.25, 20, True, "swapped", True, 1.1, 2)


@pytest.fixture(scope="module")
def sim():
    with Simulator("libero_object", 0, camera_size=64) as small:
        yield small


def episode(sim, perturbation=None, steps=3, init=0):
    """Pictures and states of a few wild actions from a saved state."""
    seen = [sim.reset(init, 1, perturbation) if perturbation else sim.reset(init, 1)]
    states, rng = [sim.state()], np.random.default_rng(1)
    for _ in range(steps):
        seen.append(sim.step(np.r_[rng.uniform(-0.5, 0.5, 6), 1])[0])
        states.append(sim.state())
    return np.array([o.image for o in seen]), np.array(states)


@pytest.fixture(scope="module")
def published(sim):
    return episode(sim)


@pytest.mark.parametrize("perturbation", ONLY_SEEN, ids=str)
def test_some_are_seen_and_not_felt(sim, published, perturbation):
    pictures, states = episode(sim, perturbation)
    assert np.array_equal(states, published[1])
    assert all((a != b).any() for a, b in zip(pictures, published[0], strict=True))


@pytest.mark.parametrize("perturbation", FELT, ids=str)
def test_some_are_felt(sim, published, perturbation):
    assert not np.array_equal(episode(sim, perturbation)[1], published[1])


@pytest.mark.parametrize("perturbation", [*ONLY_SEEN, *FELT, ALL], ids=str)
def test_nothing_stays(sim, published, perturbation):
    episode(sim, perturbation, steps=1)
    for after, before in zip(episode(sim), published, strict=True):
        assert np.array_equal(after, before)


def test_one_follows_another(sim):
    """Each starts from the model as it was, not from the one before."""
    alone = episode(sim, Perturbation(camera_degrees=15), steps=0)[0]
    sim.reset(0, 1, ALL)
    assert np.array_equal(episode(sim, Perturbation(camera_degrees=15), steps=0)[0], alone)


def test_repeats(sim):
    for first, again in zip(episode(sim, ALL), episode(sim, ALL), strict=True):
        assert np.array_equal(first, again)


def test_closing_while_one_is_on_is_fine():
    other = Simulator("libero_object", 1, camera_size=32)
    other.reset(0, 0, ALL)
    other.close()
    other.close()


def _look(sim, settle_steps=1, init=0, **changes):
    return sim.reset(init, settle_steps, Perturbation(**changes)).image.astype(int)


def test_camera_looks_at_the_same_point_from_as_far(sim):
    sim.reset(0, 0)
    before = sim.model.cam("agentview").pos.copy()
    pivot = sim._perturber._pivot
    sim.reset(0, 0, Perturbation(camera_degrees=30))
    camera, after = sim.model.cam("agentview").id, sim.model.cam("agentview").pos.copy()
    assert np.linalg.norm(after - pivot) == pytest.approx(np.linalg.norm(before - pivot))
    assert after[2] == pytest.approx(before[2])
    axis = -sim.data.cam_xmat[camera].reshape(3, 3)[:, 2]
    assert np.cross(axis, pivot - after) == pytest.approx(np.zeros(3), abs=1e-9)
    angle = np.arctan2(*(after - pivot)[1::-1]) - np.arctan2(*(before - pivot)[1::-1])
    assert np.degrees(angle) == pytest.approx(30)


def test_less_light_is_darker(sim):
    means = [_look(sim, light=share).mean() for share in (1.0, 0.75, 0.5, 0.25)]
    assert means == sorted(means, reverse=True)
    assert [m / means[0] for m in means] == pytest.approx([1, 0.75, 0.5, 0.25], abs=0.05)


def test_noise_is_gaussian_and_drawn_anew(sim):
    base, noisy = _look(sim), _look(sim, camera_noise=10)
    middle = (base > 60) & (base < 195)
    assert (noisy - base)[middle].std() == pytest.approx(10, rel=0.05)
    assert abs((noisy - base)[middle].mean()) < 0.5
    draws = []
    for init in (0, 1):
        sim.reset(init, 0, Perturbation(camera_noise=10))
        draws += [sim._perturber.picture(np.full((8, 8, 3), 128, np.uint8)) for _ in range(2)]
    assert len({d.tobytes() for d in draws}) == 4, "another for each step and each initial state"


def test_second_can_is_in_the_picture_and_stays_where_it_is(sim, published):
    """It covers a small patch, the same one while the hand moves, and the tin's own picture stays."""
    pictures, _ = episode(sim, Perturbation(second_can=True), steps=3)
    changed = [(a != b).any(-1) for a, b in zip(pictures, published[0], strict=True)]
    assert all(4 <= patch.sum() <= 0.02 * patch.size for patch in changed)
    rows, columns = np.nonzero(changed[0])
    assert np.ptp(rows) <= 10 and np.ptp(columns) <= 10
    assert (changed[0] == changed[-1]).mean() > 0.999


def test_second_can_stands_free_and_near(sim):
    sim.reset(0)
    place = free_place(sim._inner, "alphabet_soup_1")
    others = np.array([sim.data.xpos[body][:2] for body in sim.bodies.values()])
    assert 0.08 < np.linalg.norm(others - place, axis=1).min() < 0.25
    sim.reset(0, 10, Perturbation(distractors="hidden"))
    assert np.linalg.norm(free_place(sim._inner, "alphabet_soup_1") - others.mean(0)) < 0.5, (
        "not among the hidden things"
    )


def test_second_can_does_not_follow_the_first(sim):
    """When the original is gone, the copy is still there: the pictures with and without differ as before."""
    starts = free_positions(sim._inner)
    both = []
    for second in (False, True):
        sim.reset(0, 1, Perturbation(second_can=second))
        sim.data.qpos[starts["alphabet_soup_1"]] += 3
        both.append(sim.step(NO_OP)[0].image)
    assert (both[0] != both[1]).any(-1).sum() >= 4


def test_distractors_change_places_among_themselves(sim):
    where = free_positions(sim._inner)
    at = {}
    for kind in ("as_saved", "swapped", "hidden"):
        sim.reset(0, 0, Perturbation(distractors=kind))
        at[kind] = {name: sim.data.qpos[start : start + 3].copy() for name, start in where.items()}
    fixed, moved = (
        ("alphabet_soup_1", "basket_1"),
        [n for n in where if n not in ("alphabet_soup_1", "basket_1")],
    )
    for kind in ("swapped", "hidden"):
        assert all(np.allclose(at[kind][n], at["as_saved"][n], atol=1e-6) for n in fixed)
        assert all(
            at[kind][n][2] == pytest.approx(at["as_saved"][n][2], abs=1e-3) for n in moved
        ), "each keeps its own height"
    assert sorted(tuple(at["swapped"][n][:2].round(6)) for n in moved) == sorted(
        tuple(at["as_saved"][n][:2].round(6)) for n in moved
    )
    assert not any(
        np.allclose(at["swapped"][n][:2], at["as_saved"][n][:2], atol=0.01) for n in moved
    )
    assert all(at["hidden"][n][0] > sim.model.cam("agentview").pos[0] + 3 for n in moved), (
        "behind the camera"
    )


def test_joint_noise_turns_the_arm_a_little_and_depends_on_seed_and_state(sim):
    def joints(seed, init=0):
        sim.reset(init, 0, Perturbation(joint_noise_seed=seed))
        return sim.data.qpos[:7].copy(), sim.data.qpos[9:].copy()

    (arm, things), (other, _) = joints(0), joints(0, init=1)
    turned = [joints(k)[0] - arm for k in (1, 2, 3)] + [joints(1, init=1)[0] - other]
    assert np.std(turned) == pytest.approx(JOINT_NOISE_RAD, rel=0.5)
    assert len({tuple(t.round(9)) for t in turned}) == 4
    assert np.allclose(joints(1)[1], things, atol=1e-6)


def test_friction_is_scaled_everywhere(sim):
    sim.reset(0, 0)
    before = sim.model.geom_friction.copy()
    sim.reset(0, 0, Perturbation(friction=1.1))
    assert np.allclose(sim.model.geom_friction, 1.1 * before)


def test_drift_touches_what_mujoco_takes_for_srgb(sim):
    """Of task 0's textures, MuJoCo 3.3.3 itself marks these two as sRGB (`tex_colorspace`; benchmarks/perturbations.py)."""
    names = [sim.model.texture(t).name for t in srgb_textures(sim._inner)]
    assert names == ["texplane", "salad_dressing_1_tex-textured"]
    assert _look(sim, srgb_textures=True).mean() < 0.8 * _look(sim).mean()


# Bad input


@pytest.mark.parametrize(
    "changes",
    [
        {"camera_degrees": 91},
        {"light": -0.1},
        {"camera_noise": 129},
        {"friction": 0},
        {"joint_noise_seed": -1},
        {"light": float("nan")},
    ],
)
def test_out_of_range(changes):
    with pytest.raises(TutorialError, match=f"{next(iter(changes))} is .*; expected"):
        Perturbation(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distractors": "swapped"}, r"0 distractors .*2"),
        ({"second_can": True}, "the_moon"),
    ],
)
def test_what_the_scene_lacks_is_said_and_nothing_is_left_half_done(
    sim, published, monkeypatch, changes, words
):
    problem = sim._inner.parsed_problem
    of_interest = list(sim.bodies) if "distractors" in changes else ["the_moon"]
    monkeypatch.setitem(problem, "obj_of_interest", of_interest)
    with pytest.raises(TutorialError, match=words):
        sim.reset(0, 1, Perturbation(camera_degrees=15, **changes))
    assert np.array_equal(episode(sim, steps=0)[0][0], published[0][0])
