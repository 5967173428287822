"""The scripted expert as a policy: a function of the simulator's present state alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vla_tutorial import actions
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput, PrivilegedState
from vla_tutorial.policies.expert.control import (
    Command,
    approach,
    hold,
    holding,
    release,
    releasing,
)
from vla_tutorial.policies.expert.geometry import Floats
from vla_tutorial.policies.expert.grasp import Grasp, choose_grasp
from vla_tutorial.policies.expert.limits import fit_into_box, limit_translation
from vla_tutorial.policies.expert.parameters import Parameters
from vla_tutorial.policies.expert.scene import Scene
from vla_tutorial.policies.expert.situation import Situation

if TYPE_CHECKING:
    import mujoco

_REMEMBERED_GRASPS = 8
"""Grasps kept for a model; a resting scene with two targets needs two."""


class ExpertPolicy:
    """Picks up the task's targets and puts them into the basket.

    It is privileged: it reads the simulator's state and looks at neither pixels nor prompt. The
    same state always gives the same action, whatever happened before, so it can label any state
    that another policy visits (DAgger). What it keeps between calls (shapes, grasps) only saves
    time. Its actions leave as tokens, as a model's do. Another key's statistics decode them to
    another motion.
    """

    name = "expert"
    privileged = True

    def __init__(
        self, unnorm_key: str = "libero_object", parameters: Parameters | None = None
    ) -> None:
        """Choose the statistics that actions are expressed in.

        Args:
            unnorm_key: one of the embedded statistics; give the same in the wiring for motion as
                intended.
            parameters: gains and clearances.

        Raises:
            TutorialError: unknown key.
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

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        """N inputs, of any simulators → (N, 7) token ids.

        Raises:
            TutorialError: an input without state, or a scene that the expert does not know.
        """
        tokens = [self._tokens(one.state) for one in batch]
        return np.array(tokens, np.int64).reshape(-1, 7)

    def _tokens(self, state: PrivilegedState | None) -> NDArray[np.int64]:
        if state is None:
            raise TutorialError(
                "The expert reads the simulator's state, and PolicyInput.state is None. "
                "Pass it, or choose a model policy."
            )
        return actions.encode(actions.from_libero(self.act(state)), self._range)

    def act(self, state: PrivilegedState) -> Floats:
        """The action before tokenisation, within the range of the tokens.

        Returns:
            (7,) float64 as LIBERO takes it (gripper −1 open, +1 close).

        Raises:
            TutorialError: a scene that the expert does not know.
        """
        memo = self._memo(state)
        situation = memo.scene.read(state)
        command = self._command(situation, memo, state)
        low = self._range.q01
        high = self._range.q99
        translation = limit_translation(command, situation, self.parameters)
        translation = fit_into_box(translation, low[:3], high[:3])
        rotation = fit_into_box(command.rotation, low[3:6], high[3:6])
        return np.array([*translation, *rotation, command.gripper])

    def _command(self, s: Situation, memo: _Memo, state: PrivilegedState) -> Command:
        p = self.parameters
        if holding(s, p):
            return hold(s, p)
        if s.delivered or releasing(s, p):
            return release(s, p)
        return approach(s, memo.grasp(s.name, state.data, p), p)

    def _memo(self, state: PrivilegedState) -> _Memo:
        if state.model not in self._memos:
            self._memos[state.model] = _Memo(Scene(state.model, state.bodies))
        return self._memos[state.model]

    def close(self) -> None:
        """Forget shapes and grasps."""
        self._memos.clear()


class _Memo:
    """A model's scene and the grasps planned in it.

    The key is everything that a grasp depends on, so a hit equals a new plan exactly.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._grasps: OrderedDict[tuple[str, bytes], Grasp] = OrderedDict()

    def grasp(self, target: str, data: mujoco.MjData, parameters: Parameters) -> Grasp:
        """The grasp for `target` with all objects where they are (to 0.1 mm)."""
        poses = self.scene.rounded_poses(data)
        key = (target, poses.tobytes())
        if key not in self._grasps:
            self._grasps[key] = choose_grasp(target, self.scene.solids(poses), parameters)
        self._grasps.move_to_end(key)
        if len(self._grasps) > _REMEMBERED_GRASPS:
            self._grasps.popitem(last=False)
        return self._grasps[key]
