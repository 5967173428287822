"""Scenes that nobody saved: libero_object's things elsewhere, any of them the target, any arm pose.

The saved initial states are not read: they are kept for measuring. Metres, radians, world frame.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import mujoco
import numpy as np
from numpy.random import Generator

from vla_tutorial.arrays import Floats
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import BASKET, About, pick_up_sentence
from vla_tutorial.sim.builder import (
    ARM,
    NO_FIXTURES,
    HandBox,
    Layout,
    Settable,
    pose_column,
    published_task,
    set_pose,
    turn,
)
from vla_tutorial.sim.hand_starts import shake_arm, start_wide

SLOTS: Floats = np.array(
    [(-0.12, -0.24), (0.05, -0.10), (-0.15, 0.06), (0.10, -0.20), (0.15, 0.03), (-0.20, -0.08)]
)
"""(6, 2): where libero_object's samplers put things; the target stands at one of the first two."""

_FIELD_LOW = (-0.22, -0.28)
_FIELD_HIGH = (0.17, 0.10)
"""Corners of the rectangle for free placement, which the slots span."""

_HAND = HandBox((-0.25, -0.30, 0.08), (0.18, 0.30, 0.40))

_SUITE = "libero_object"

FIRST_PUBLISHED_SEED = 2**63
"""Seeds from here on keep the benchmark's places: LIBERO's resets would draw such scenes."""

_REGION = 0.025
_BASKET_REGION = 0.01
"""Half sides of LIBERO's regions around the slots and around the basket's place."""

_TRIES = 200


def object_layout(simulator: Settable, seed: int) -> Layout:
    """A layout of the simulator's libero_object scene, the same for the same seed and task.

    30 % keep the task's own places, 40 % permute them, 30 % place freely; all are jittered. One
    start in three is wide. From `FIRST_PUBLISHED_SEED` on every scene has the task's own goal, its
    published places and the hand at home. It takes 0.2 s the first time, then some milliseconds. It
    overwrites the simulator's state: reset after it.

    Raises:
        TutorialError: the scene has no basket, or no layout without collision was found.
    """
    task = simulator.task
    if BASKET not in simulator.bodies:
        raise TutorialError(
            f"{task.suite} task {task.index} has no basket; layouts need a scene of libero_object."
        )
    rng = np.random.default_rng([seed, task.index])
    kind = str(rng.choice(["own", "permuted", "free"], p=[0.3, 0.4, 0.3]))
    if published := seed >= FIRST_PUBLISHED_SEED:
        kind = "published"
    things = [name for name in simulator.bodies if name != BASKET]
    _place_without_collision(simulator, things, kind, rng)
    wide = bool(rng.random() < 0.35 and not published) and start_wide(
        simulator, rng, _HAND, lambda: _collides(simulator)
    )
    if not wide:
        shake_arm(simulator, rng)
    own = published or (kind == "own" and rng.random() < 0.5)
    target = simulator.targets[0] if own else str(rng.choice(things))
    state = np.concatenate([[0.0], simulator.data.qpos, np.zeros(simulator.model.nv)])
    settle_steps = int(rng.integers(1, 11)) if wide else 10
    sentence = pick_up_sentence(target)
    return Layout(
        state=state,
        target=target,
        instruction=sentence,
        settle_steps=settle_steps,
        wide=wide,
        goal=(("in", target, f"{BASKET}_contain_region"),),
        about=About(_SUITE, published_task(_SUITE, sentence), (target,)),
        fixtures=NO_FIXTURES,
    )


_rest: WeakKeyDictionary[Settable, Floats] = WeakKeyDictionary()


def _resting(simulator: Settable) -> Floats:
    """qpos (nq,) with every object settled where LIBERO's reset put it.

    It is rounded to 0.1 mm, so that it does not depend on the solver's last bits.
    """
    if simulator not in _rest:
        simulator.reset(simulator.placement, 10)
        rest = np.round(simulator.data.qpos, 4)
        rest[ARM] = simulator.placement[1:][ARM]
        _rest[simulator] = rest
    return _rest[simulator]


def _place_without_collision(
    simulator: Settable, things: list[str], kind: str, rng: Generator
) -> None:
    rest = _resting(simulator)
    for _ in range(_TRIES):
        set_pose(simulator, rest)
        _place(simulator, things, kind, rng)
        if not _collides(simulator):
            return
    raise TutorialError(f"No free layout of task {simulator.task.index} in {_TRIES} tries.")


def _place(simulator: Settable, things: list[str], kind: str, rng: Generator) -> None:
    if kind == "published":
        _place_as_published(simulator, things, rng)
        return
    qpos = simulator.data.qpos
    slots = rng.permutation(SLOTS)
    for name, slot in zip(things, slots, strict=True):
        start = pose_column(simulator, name)
        position = qpos[start : start + 2]
        if kind == "free":
            position[:] = rng.uniform(_FIELD_LOW, _FIELD_HIGH)
        elif kind == "permuted":
            position[:] = slot
        position += rng.uniform(-0.03, 0.03, 2)
        if rng.random() < 0.3:
            most = 0.3 if rng.random() < 0.8 else 0.8
            turn(qpos[start + 3 : start + 7], rng.uniform(-most, most))
    start = pose_column(simulator, BASKET)
    qpos[start : start + 2] += rng.uniform(-0.03, 0.03, 2)


def _place_as_published(simulator: Settable, things: list[str], rng: Generator) -> None:
    """Everything in the region where LIBERO's reset put it."""
    for name in (*things, BASKET):
        start = pose_column(simulator, name)
        position = simulator.data.qpos[start : start + 2]
        reach = _BASKET_REGION
        if name != BASKET:
            reach = _REGION
            position[:] = min(SLOTS, key=lambda slot: float(np.abs(slot - position).max()))
        position += rng.uniform(-reach, reach, 2)


def _collides(simulator: Settable) -> bool:
    """Whether an object touches anything that can move: another object, the basket or the arm."""
    model = simulator.model
    mujoco.mj_forward(model, simulator.data)
    touching = model.geom_bodyid[simulator.data.contact.geom]
    is_thing = np.isin(model.body_rootid[touching], list(simulator.bodies.values()))
    moves = model.body_weldid[touching] != 0
    return bool((is_thing.any(1) & moves.all(1)).any())
