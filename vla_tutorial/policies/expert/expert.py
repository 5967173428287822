"""The scripted expert as a policy: a function of the simulator's present state alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput, PrivilegedState
from vla_tutorial.policies.expert import control
from vla_tutorial.policies.expert.grasp import Grasp, choose_grasp
from vla_tutorial.policies.expert.scene import SceneReader
from vla_tutorial.policies.expert.situation import Parameters, Situation

if TYPE_CHECKING:
    import mujoco

# Grasps kept for a model; a resting scene with two targets needs two.
_REMEMBERED_GRASPS = 8


class ExpertPolicy:
    """Picks up the task's targets and puts them into the basket.

    It is privileged: it reads the simulator's state and looks at neither pixels nor prompt. The
    same state always gives the same action, whatever happened before, so it can label any state
    that another policy visits (DAgger). What it keeps between calls (shapes, grasps) only saves
    time. Its actions leave as tokens; another key's statistics decode them to another motion.
    """

    name = "expert"
    privileged = True

    def __init__(
        self, unnorm_key: str = "libero_object", parameters: Parameters | None = None
    ) -> None:
        """Choose the embedded statistics that express actions; an unknown key is an error.

        Motion is as intended if the wiring names the same `unnorm_key`.
        """
        self.parameters = parameters or Parameters()
        self.statistics: Mapping[str, actions.ActionStatistics] = {}
        self._range = actions.find_statistics(unnorm_key, actions.embedded_statistics())
        self._memos: WeakKeyDictionary[mujoco.MjModel, _Memo] = WeakKeyDictionary()
        self.provenance: Mapping[str, Any] = {
            "kind": "scripted expert",
            "reads": "the simulator's state (poses of robot and objects, names of the targets)",
            "ignores": "pixels and prompt",
            "unnorm_key": unnorm_key,
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
        return actions.encode(actions.from_libero(self.act(state)), self._range)

    def act(self, state: PrivilegedState) -> Floats:
        """The action before tokenisation, within the tokens' range; a strange scene is an error.

        Returns:
            (7,) float64 as LIBERO takes it (gripper −1 open, +1 close).
        """
        memo = self._memo(state)
        situation = memo.scene.read(state)
        command = self._command(situation, memo, state)
        low = self._range.q01
        high = self._range.q99
        translation = control.limit_translation(command, situation, self.parameters)
        translation = control.fit_into_box(translation, low[:3], high[:3])
        rotation = control.fit_into_box(command.rotation, low[3:6], high[3:6])
        return np.array([*translation, *rotation, command.gripper])

    def _command(self, s: Situation, memo: _Memo, state: PrivilegedState) -> control.Command:
        p = self.parameters
        if control.holding(s, p):
            return control.hold(s, p)
        if s.delivered or control.releasing(s, p):
            return control.release(s, p)
        poses = memo.scene.rounded_poses(state.data)
        return control.approach(s, memo.grasp(s.name, poses.tobytes(), p), p)

    def _memo(self, state: PrivilegedState) -> _Memo:
        if state.model not in self._memos:
            self._memos[state.model] = _Memo(SceneReader(state.model, state.bodies))
        return self._memos[state.model]

    def close(self) -> None:
        """Forget shapes and grasps."""
        self._memos.clear()


class _Memo:
    """A model's scene and latest grasps, by all that one depends on: a hit equals a new plan."""

    def __init__(self, scene: SceneReader) -> None:
        self.scene = scene
        self.grasp = lru_cache(_REMEMBERED_GRASPS)(self._choose_grasp)

    def _choose_grasp(self, target: str, poses: bytes, parameters: Parameters) -> Grasp:
        solids = self.scene.solids(np.frombuffer(poses).reshape(-1, 7))
        return choose_grasp(target, solids, parameters)
