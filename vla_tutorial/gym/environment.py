"""The environment: `sim.Simulator` behind the same boundaries as the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.arrays import Picture
from vla_tutorial.conditions import apply
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import frame
from vla_tutorial.scene import Scene
from vla_tutorial.sim import (
    Observation,
    Simulator,
    base_suite,
    count_initial_states,
    own_instruction,
    step_limit,
)
from vla_tutorial.video import CONTROL_HZ
from vla_tutorial.wiring import Wiring

ActionForm = Literal["libero", "tokens"]
"""Seven numbers as LIBERO's `env.step` takes them, or seven action bins, 0 … 254."""

Seen = dict[str, Any]


class LiberoEnv(gymnasium.Env[Seen, Any]):  # type: ignore[misc]
    """One task of LIBERO, under the published protocol or under conditions.

    Observation:
        pixels: (224, 224, 3) uint8, upright: what a policy sees (`pixels.prepare`).
        proprioception: (8,) float64, `Observation.proprioception` (metres and radians).

    Action, with `action_form` "libero": (7,) float32 in [−1, 1]: x, y, z, three rotations, gripper
    (−1 open, +1 close). With "tokens": (7,) bins, which become motion as a policy's tokens do, so
    that conditions of motion act on them.

    Reward: 1.0 on success, which terminates the episode; else 0.0. The published step limit
    truncates it.

    `info` has the prompt, the instruction, `init` and `success`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012

    def __init__(
        self,
        suite: str = "libero_object",
        task: int = 0,
        render_mode: str | None = None,
        conditions: Sequence[str] = (),
        action_form: ActionForm = "libero",
        wiring: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what to build; the simulator is built at the first `reset` (1–15 s).

        Args:
            conditions: names from the catalogue, as `vla-tutorial conditions` lists them.
            wiring: further settings of `Wiring`, for example {"jpeg": False}.

        Raises:
            TutorialError: a name does not exist, or a setting cannot be.
        """
        self.render_mode = render_mode
        self._suite = suite
        self._task = task
        self._conditions = tuple(conditions)
        self._form = action_form
        self._published = Wiring(base_suite(suite), **(wiring or {}))
        self._wiring, self._scene = apply(conditions, self._published, Scene(suite, task, 0))
        _refuse_timing(self._wiring)
        found = actions.find_statistics(self._wiring.unnorm_key, actions.embedded_statistics())
        self._statistics = actions.as_wired(found, self._wiring)
        self._states = count_initial_states(suite, task)
        self._limit = self._wiring.max_steps or step_limit(suite)
        self._simulator: Simulator | None = None
        self._frames: list[Picture] = []
        self._steps = 0
        self.observation_space = _observations()
        self.action_space = _actions(action_form)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Seen, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the draw among the task's saved initial states.
            options: {"init": number} chooses one.
        """
        super().reset(seed=seed)
        init = int(self.np_random.integers(self._states)) if self._states else 0
        init = (options or {}).get("init", init)
        _, self._scene = apply(
            self._conditions,
            self._published,
            Scene(self._suite, self._task, init),
        )
        if self._simulator is None:
            self._simulator = Simulator(self._suite, self._task, self._wiring.camera_size)
        self._steps = 0
        observation = self._simulator.start(self._scene, self._wiring.settle_steps)
        self._frames = [frame(self._simulator, observation, self._wiring)]
        return self._seen(observation), self._info(success=False)

    def step(self, action: Any) -> tuple[Seen, SupportsFloat, bool, bool, dict[str, Any]]:
        """One control step of 50 ms.

        Raises:
            TutorialError: before `reset`, or the action has NaN or another length.
        """
        if self._simulator is None:
            raise TutorialError("There is no episode yet: call reset() before step().")
        observation, reward, done = self._simulator.step(self._command(action))
        self._steps += 1
        self._frames.append(frame(self._simulator, observation, self._wiring))
        truncated = self._steps >= self._limit and not done
        return self._seen(observation), reward, done, truncated, self._info(success=done)

    def _command(self, action: Any) -> Any:
        if self._form == "tokens":
            tokens = actions.bin_tokens(action)
            decoded = actions.decode(tokens, self._statistics, self._wiring.vocabulary)
        else:
            # Back to a policy's numbers, so that the gripper's mapping and the gain act on them.
            decoded = actions.check_action(action).copy()
            decoded[6] = (1 - decoded[6]) / 2
        return actions.to_libero(decoded, self._wiring.gripper, self._wiring.translation_gain)

    def _seen(self, observation: Observation) -> Seen:
        # As in the loop: the first picture is shown until there is one that is old enough.
        self._frames = self._frames[-1 - self._wiring.frame_delay :]
        return {
            "pixels": pixels.prepare(self._frames[0], self._wiring),
            "proprioception": observation.proprioception,
        }

    def _info(self, success: bool) -> dict[str, Any]:
        assert self._simulator is not None
        own = own_instruction(self._simulator, self._scene)
        instruction = self._scene.instruction_for(own)
        return {
            "instruction": instruction,
            "prompt": prompt.build(self._wiring, instruction).text,
            "init": self._scene.init,
            "success": success,
        }

    def render(self) -> Picture | None:
        """The present picture (256, 256, 3) uint8, upright; None unless `render_mode` is set."""
        if self.render_mode is None or not self._frames:
            return None
        return np.ascontiguousarray(pixels.orient(self._frames[-1], "rotate_180"))

    def close(self) -> None:
        """Free the simulator; safe to call twice."""
        if self._simulator is not None:
            self._simulator.close()
        self._simulator = None


def _observations() -> spaces.Dict:
    picture = spaces.Box(0, 255, (pixels.SIZE, pixels.SIZE, 3), np.uint8)
    body = spaces.Box(-np.inf, np.inf, (8,), np.float64)
    return spaces.Dict({"pixels": picture, "proprioception": body})


def _actions(form: ActionForm) -> spaces.Space[Any]:
    if form == "tokens":
        return spaces.MultiDiscrete(np.full(actions.ACTION_DIMENSIONS, len(actions.BIN_CENTERS)))
    return spaces.Box(-1.0, 1.0, (actions.ACTION_DIMENSIONS,), np.float32)


def _refuse_timing(wiring: Wiring) -> None:
    """Raise a TutorialError for settings of the loop around a policy: it is the caller's here."""
    for name in ("realtime", "latency", "replan_steps", "stale_chunks"):
        if getattr(wiring, name):
            what = f"{name} is a setting of the loop, and here the loop is yours"
            raise TutorialError(f"{what}. Leave it out, or use `vla-tutorial rollout`.")
