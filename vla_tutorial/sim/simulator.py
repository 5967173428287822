"""One LIBERO task that can be reset exactly and fast, stepped, and closed."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from vla_tutorial.actions import check_action
from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.scene import BASKET, UNPERTURBED, Goal, OwnScene, Perturbation, Scene
from vla_tutorial.sim import libero
from vla_tutorial.sim.memory import keep_little
from vla_tutorial.sim.own import definition_file, states_of
from vla_tutorial.sim.perturb import Perturber
from vla_tutorial.sim.physics import Physics
from vla_tutorial.sim.protocol import SEED, check_task, initial_states, own_task
from vla_tutorial.sim.sensors import (
    CAMERA,
    PICTURE,
    SENSORS,
    WRIST_CAMERA,
    Camera,
    Observation,
)

if TYPE_CHECKING:
    from vla_tutorial.sim.builder import Layout

BASKET_REGION = "basket_1_contain_region"
"""Where LIBERO-object wants the target: `In` asks for the object's origin inside this region."""

NO_OP = np.array([0, 0, 0, 0, 0, 0, -1.0])
"""Hold the arm, gripper open: what the published protocol sends while objects settle."""


_PLACEMENTS = 20
"""Tries to place all objects, each with up to 5,000 draws an object."""

_BUILDS = 3
"""Tries to build an environment, which takes seconds and places all objects once."""


class Simulator:
    """LIBERO for one task: a context manager. Several may live in one process.

    Attributes:
        task: the task, with its instruction.
        model, data: MuJoCo's own objects, for layouts, perturbations and privileged policies.
        bodies: object name → MuJoCo body id.
        goal: the task's predicates in its own order, name first, for example
            (("in", "milk_1", "basket_1_contain_region"),) or (("turnon", "flat_stove_1"), …).
        targets: names of the objects that the goal puts inside something, in the goal's order.
        fixtures: name → body id of each cabinet, stove, rack and the like. They have no joint of
            their own: where they stand is part of the model, not of the state.
        own_fixtures: (F, 7) float64, position and quaternion of each, where LIBERO put it.
        placement: (S,) float64, the flattened state after LIBERO's own reset (seed 0), which is not
            a saved one: the robot at home, objects where the task's samplers put them, not settled.
    """

    def __init__(
        self,
        suite: str,
        task: int,
        camera_size: int = 256,
        render: bool = True,
        lean: bool = True,
        own: OwnScene | None = None,
    ) -> None:
        """Build the environment of a suite's task (1–15 s).

        Args:
            suite: for example "libero_object"; `protocol.suites` names all.
            task: number within the suite.
            camera_size: width and height of the picture in pixels.
            render: False leaves out the camera, for policies that do not look:
                `Observation.image` is black.
            lean: False takes robosuite's own control step and lets MuJoCo keep its memory: slower,
                larger, and the same numbers (tests/sim/test_simulator.py). To try where in doubt.
            own: a scene of the reader's own, in place of suite and task.

        Raises:
            TutorialError: there is no such task, nothing can render, or LIBERO cannot build the own
                scene.
        """
        self._own = own
        self.task = own_task(own) if own else check_task(suite, task)
        with self._explained(), self._definition() as bddl:
            self._env = self._build(bddl, camera_size, render, lean)
        self._inner = self._env.env
        self._black = np.zeros((camera_size, camera_size, 3), np.uint8)
        self._camera = self._install_camera() if render else None
        if lean:
            # robosuite polls some 30 more sensors in each physics step: a tenth of a control step.
            for name in set(self._inner._observables) - set(SENSORS):
                del self._inner._observables[name]
            Physics(self._inner)
        self.model = self._inner.sim.model._model
        self.data = self._inner.sim.data._data
        self.bodies: Mapping[str, int] = dict(self._inner.obj_body_id)
        goal = self._inner.parsed_problem["goal_state"]
        self.goal: Goal = tuple((name.lower(), *arguments) for name, *arguments in goal)
        self.targets = tuple(predicate[1] for predicate in self.goal if predicate[0] == "in")
        self.placement = self.state()
        self.fixtures: Mapping[str, int] = {
            name: self.bodies[name] for name in self._inner.fixtures_dict if name in self.bodies
        }
        self.own_fixtures = self._fixture_poses()
        self._perturber = Perturber(self._inner, CAMERA)
        self._asked: Goal | None = None
        self._layout: tuple[int, Layout] | None = None
        self._check_own_states()

    def _definition(self) -> contextlib.AbstractContextManager[str]:
        """Path of the BDDL file for LIBERO, as long as the block lasts."""
        if self._own is None:
            return contextlib.nullcontext(str(self.task.bddl))
        return definition_file(self._own)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what LIBERO raises over an own scene into a TutorialError."""
        try:
            yield
        except Exception as e:
            if self._own is None:
                raise
            # What robosuite has built so far goes now. At Python's end EGL would go before it.
            traceback.clear_frames(e.__traceback__)
            gc.collect()
            if isinstance(e, TutorialError):
                raise
            why = " ".join(f"{type(e).__name__}: {e}".split())
            what = f"LIBERO cannot build {self._own.bddl} ({why:.300})"
            raise TutorialError(f"{what}. Compare the file with one of LIBERO's own.") from e

    def _build(self, bddl: str, camera_size: int, render: bool, lean: bool) -> Any:
        """LIBERO's environment, reset once with the published seed."""
        module = libero.load()
        if render:
            libero.choose_render_device()
        memory = keep_little() if lean else contextlib.nullcontext()
        with libero.quiet(), memory:
            build = partial(
                module.envs.env_wrapper.ControlEnv,
                bddl_file_name=bddl,
                camera_names=[CAMERA],
                camera_heights=camera_size,
                camera_widths=camera_size,
                has_renderer=False,
                has_offscreen_renderer=render,
                use_camera_obs=render,
                ignore_done=True,
                hard_reset=False,
            )
            # LIBERO's generator. Building places objects too, and shall end the same every time.
            np.random.seed(SEED)
            environment = self._until_placed(build, _BUILDS)
            # A hard reset would compile the model again, for seconds and 250 MiB. Of all that, only
            # the random numbers of loading matter: they decide where fixtures stand.
            environment.seed(SEED)
            environment.env._load_model()
            self._until_placed(environment.env.reset)
            # A goal that LIBERO cannot judge is found here, before any step.
            environment.check_success()
        return environment

    def _until_placed(self, act: Callable[[], Any], tries: int = _PLACEMENTS) -> Any:
        """What `act` gives as soon as LIBERO has found room for all objects.

        LIBERO's own wrapper would try for ever, and swallow any other error.

        Raises:
            TutorialError: a region is too small for what it shall hold.
        """
        from robosuite.utils.errors import RandomizationError

        for _ in range(tries):
            with contextlib.suppress(RandomizationError):
                return act()
        what = f"LIBERO found no room for the objects of {self.task.bddl} in {tries} tries"
        raise TutorialError(f"{what}. Make its regions larger.")

    def _install_camera(self) -> Camera:
        context = self._inner.sim._render_context_offscreen.gl_ctx
        sensor = self._inner._observables[PICTURE]._sensor
        camera = Camera(sensor, context.make_current, self._black)
        self._inner.modify_observable(observable_name=PICTURE, attribute="sensor", modifier=camera)
        return camera

    def start(self, scene: Scene, settle_steps: int) -> Observation:
        """Reset to where `scene` begins; until the next reset, success means what the scene asks.

        That is its target; else the goal of its random layout; else the task's own. `scene` is of
        this simulator's suite and task. It settles for `settle_steps` no-op control steps, or for
        fewer where a random layout says so.

        Raises:
            TutorialError: as `reset`; or the scene's target is no object that fits into a basket.
        """
        objects = []
        if BASKET in self.bodies:
            objects = [name for name in self.bodies if name != BASKET]
        if scene.target is not None and scene.target not in objects:
            raise unknown("target", scene.target, objects)
        init: int | Floats = scene.init
        layout = None
        if scene.layout_seed is not None:
            layout = self.layout(scene.layout_seed)
            init = layout.state
            settle_steps = min(settle_steps, layout.settle_steps)
        fixtures = layout.fixtures if layout else None
        observation = self.reset(init, settle_steps, scene.perturbation, fixtures)
        if layout:
            self._asked = layout.goal
        if scene.target is not None:
            self._asked = (("in", scene.target, BASKET_REGION),)
        return observation

    def layout(self, seed: int) -> Layout:
        """The random layout of this seed; the last one is kept. Reset after it."""
        # Not above: this imports MuJoCo, and `libero.load` must choose the GL backend first.
        from vla_tutorial.sim.layouts import random_layout

        if self._layout is None or self._layout[0] != seed:
            self._layout = (seed, random_layout(self, seed))
        return self._layout[1]

    @property
    def asked(self) -> Goal:
        """The goal of this episode: the task's own, or what its scene or layout asks instead."""
        return self.goal if self._asked is None else self._asked

    def reset(
        self,
        init: int | Floats = 0,
        settle_steps: int = 10,
        perturbation: Perturbation = UNPERTURBED,
        fixtures: Floats | None = None,
    ) -> Observation:
        """Restart exactly as a hard reset would, without compiling, and let the objects settle.

        Args:
            init: number of a saved initial state, or a flattened MuJoCo state of this task.
            settle_steps: no-op control steps; the published protocol takes 10.
            perturbation: what differs from LIBERO's world and camera until the next reset.
            fixtures: (F, 7), where the fixtures stand until the next reset; None: where LIBERO put
                them.

        Raises:
            TutorialError: there is no such initial state, or nothing here can be perturbed so.
        """
        if isinstance(init, int):
            init, drawn = self._beginning(init)
            fixtures = drawn if fixtures is None else fixtures
        self._asked = None
        self.place_fixtures(fixtures)
        state = self._perturber.start(perturbation, np.array(init, np.float64))
        self._restart()
        self._show(settle_steps == 0)
        raw = self._env.set_init_state(state)
        for k in range(settle_steps):
            self._show(k == settle_steps - 1)
            raw, *_ = self._inner.step(NO_OP)
        self._perturber.settled()
        self._show(True)
        return self._observation(raw)

    def _beginning(self, number: int) -> tuple[Floats, Floats | None]:
        """The saved state (S,) of a number.

        An own scene without saved ones is placed by LIBERO with this seed: the state, and where the
        fixtures (F, 7) are in it.
        """
        if self._own is None:
            check_task(self.task.suite, self.task.index, number)
            return initial_states(self.task.suite, self.task.index)[number], None
        states = states_of(self._own)
        if states is not None:
            if not 0 <= number < len(states):
                expected = f"expected 0 … {len(states) - 1}"
                raise TutorialError(f"Unknown init {number} of {self.task.suite}: {expected}.")
            return states[number], None
        self._show(False)
        with libero.quiet():
            self._env.seed(number)
            self._until_placed(self._inner.reset)
        return self.state(), self._fixture_poses()

    def _check_own_states(self) -> None:
        """Raise a TutorialError if an own scene's saved states are of another scene."""
        states = states_of(self._own) if self._own else None
        size = self.state().size
        if states is not None and states.shape[1] != size:
            assert self._own
            what = f"{self._own.init_states} has states of {states.shape[1]} numbers"
            raise TutorialError(f"{what}, but this scene's have {size}. Save them from this scene.")

    def place_fixtures(self, poses: Floats | None) -> None:
        """Write the fixtures' poses (F, 7) into the model; None takes `own_fixtures`.

        What stands on a fixture is not moved with it. The next reset or view undoes it.
        """
        if poses is None:
            poses = self.own_fixtures
        ids = list(self.fixtures.values())
        self.model.body_pos[ids] = poses[:, :3]
        self.model.body_quat[ids] = poses[:, 3:]

    def _fixture_poses(self) -> Floats:
        ids = list(self.fixtures.values())
        return np.hstack([self.model.body_pos[ids], self.model.body_quat[ids]])

    def _restart(self) -> None:
        """Clear what `set_init_state` leaves: goals, the gripper's memory, clocks and flags."""
        inner = self._inner
        inner.sim.reset()
        robot = inner.robots[0]
        robot.reset(deterministic=False)
        robot.gripper.current_action = np.zeros(robot.gripper.dof)
        inner.timestep = 0
        inner.cur_time = 0.0
        inner.done = False
        inner._obs_cache = {}
        for observable in inner._observables.values():
            observable.reset()
            # A hard reset samples every observable once, which moves the camera's clock by one
            # physics step (2 ms).
            observable._time_since_last_sample += inner.model_timestep

    def _show(self, on: bool) -> None:
        if self._camera:
            self._camera.on = on

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool]:
        """One control step of 50 ms.

        Args:
            action: (7,) numbers in [−1, 1], robosuite's OSC_POSE: ±1 is ±0.05 m and ±0.5 rad of the
                end effector in the base frame, then the gripper (−1 open, +1 close; only the sign
                counts). The controller clips values outside.

        Returns:
            The observation, the reward (1.0 on success) and whether the task is done now.

        Raises:
            TutorialError: NaN, infinity or a wrong length.
        """
        raw, reward, done, _ = self._inner.step(check_action(action))
        if self._asked is not None:
            done = all(map(self.holds, self._asked))
            reward = float(done)
        return self._observation(raw), float(reward), bool(done)

    def _observation(self, raw: Mapping[str, Any]) -> Observation:
        image = self._black
        if self._camera:
            image = self._perturber.picture(raw[PICTURE])
        return Observation(image, *(raw[name] for name in SENSORS[1:]))

    def state(self) -> Floats:
        """MuJoCo's time, qpos and qvel, flattened: (S,) float64, as `reset` takes it."""
        return np.asarray(self._env.get_sim_state(), np.float64)

    def succeeded(self) -> bool:
        """Whether the goal holds in the present state."""
        return bool(self._env.check_success())

    def holds(self, predicate: Sequence[str]) -> bool:
        """Whether LIBERO's predicate holds now: ("in", "milk_1", `BASKET_REGION`), for example.

        LIBERO has in, on, open, close, turnon and turnoff; `goal` shows their arguments.
        """
        return bool(self._inner._eval_predicate(list(predicate)))

    @property
    def eef_pos(self) -> Floats:
        """(3,) metres, world frame: the grip site, as the last `Observation` has it."""
        return np.array(self._inner._observables["robot0_eef_pos"].obs)

    def pose_in_picture(self) -> Floats:
        """(nq,) the positions that the last step's picture and `eef_pos` show; call after `step`.

        robosuite's sensors lag two physics steps of 2 ms behind the state: one because they are
        sampled before the last one, one because MuJoCo integrates after it has computed where
        things are. Both are undone exactly (but for joint damping).
        """
        import mujoco  # not above: `libero.load` must choose the GL backend first

        pose: Floats = self.data.qpos.copy()
        dt = self.model.opt.timestep
        mujoco.mj_integratePos(self.model, pose, self.data.qvel, -dt)
        mujoco.mj_integratePos(self.model, pose, self.data.qvel - dt * self.data.qacc, -dt)
        return pose

    def view(self, qpos: ArrayLike, fixtures: Floats | None = None) -> Picture:
        """The camera's picture (H, W, 3) of the positions `qpos` (nq,) of all joints.

        It is turned by 180° like `Observation.image`, and free of the perturbation's noise.
        `fixtures` (F, 7) are the poses of the fixtures; None: where LIBERO put them. It takes no
        step. It overwrites the state: reset after it. Of `pose_in_picture` it is what the episode
        showed, but for one step: a burner turns red one step later in an episode than here, since
        LIBERO redraws it when the step's picture is taken already.

        Raises:
            TutorialError: built with `render=False`.
        """
        if self._camera is None:
            raise TutorialError("This simulator has no camera; build it with render=True.")
        self.place_fixtures(fixtures)
        self.data.qpos[:] = qpos
        self.data.qvel[:] = 0
        self._inner.sim.forward()
        # LIBERO redraws what shows a state, such as a burner's red, after a step only.
        self._inner._post_process()
        self._show(True)
        picture: Picture = self._camera({})
        return picture

    def take_turns(self, turns: AbstractContextManager[Any]) -> None:
        """Render only inside `turns`, such as a semaphore that processes with one GPU share.

        A process that waits for the GPU keeps a processor busy, which physics of others could use.
        """
        if self._camera:
            self._camera.turns = turns

    def wrist_picture(self) -> Picture:
        """The wrist camera's picture (H, W, 3) of the present state, turned by 180° as the other.

        It is of the state that the last step ended in: two physics steps (4 ms) newer than
        `Observation.image`. Black where the simulator was built with `render=False`.
        """
        if self._camera is None:
            return self._black
        height, width, _ = self._black.shape
        self._camera.make_current()
        picture: Picture = self._inner.sim.render(
            camera_name=WRIST_CAMERA,
            width=width,
            height=height,
        )
        return picture

    def close(self) -> None:
        """Free the GL context and the memory; `model` and `data` go too. Safe to call twice."""
        if self._env is None:
            return
        if self._camera:
            # MuJoCo frees textures by their numbers in the context that is current. In another
            # simulator's context these numbers are that one's textures.
            self._camera.make_current()
        self._perturber.undo()
        self._env.close()
        self._env = None
        # All that knows robosuite's environment or MuJoCo's model is let go. robosuite's objects
        # refer to each other in circles, so nothing else would free the model before the next
        # simulator is built.
        del self._inner, self._perturber, self._camera, self.model, self.data
        gc.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def own_instruction(simulator: Simulator, scene: Scene) -> str:
    """What a scene asks that has no instruction or target of its own: its layout's, or the task's.

    Where it has a layout, the simulator's state is overwritten.
    """
    if scene.layout_seed is None:
        return simulator.task.instruction
    return simulator.layout(scene.layout_seed).instruction
