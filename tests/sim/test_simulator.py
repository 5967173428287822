"""The real simulator: exact reset, protocol, closing, and spawn."""

import contextlib
import multiprocessing as mp
import pickle
import sys
import weakref

import numpy as np
import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import Perturbation, Scene
from vla_tutorial.sim import Simulator, check_task, step_limit, suites, task_instructions
from vla_tutorial.sim import libero as libero_module
from vla_tutorial.sim.memory import page_out
from vla_tutorial.sim.protocol import initial_states
from vla_tutorial.sim.simulator import NO_OP


def private_mib():
    """Memory of this process that no file stands for."""
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) / 1024


def play(step, actions):
    return [step(a) for a in actions]


@pytest.fixture
def wild_actions(rng):
    return np.c_[rng.uniform(-0.6, 0.6, (8, 6)), np.sign(rng.normal(size=8))]


def test_fast_reset_equals_a_hard_reset(simulator, wild_actions):
    """Pictures bit for bit and states to 1e-9 after eight actions, against LIBERO's own environment after recompiling."""
    play(
        simulator.step, wild_actions[::-1]
    )  # leave gripper, controller and clocks in another state
    ours = [(simulator.reset(7), simulator.state())]
    ours += [(simulator.step(a)[0], simulator.state()) for a in wild_actions]
    from libero.libero.envs import OffScreenRenderEnv

    task = check_task("libero_object", 0)
    env = OffScreenRenderEnv(
        bddl_file_name=str(task.bddl),
        camera_heights=256,
        camera_widths=256,
        camera_names=["agentview"],
    )
    try:
        env.seed(0)
        env.reset()
        play(env.step, wild_actions[:2])
        env.reset()
        env.set_init_state(initial_states("libero_object", 0)[7].copy())
        obs = play(env.step, [NO_OP] * 10)[-1][0]
        bare = [(obs, env.get_sim_state())] + [
            (env.step(a)[0], env.get_sim_state()) for a in wild_actions
        ]
    finally:
        env.close()
    for (mine, state), (obs, reference) in zip(ours, bare, strict=True):
        assert np.array_equal(mine.image, obs["agentview_image"])
        assert np.array_equal(mine.eef_pos, obs["robot0_eef_pos"])
        assert np.abs(state - reference).max() < 1e-9


def test_fixtures_stand_where_a_hard_reset_puts_them():
    """The microwave's place is drawn at random and is no part of a saved state."""
    from libero.libero.envs import OffScreenRenderEnv

    with Simulator("libero_10", 9) as sim:
        mine = sim.reset(0, settle_steps=0).image
    env = OffScreenRenderEnv(
        bddl_file_name=str(check_task("libero_10", 9).bddl),
        camera_heights=256,
        camera_widths=256,
        camera_names=["agentview"],
    )
    try:
        env.seed(0)
        env.reset()
        assert np.array_equal(
            mine, env.set_init_state(initial_states("libero_10", 9)[0].copy())["agentview_image"]
        )
    finally:
        env.close()


def test_reset_is_repeatable(simulator, wild_actions):
    runs = []
    for _ in range(2):
        simulator.reset(3)
        runs.append([simulator.step(a)[0].image for a in wild_actions])
    assert np.array_equal(*runs)


def test_set_init_state_alone_would_not_be_a_restart(simulator, wild_actions):
    """The reason for the exact reset: without it the controller's memory changes what the same actions do."""
    ends = []
    for clean in (True, False):
        if clean:
            simulator.reset(0, settle_steps=0)
        else:
            simulator._env.set_init_state(initial_states("libero_object", 0)[0].copy())
        play(simulator.step, wild_actions)
        ends.append(simulator.state())
    assert np.abs(ends[0] - ends[1])[1:].max() > 1e-3


def test_no_settling_still_gives_a_picture(simulator):
    assert simulator.reset(0, settle_steps=0).image.std() > 10


def test_reset_from_a_state(simulator):
    simulator.reset(4)
    state = simulator.state()
    simulator.reset(state, settle_steps=0)
    assert np.abs(simulator.state() - state)[1:].max() < 1e-12


def test_observation_shapes(simulator):
    observation = simulator.reset(0)
    assert observation.image.shape == (256, 256, 3)
    assert observation.image.dtype == np.uint8
    assert [
        x.shape
        for x in (
            observation.eef_pos,
            observation.eef_quat,
            observation.gripper_qpos,
            observation.joint_pos,
        )
    ] == [
        (3,),
        (4,),
        (2,),
        (7,),
    ]


def test_targets(simulator):
    assert simulator.targets == ("alphabet_soup_1",)
    assert "basket_1" in simulator.bodies
    assert simulator.task.instruction == "pick up the alphabet soup and place it in the basket"


@pytest.mark.parametrize("action", [[0.0] * 6, [np.nan] * 7, [0, 0, np.inf, 0, 0, 0, 1]])
def test_bad_action_changes_nothing(simulator, action):
    simulator.reset(0)
    before = simulator.state()
    with pytest.raises(TutorialError, match=r"[Aa]ction"):
        simulator.step(action)
    assert np.array_equal(before, simulator.state())


def test_protocol_as_data():
    assert step_limit("libero_object") == step_limit("libero_object_swap") == 280
    assert step_limit("libero_10") == 520
    assert len(initial_states("libero_object", 9)) == 50
    assert {
        "libero_spatial",
        "libero_object",
        "libero_goal",
        "libero_10",
        "libero_object_swap",
    } <= set(suites())
    assert len(task_instructions("libero_object")) == 10


def test_instructions_of_perturbed_language():
    assert task_instructions("libero_object_lan")[0] == "grab alphabet soup and put it into basket"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("libero_objekt", 0, 0), "Did you mean 'libero_object'"),
        (("libero_object", 10, 0), "expected 0 … 9"),
        (("libero_object", 0, 50), "expected 0 … 49"),
        (("libero_object", 0, -1), "expected 0 … 49"),
    ],
)
def test_unknown_episodes(arguments, message):
    with pytest.raises(TutorialError, match=message):
        check_task(*arguments)


def _settled_height(task: int) -> float:
    with Simulator("libero_object", task, render=False) as sim:
        return float(sim.reset(0).eef_pos[2])


@pytest.mark.usefixtures("simulator")
def test_safe_under_spawn():
    """A child process builds and closes its own simulator while this one holds a GL context."""
    with mp.get_context("spawn").Pool(1) as pool:
        assert 0.1 < pool.apply(_settled_height, (0,)) < 0.4


def test_closing_twice_is_fine():
    sim = Simulator("libero_object", 1, render=False)
    sim.close()
    sim.close()


def test_no_gl_backend_is_said(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(libero_module.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(TutorialError, match="libegl1"):
        libero_module.choose_backend()


def test_wrong_gl_backend_is_said(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(TutorialError, match=r"'glfw'.*'egl' or 'osmesa'"):
        libero_module.choose_backend()


def test_two_in_one_process_do_not_disturb_each_other(simulator):
    before = simulator.reset(2).image
    with Simulator("libero_object", 0, camera_size=64) as other:
        small = other.reset(2).image
        assert np.array_equal(simulator.reset(2).image, before)
        assert np.array_equal(other.reset(2).image, small)
    assert np.array_equal(simulator.reset(2).image, before)


def test_one_that_is_closed_takes_nothing_from_the_one_that_rendered_last(simulator):
    """MuJoCo frees its textures in whichever context is current."""
    other = Simulator("libero_object", 0, camera_size=64)
    other.reset(2)
    before = simulator.reset(2).image
    other.close()
    assert np.array_equal(simulator.reset(2).image, before)


def test_a_layout_leaves_nothing_behind(simulator, wild_actions):
    """What a random layout moved, drew and asked is undone by the next reset."""

    def run():
        seen = [simulator.reset(3)]
        seen += [simulator.step(a)[0] for a in wild_actions]
        return pickle.dumps((seen, simulator.state(), simulator.goal, simulator.asked))

    before = run()
    for seed in range(3):
        simulator.start(Scene("libero_object", 0, 0, layout_seed=seed), 2)
        simulator.step(wild_actions[0])
    assert run() == before


def test_a_lean_simulator_changes_no_bit(wild_actions):
    """State, torques, accelerations and sensors against robosuite's own control step."""
    runs = []
    for lean in (True, False):
        with Simulator("libero_object", 0, camera_size=64, lean=lean) as simulator:
            run = [simulator.reset(0)]
            # Each action five times, so that the hand comes far enough for contacts.
            for action in np.repeat(wild_actions, 5, axis=0):
                observation, reward, done = simulator.step(action)
                run += [observation, simulator.data.ctrl.copy(), simulator.data.qacc.copy()]
                run += [simulator.state(), reward, done]
        runs.append(pickle.dumps(run))
    assert runs[0] == runs[1]


def test_closing_frees_the_environment():
    """robosuite's objects refer to each other in circles, with 260 MiB of model among them."""
    simulator = Simulator("libero_object", 1, render=False)
    simulator.reset(0)
    environment = weakref.ref(simulator._inner)
    simulator.close()
    assert environment() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only there a model can lie in a file")
def test_a_model_in_a_file_takes_little_memory_and_changes_no_bit(simulator, wild_actions):
    simulator.reset(3)
    expected = [
        (seen.image.tobytes(), reward) for seen, reward, _ in play(simulator.step, wild_actions)
    ]
    with Simulator("libero_object", 0) as other:
        other.reset(3)
        arrays = {
            name: getattr(other.model, name).copy()
            for name in ("tex_data", "mesh_vert", "geom_friction", "cam_pos")
        }
        before = private_mib()
        page_out(other.model)
        assert before - private_mib() > 200, "of 260 MiB; physics needs a few"
        assert all(
            np.array_equal(getattr(other.model, name), array) for name, array in arrays.items()
        )
        other.reset(3)
        assert [
            (seen.image.tobytes(), reward) for seen, reward, _ in play(other.step, wild_actions)
        ] == expected
        darker = other.reset(
            3, perturbation=Perturbation(srgb_textures=True)
        ).image  # writes textures
        assert darker.mean() < other.reset(3).image.mean()
    assert simulator.reset(3).image.any(), "the file of a closed simulator is nobody else's"


def test_without_room_on_the_disk_the_model_stays_in_memory(simulator, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vla_tutorial.sim.memory.tempfile.TemporaryFile", full)
    before = simulator.reset(1).image
    page_out(simulator.model)
    assert np.array_equal(simulator.reset(1).image, before)


def test_every_picture_is_rendered_in_turn(simulator):
    """In a step, in a reset and in `view`; a simulator that renders nothing takes no turn."""
    turns = Turns()
    simulator.take_turns(turns)
    try:
        simulator.reset(0, 2)
        counts = [turns.count]
        simulator.step(np.zeros(7))
        counts.append(turns.count)
        simulator.view(simulator.data.qpos.copy())
        counts.append(turns.count)
    finally:
        simulator.take_turns(contextlib.nullcontext())
    assert np.diff([0, *counts]).tolist() == [1, 1, 1]
    assert not turns.held
    with Simulator("libero_object", 0, render=False) as blind:
        blind.take_turns(turns)
        blind.reset(0, 1)
        blind.step(np.zeros(7))
    assert turns.count == counts[-1]


class Turns:
    """Counts how often it was held."""

    def __init__(self):
        self.count = 0
        self.held = False

    def __enter__(self):
        assert not self.held
        self.held = True
        self.count += 1

    def __exit__(self, *_):
        self.held = False
