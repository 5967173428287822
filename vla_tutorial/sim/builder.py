"""Build a scene that nobody saved: put things and fixtures somewhere, let them settle, look again.

Metres, radians, world frame. The saved initial states are not read: they are kept for measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import mujoco
import numpy as np
from numpy.random import Generator

from vla_tutorial.arrays import Floats
from vla_tutorial.scene import About, Goal
from vla_tutorial.sim.protocol import Task, task_instructions

Drawing = TypeVar("Drawing")

ARM = slice(0, 7)
FINGERS = slice(7, 9)
"""Columns of qpos."""

NO_FIXTURES: Floats = np.zeros((0, 7))
"""Of a scene where all that stands on the table can be moved."""

_FREE_JOINT = 0
"""mjJNT_FREE: the joint of an object that can be moved anywhere."""

_DROP = 0.002
"""Metres that a thing falls when it settles: no two bodies may begin inside each other."""

_SETTLING = 220
"""Physics steps of 2 ms: 0.44 s, in which a bowl that lands in a drawer has come to rest."""

_SLIDE = 0.025
"""Metres that a thing may move aside when it settles."""

_ROUNDS = 3
"""Times that long at most: a mug rocks on its plate for a second."""

_GRID = 1e-7
"""Settled positions are rounded, so that they do not depend on the solver's last bits.

Much coarser, and things would lose touch, for which predicates ask.
"""


class Settable(Protocol):
    """What layouts need of a `Simulator`, which itself starts episodes with them."""

    task: Task
    model: Any
    data: Any
    bodies: Mapping[str, int]
    fixtures: Mapping[str, int]
    goal: Goal
    targets: tuple[str, ...]
    placement: Floats
    own_fixtures: Floats

    def reset(self, init: Floats, settle_steps: int) -> object:
        """As `Simulator.reset`."""

    def holds(self, predicate: Sequence[str]) -> bool:
        """As `Simulator.holds`."""

    def place_fixtures(self, poses: Floats) -> None:
        """As `Simulator.place_fixtures`."""


@dataclass(frozen=True)
class Layout:
    """Where an episode begins and what it asks for, if its scene has a `layout_seed`.

    `Simulator.start` begins with it; so does `reset(state, settle_steps, fixtures=fixtures)`, which
    asks for the task's own goal.

    Attributes:
        state: (S,) float64, MuJoCo's time, qpos and qvel flattened, of the task's scene.
        target: the object that is handled first ("milk_1"), "" where none is: a drawer, a knob.
        instruction: LIBERO's sentence for the goal, or one in the same form.
        settle_steps: no-op control steps before the episode begins.
        wide: whether the hand starts somewhere else than at home.
        goal: the predicates that must hold, as in `Simulator.goal`.
        about: what the sentence is about, to choose other words for it.
        fixtures: (F, 7) float64, position and quaternion of each of `Simulator.fixtures`.
        begun: what was done before, in a start in the middle of a task ("stove on"); else "".
        done: the predicates that hold at the start although the goal may ask for them.
    """

    state: Floats
    target: str
    instruction: str
    settle_steps: int
    wide: bool
    goal: Goal
    about: About
    fixtures: Floats
    begun: str = ""
    done: Goal = ()


@dataclass(frozen=True)
class HandBox:
    """Corners (3,) of the box in which a wide start puts the hand."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


@dataclass(frozen=True)
class Drawn:
    """What a suite's sampler has decided for a scene that it has put together.

    Attributes:
        goal, instruction, about, begun, done: as `Layout` has them.
        hand: where a wide start may put the hand.
        gap: metres that must be free between two things that do not stand on each other.
    """

    goal: Goal
    instruction: str
    about: About
    hand: HandBox
    gap: float = 0.005
    begun: str = ""
    done: Goal = ()


KITCHEN_HAND = HandBox((-0.30, -0.28, 1.00), (0.12, 0.28, 1.32))
"""Above the tables whose top is 0.90 m high."""


@cache
def published_task(suite: str, instruction: str) -> int | None:
    """Number of the suite's task with this sentence, or None."""
    sentences = task_instructions(suite)
    return sentences.index(instruction) if instruction in sentences else None


def pose_column(simulator: Settable, name: str) -> int:
    """Where the seven numbers of an object's pose begin in qpos."""
    joint = simulator.model.body_jntadr[simulator.bodies[name]]
    return int(simulator.model.jnt_qposadr[joint])


def set_pose(simulator: Settable, qpos: Floats) -> None:
    """Put the simulator's joints at `qpos` (nq,), at rest; MuJoCo has not computed on from it."""
    simulator.data.qpos[:] = qpos
    simulator.data.qvel[:] = 0


def turn(quaternion: Floats, yaw: float) -> None:
    """Turn a pose's quaternion (4,) about the vertical, in place."""
    by = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    mujoco.mju_mulQuat(quaternion, by, quaternion.copy())


@dataclass(frozen=True)
class _Extent:
    """How far an upright object reaches from its origin: down and up, both positive."""

    below: float
    above: float


_extents: WeakKeyDictionary[Settable, dict[str, _Extent]] = WeakKeyDictionary()


def _measure(simulator: Settable) -> dict[str, _Extent]:
    """The extents of all bodies, by name, as LIBERO's reset turns them."""
    if simulator in _extents:
        return _extents[simulator]
    model = simulator.model
    data = simulator.data
    set_pose(simulator, simulator.placement[1 : 1 + model.nq])
    mujoco.mj_kinematics(model, data)
    root = model.body_rootid[model.geom_bodyid]
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    found = {}
    for name, body in simulator.bodies.items():
        geoms = np.flatnonzero((root == body) & solid)
        rows = data.geom_xmat[geoms].reshape(-1, 3, 3)[:, 2]
        middle = data.geom_xpos[geoms, 2] + (rows * model.geom_aabb[geoms, :3]).sum(1)
        half = (np.abs(rows) * model.geom_aabb[geoms, 3:]).sum(1)
        origin = data.xpos[body, 2]
        below = float(origin - (middle - half).min(initial=origin))
        above = float((middle + half).max(initial=origin) - origin)
        found[name] = _Extent(below, above)
    _extents[simulator] = found
    return found


class SceneBuilder:
    """One scene under construction, in the simulator's own state and model.

    Attributes:
        rng: where all that is drawn comes from.
        midway: whether the episode shall begin in the middle of its task, where that is possible.
        things: names of the objects that can be moved.
        fixtures: (F, 7), where the fixtures stand.
    """

    def __init__(self, simulator: Settable, rng: Generator, midway: bool = False) -> None:
        """Begin with the arm at home and all where LIBERO's reset put it."""
        self.simulator = simulator
        self.rng = rng
        self.midway = midway
        self.model = simulator.model
        self.data = simulator.data
        self._extent = _measure(simulator)
        self.things = [name for name in simulator.bodies if self._is_free(name)]
        self._kept: dict[str, Any] = {}
        self.begin()

    def _is_free(self, name: str) -> bool:
        joint = self.model.body_jntadr[self.simulator.bodies[name]]
        return bool(joint >= 0 and self.model.jnt_type[joint] == _FREE_JOINT)

    def begin(self) -> None:
        """Begin again; random numbers go on, and what was drawn `once` stays."""
        mujoco.mj_resetData(self.model, self.data)
        set_pose(self.simulator, self.simulator.placement[1 : 1 + self.model.nq])
        self.fixtures = self.simulator.own_fixtures.copy()
        self.simulator.place_fixtures(self.fixtures)
        self._supports: set[frozenset[int]] = set()
        self._put: dict[str, tuple[Floats, float]] = {}

    def once(self, name: str, draw: Callable[[], Drawing]) -> Drawing:
        """What `draw` gave the first time: a scene that fails is built again, not another asked."""
        if name not in self._kept:
            self._kept[name] = draw()
        found: Drawing = self._kept[name]
        return found

    # Where things are

    def xy(self, name: str) -> Floats:
        """(2,) of a thing that was put somewhere."""
        start = pose_column(self.simulator, name)
        return np.array(self.data.qpos[start : start + 2])

    def own_yaw(self, name: str) -> float:
        """How far LIBERO's reset has turned a thing about the vertical."""
        start = 1 + pose_column(self.simulator, name) + 3
        w, _, _, z = self.simulator.placement[start : start + 4]
        return float(2 * np.arctan2(z, w))

    def site(self, name: str) -> Floats:
        """(3,) the middle of a region, where drawers and fixtures are now."""
        mujoco.mj_kinematics(self.model, self.data)
        return np.array(self.data.site(name).xpos)

    def top(self, name: str) -> float:
        """Height of the highest point of a thing that was put somewhere."""
        start = pose_column(self.simulator, name)
        return float(self.data.qpos[start + 2] + self._extent[name].above)

    def around(self, xy: Sequence[float] | Floats, reach: float) -> Floats:
        """(2,) a point drawn from the square of half side `reach` around `xy`."""
        return np.asarray(xy) + self.rng.uniform(-reach, reach, 2)

    def beside(self, name: str, offset: Sequence[float], angle: float) -> Floats:
        """(2,) a point about `offset` from a thing: turned by up to `angle`, −5 … +15 % as far."""
        a = self.rng.uniform(-angle, angle)
        rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        away: Floats = rotation @ np.asarray(offset) * self.rng.uniform(0.95, 1.15)
        return self.xy(name) + away

    # Put them somewhere

    def put(
        self,
        name: str,
        xy: Sequence[float] | Floats,
        z: float,
        yaw: float = 0.0,
        on: str = "",
        tilt: float = 0.15,
    ) -> None:
        """Stand a thing upright, its lowest point just above `z`; `on` may touch it.

        When it settles it may come to lean by `tilt`; with np.inf it may lie anywhere.
        """
        start = pose_column(self.simulator, name)
        pose = self.data.qpos[start : start + 7]
        pose[:2] = xy
        pose[2] = z + self._extent[name].below + _DROP
        pose[3:] = self.simulator.placement[1 + start + 3 : 1 + start + 7]
        turn(pose[3:], yaw)
        self._put[name] = (pose.copy(), tilt)
        if on:
            pair = (self.simulator.bodies[name], self.simulator.bodies[on])
            self._supports.add(frozenset(pair))

    def put_on(self, name: str, other: str, reach: float = 0.005, yaw: float = 0.0) -> None:
        """Stand a thing on the middle of another, up to `reach` aside."""
        self.put(name, self.around(self.xy(other), reach), self.top(other), yaw, on=other)

    def move_fixtures(self, reach: float, yaw: float) -> None:
        """Move each fixture by up to `reach` along x and y, and turn it by up to `yaw`."""
        for pose in self.fixtures:
            pose[:2] += self.rng.uniform(-reach, reach, 2)
            turn(pose[3:], self.rng.uniform(-yaw, yaw))
        self.simulator.place_fixtures(self.fixtures)

    def set_joint(self, name: str, value: float) -> None:
        """Put a drawer, door or knob at `value`."""
        self.data.qpos[self.model.joint(name).qposadr[0]] = value

    # Look at the result

    def crowded(self, gap: float) -> bool:
        """Whether a thing is nearer than `gap` to another, a fixture or the arm."""
        self._find_contacts(gap)
        return any(pair not in self._supports for pair in self._touching_things())

    def _find_contacts(self, gap: float) -> None:
        """Let MuJoCo find what touches or is less than `gap` apart."""
        with self._inflated(gap):
            mujoco.mj_kinematics(self.model, self.data)
            mujoco.mj_comPos(self.model, self.data)
            mujoco.mj_collision(self.model, self.data)

    @contextmanager
    def _inflated(self, gap: float) -> Iterator[None]:
        """Inside, MuJoCo finds contacts that are `gap` away."""
        option = self.model.opt
        before = (option.enableflags, option.o_margin)
        option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_OVERRIDE)
        option.o_margin = gap
        try:
            yield
        finally:
            option.enableflags, option.o_margin = before

    def _touching_things(self) -> set[frozenset[int]]:
        """Pairs of touching bodies, as the roots of their trees; one of them is a thing.

        The table and the floor do not count.
        """
        roots = self.model.body_rootid[self.model.geom_bodyid[self.data.contact.geom]]
        things = [self.simulator.bodies[name] for name in self.things]
        robot = self.model.body_rootid[self.model.body("robot0_base").id]
        solid = [*self.simulator.bodies.values(), int(robot)]
        chosen = np.isin(roots, things).any(1) & np.isin(roots, solid).all(1)
        return {frozenset(pair) for pair in roots[chosen].tolist() if pair[0] != pair[1]}

    def robot_near(self, gap: float = 0.02) -> bool:
        """Whether the robot is nearer than `gap` to anything but itself."""
        self._find_contacts(gap)
        roots = self.model.body_rootid[self.model.geom_bodyid[self.data.contact.geom]]
        robot = self.model.body_rootid[self.model.body("robot0_base").id]
        return bool(((roots == robot).sum(1) == 1).any())

    def settle(self) -> bool:
        """Let things come to rest, the arm held; whether each stays about where it was put."""
        data = self.data
        arm = data.qpos[: FINGERS.stop].copy()
        for _ in range(_ROUNDS):
            for _ in range(_SETTLING):
                mujoco.mj_step(self.model, data)
                data.qpos[: FINGERS.stop] = arm
                data.qvel[: FINGERS.stop] = 0
            still = bool(np.abs(data.qvel).max() < 0.03)
            if still or not self._all_stayed():
                break
        data.qvel[:] = 0
        data.qpos[:] = np.round(data.qpos / _GRID) * _GRID
        data.qpos[: FINGERS.stop] = arm
        mujoco.mj_forward(self.model, data)
        return still and self._all_stayed()

    def _all_stayed(self) -> bool:
        return all(self._stayed(name) for name in self._put)

    def _stayed(self, name: str) -> bool:
        before, tilt = self._put[name]
        if tilt == np.inf:
            return True
        start = pose_column(self.simulator, name)
        now = self.data.qpos[start : start + 7]
        moved = np.abs(now[:2] - before[:2]).max()
        back = np.zeros(4)
        up = np.zeros(3)
        mujoco.mju_negQuat(back, before[3:])
        mujoco.mju_rotVecQuat(up, np.array([0.0, 0.0, 1.0]), back)
        mujoco.mju_rotVecQuat(up, up.copy(), now[3:])
        return bool(moved < _SLIDE and np.hypot(up[0], up[1]) < tilt)
