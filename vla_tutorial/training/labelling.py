"""A policy that labels: it asks the expert about every state that an episode visits, whoever acts.

Demonstrations and practice run `loop.rollout` with one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial import actions
from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import BASKET, pose_column, random_layout
from vla_tutorial.training.chunks import ACTION_GRID, LabelledEpisode, join_arrays
from vla_tutorial.training.noise import Disturbance

SUITE = "libero_object"
"""Whose scenes `mini` learns, and whose action statistics its tokens are made for."""

_FINGER_PARTS = ("gripper0_finger{}_collision", "gripper0_finger{}_pad_collision")


class LabellingPolicy(ABC):
    """Acts as a subclass's `act` says, in one episode: the one that begins at `scene`.

    What is seen, labelled and done is in `steps`, as episodes of one step.
    """

    name = "labelling"
    privileged = True

    def __init__(
        self, simulator: Simulator, seed: int, expert: Policy, disturb: Disturbance
    ) -> None:
        """Draw the layout of this seed (see `layout_seed`); it overwrites the simulator's state."""
        self.statistics: Mapping[str, actions.ActionStatistics] = {}
        self.provenance: Mapping[str, Any] = {}
        self.simulator = simulator
        self.expert = expert
        self.disturb = disturb
        self.layout = random_layout(simulator, seed)
        task = simulator.task.index
        self.scene = Scene(SUITE, task, 0, target=self.layout.target, layout_seed=seed)
        self.steps: list[LabelledEpisode] = []

    @abstractmethod
    def act(
        self, seen: PolicyInput, step: LabelledEpisode, label: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The tokens (7,) to be executed where the expert says `label` (7,).

        `step` is the state as an episode of one step; `executed` is not known yet (zeros).
        """

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        """One input → (1, 7) token ids."""
        (seen,) = batch
        label = self.expert.predict(batch)[0]
        step = self._look(label)
        tokens = self.act(seen, step, label)
        executed = np.round(libero_action(tokens[None]) / ACTION_GRID) * ACTION_GRID
        self.steps.append(replace(step, executed=executed.astype(np.float32)))
        return tokens[None]

    def _look(self, label: NDArray[np.int64]) -> LabelledEpisode:
        simulator = self.simulator
        target = self.layout.target
        return LabelledEpisode(
            task=simulator.task.index,
            target=target,
            instruction=self.layout.instruction,
            noise=self.disturb.noise,
            columns=(pose_column(simulator, target), pose_column(simulator, BASKET)),
            qpos=simulator.pose_in_picture()[None].astype(np.float32),
            bins=actions.token_bins(label)[None].astype(np.int16),
            executed=np.zeros((1, actions.ACTION_DIMENSIONS), np.float32),
            eef_pos=simulator.eef_pos[None].astype(np.float32),
            holding=np.array([fingers_touch(simulator, target)]),
        )

    def episode(self) -> LabelledEpisode:
        """All steps so far as one episode."""
        return replace(self.steps[0], **join_arrays(self.steps))

    def close(self) -> None:  # noqa: B027
        """Nothing to release: the simulator and the expert are somebody else's."""


class DisturbedExpert(LabellingPolicy):
    """The expert with noise in what is executed; its labels are free of it."""

    def act(
        self, seen: PolicyInput, step: LabelledEpisode, label: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The expert's tokens, disturbed."""
        return disturbed_tokens(label, self.disturb)


def layout_seed(seed: int, task: int, chunk: int, attempt: int) -> int:
    """The seed of a training layout, the same for the same four numbers.

    It is at least 2**32. Evaluation counts its seeds from 0, so that the two never meet.
    """
    (drawn,) = np.random.SeedSequence([seed, task, chunk, attempt]).generate_state(1, np.uint64)
    return 2**32 + int(drawn >> 2)


def libero_action(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Tokens (…, 7) → the action (…, 7) that LIBERO gets, as the loop decodes it."""
    return actions.to_libero(actions.decode(tokens, _statistics()))


def disturbed_tokens(tokens: NDArray[np.int64], disturb: Disturbance) -> NDArray[np.int64]:
    """The tokens (7,) that are executed in place of `tokens`; the same ones where noise is 0.

    Noise becomes tokens like every action: it is quantised to bins, and clipped to the range of
    the action statistics (libero_object's quantiles of 1 % and 99 %).
    """
    moved = disturb(libero_action(tokens))
    return actions.encode(actions.from_libero(moved), _statistics())


def _statistics() -> actions.ActionStatistics:
    return actions.find_statistics(SUITE, actions.embedded_statistics())


def fingers_touch(simulator: Simulator, name: str) -> bool:
    """Whether both fingers touch the object."""
    model = simulator.model
    pairs = simulator.data.contact.geom
    roots = model.body_rootid[model.geom_bodyid[pairs]]
    # Of each pair, the other geom where one belongs to the object.
    touching = set(pairs[roots[:, ::-1] == simulator.bodies[name]].tolist())
    for finger in (1, 2):
        parts = {model.geom(part.format(finger)).id for part in _FINGER_PARTS}
        if not touching & parts:
            return False
    return True
