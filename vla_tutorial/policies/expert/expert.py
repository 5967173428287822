"""The scripted expert as a policy: a function of the simulator's present state alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput, PrivilegedState
from vla_tutorial.policies.expert import control, plans
from vla_tutorial.policies.expert.grasp import Grasp, choose_grasp
from vla_tutorial.policies.expert.scene import SceneReader
from vla_tutorial.policies.expert.situation import Parameters, Situation
from vla_tutorial.policies.expert.steering import FIRM, Skill
from vla_tutorial.policies.expert.world import World, WorldReader
from vla_tutorial.scene import BASKET, Goal
from vla_tutorial.sim import base_suite

if TYPE_CHECKING:
    import mujoco

# Grasps kept for a model; a resting scene with two targets needs two.
_REMEMBERED_GRASPS = 8


class ExpertPolicy:
    """Makes an episode's goal true: puts things into a basket, on plates, into drawers and so on.

    It is privileged: it reads the simulator's state and looks at neither pixels nor prompt. The
    same state always gives the same action, whatever happened before, so it can label any state
    that another policy visits (DAgger). What it keeps between calls (shapes, grasps) only saves
    time. Its actions leave as tokens; another key's statistics decode them to another motion.
    """

    name = "expert"
    privileged = True

    def __init__(self, unnorm_key: str | None = None, parameters: Parameters | None = None) -> None:
        """Choose the embedded statistics that express actions; an unknown key is an error.

        Without a key they are those of the state's suite. Motion is as intended if the wiring
        names the same key.
        """
        self.parameters = parameters or Parameters()
        self.statistics: Mapping[str, actions.ActionStatistics] = {}
        self._key = unnorm_key
        if unnorm_key is not None:
            actions.find_statistics(unnorm_key, actions.embedded_statistics())
        self._memos: WeakKeyDictionary[mujoco.MjModel, _Memo] = WeakKeyDictionary()
        self.provenance: Mapping[str, Any] = {
            "kind": "scripted expert",
            "reads": "the simulator's state (poses of robot and objects, the goal)",
            "ignores": "pixels and prompt",
            "unnorm_key": unnorm_key or "the suite's own",
            "parameters": asdict(self.parameters),
        }

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """N inputs, of any simulators → (N, 7) token ids; an input without state is an error."""
        tokens = [self._tokens(one.state) for one in batch]
        return np.array(tokens, np.int64).reshape(-1, 7)

    def _tokens(self, state: PrivilegedState | None) -> Ints:
        if state is None:
            raise TutorialError(
                "The expert reads the simulator's state, and PolicyInput.state is None. "
                "Pass it, or choose a model policy."
            )
        return actions.encode(actions.from_libero(self.act(state)), self._range(state))

    def act(self, state: PrivilegedState) -> Floats:
        """The action before tokenisation, within the tokens' range; a strange scene is an error.

        Returns:
            (7,) float64 as LIBERO takes it (gripper −1 open, +1 close).
        """
        command, translation = self._wanted(state)
        limits = self._range(state)
        low = limits.q01
        high = limits.q99
        translation = control.fit_into_box(translation, low[:3], high[:3])
        rotation = control.fit_into_box(command.rotation, low[3:6], high[3:6])
        return np.array([*translation, *rotation, command.gripper])

    def _range(self, state: PrivilegedState) -> actions.ActionStatistics:
        key = self._key or native_key(state.suite)
        return actions.find_statistics(key, actions.embedded_statistics())

    def _wanted(self, state: PrivilegedState) -> tuple[control.Command, Floats]:
        """The command, and its translation (3,) within reach and speed."""
        memo = self._memo(state)
        p = self.parameters
        over_a_table = base_suite(state.suite) != "libero_object"
        if over_a_table:
            p = replace(p, gain=FIRM * p.gain)
        if all(_is_into_basket(predicate) for predicate in state.goal):
            situation = memo.scene(state).read(state)
            hand = situation.hand
            command = self._command(situation, memo, state, p)
            free = control.stretch(hand, situation.basket.rim + 0.10, p)
        else:
            world = memo.world(state).read(state)
            hand = world.hand
            command = plans.act(world, memo.plan(world, state.goal))
            free = control.fold(hand)
        if over_a_table:
            free = control.fold(hand)
        return command, control.limit_translation(command, hand, free, p)

    def _command(
        self, s: Situation, memo: _Memo, state: PrivilegedState, p: Parameters
    ) -> control.Command:
        if control.holding(s, p):
            return control.hold(s, p)
        if s.delivered or control.releasing(s, p):
            return control.release(s, p)
        poses = memo.scene(state).rounded_poses(state.data)
        return control.approach(s, memo.grasp(s.name, poses.tobytes(), p), p)

    def _memo(self, state: PrivilegedState) -> _Memo:
        if state.model not in self._memos:
            self._memos[state.model] = _Memo()
        return self._memos[state.model]

    def close(self) -> None:
        """Forget shapes and grasps."""
        self._memos.clear()


def native_key(suite: str) -> str:
    """The statistics that express the expert's actions: the base suite's, where they are known."""
    key = base_suite(suite)
    return key if key in actions.embedded_statistics() else "libero_object"


def _is_into_basket(predicate: Sequence[str]) -> bool:
    return predicate[0] == "in" and predicate[2].startswith(BASKET)


class _Memo:
    """A model's scene and latest grasps, by all that one depends on: a hit equals a new plan."""

    def __init__(self) -> None:
        self.grasp = lru_cache(_REMEMBERED_GRASPS)(self._choose_grasp)
        # Neither may keep the model, which the memo would keep alive.
        self._scene: SceneReader | None = None
        self._world: WorldReader | None = None
        self._plans: dict[Goal, tuple[Skill, ...]] = {}

    def scene(self, state: PrivilegedState) -> SceneReader:
        """The reader for goals of a basket."""
        if self._scene is None:
            self._scene = SceneReader(state.model, state.bodies)
        return self._scene

    def world(self, state: PrivilegedState) -> WorldReader:
        """The reader for all other goals."""
        if self._world is None:
            self._world = WorldReader(state.model, state.bodies)
        return self._world

    def plan(self, world: World, goal: Goal) -> tuple[Skill, ...]:
        if goal not in self._plans:
            self._plans[goal] = plans.make_plan(world, goal)
        return self._plans[goal]

    def _choose_grasp(self, target: str, poses: bytes, parameters: Parameters) -> Grasp:
        assert self._scene is not None
        solids = self._scene.solids(np.frombuffer(poses).reshape(-1, 7))
        return choose_grasp(target, solids, parameters)
