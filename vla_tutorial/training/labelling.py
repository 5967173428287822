"""Policies that label: they ask the expert about every state of an episode, whoever acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Floats, Ints, Picture
from vla_tutorial.loop import rollout
from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.scene import BASKET, Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import pose_column, random_layout
from vla_tutorial.training.chunks import ACTION_GRID, LabelledEpisode, join_arrays
from vla_tutorial.training.labels import Labels, keypoints
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
"""Whose scenes `mini` learns, and whose action statistics its tokens are made for."""

AS_TRAINED = Wiring(SUITE, center_crop=False)
"""What the policy sees, but whole: training crops at random where evaluation takes the centre."""

FREE_STEPS = 240
MIXED_STEPS = 260
"""Step limits of practice where the policy acts alone, and where both act."""

_LOST = -0.1
"""Metres: a target this far under the floor has fallen off it."""

_FINGER_PARTS = ("gripper0_finger{}_collision", "gripper0_finger{}_pad_collision")

Ask = Callable[[Picture, Labels], tuple[Ints, float]]
"""A picture (224, 224, 3) uint8 with its step's labels → the policy's tokens (7,), and beta."""


class LabellingPolicy:
    """The expert in the episode that begins at `scene`, with noise in what is executed.

    Labels are free of it. What is seen, labelled and done is in `steps`, as episodes of one step.
    """

    name = "labelling"
    privileged = True
    statistics: Mapping[str, Any] = {}
    provenance: Mapping[str, Any] = {}

    def __init__(
        self, simulator: Simulator, seed: int, expert: Policy, disturb: Disturbance
    ) -> None:
        """Draw the layout of this seed (see `layout_seed`); it overwrites the simulator's state."""
        self.simulator = simulator
        self.expert = expert
        self.disturb = disturb
        self.layout = random_layout(simulator, seed)
        task = simulator.task.index
        self.scene = Scene(SUITE, task, 0, target=self.layout.target, layout_seed=seed)
        self.steps: list[LabelledEpisode] = []

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """One input → (1, 7) token ids."""
        (seen,) = batch
        label = self.expert.predict(batch)[0]
        step = self._look(label)
        tokens = self.act(seen, step, label)
        executed = np.round(libero_action(tokens[None]) / ACTION_GRID) * ACTION_GRID
        self.steps.append(replace(step, executed=executed.astype(np.float32)))
        return tokens[None]

    def act(self, seen: PolicyInput, step: LabelledEpisode, label: Ints) -> Ints:
        """The tokens (7,) to be executed where the expert says `label` (7,).

        `step` is the state as an episode of one step; `executed` is not known yet (zeros).
        """
        return disturbed_tokens(label, self.disturb)

    def _look(self, label: Ints) -> LabelledEpisode:
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

    def close(self) -> None:
        """Nothing to release: the simulator and the expert are somebody else's."""


class Turns:
    """Who acts in an episode of practice: the policy, in stretches, and the expert in between.

    Attributes:
        beta: 0 … 1, how much the policy acts. (In the paper on DAgger it is the expert's share.)
        free: whether the policy acts alone in the whole episode.
    """

    def __init__(self, rng: np.random.Generator, beta: float) -> None:
        self.beta = beta
        self.free = rng.random() < 0.4 * beta
        self._rng = rng
        self._policy_acts = self.free or rng.random() < 0.5
        self._left = self._stretch()

    def _stretch(self) -> int:
        mean = 10 + 60 * self.beta if self._policy_acts else 40 - 26 * self.beta
        return 1 + int(self._rng.exponential(mean))

    def policy_acts(self) -> bool:
        """Whether the policy acts in the next step, else the expert."""
        if not self.free and self._left == 0:
            self._policy_acts = not self._policy_acts
            self._left = self._stretch()
        self._left -= 1
        return self._policy_acts


class MixingPolicy(LabellingPolicy):
    """Mixes the policy in training, as `ask` answers for it, and the expert.

    The expert is disturbed in half of the episodes. The answered beta holds from the next turn on.
    """

    def __init__(
        self,
        simulator: Simulator,
        seed: int,
        expert: Policy,
        ask: Ask,
        rng: np.random.Generator,
        beta: float,
    ) -> None:
        self.turns = Turns(rng, beta)
        noise = Noise.random(rng) if rng.random() < 0.5 else Noise()
        super().__init__(simulator, seed, expert, Disturbance(noise, rng))
        self._ask = ask

    def act(self, seen: PolicyInput, step: LabelledEpisode, label: Ints) -> Ints:
        """The policy's tokens as they are, or the expert's with noise."""
        labels = Labels.of(step, keypoints(self.simulator)[None])
        answer, self.turns.beta = self._ask(seen.pixels, labels)
        if self.turns.policy_acts():
            return answer
        return super().act(seen, step, label)


def practise(policy: MixingPolicy) -> bool:
    """Run the policy's episode until the target is in the basket (True), or lost, or time is up."""
    simulator = policy.simulator
    target = simulator.bodies[policy.layout.target]
    limit = FREE_STEPS if policy.turns.free else MIXED_STEPS
    for step in rollout(policy, simulator, replace(AS_TRAINED, max_steps=limit), policy.scene):
        if step.done:
            return True
        if simulator.data.xpos[target][2] <= _LOST:
            break
    return False


def layout_seed(seed: int, task: int, chunk: int, attempt: int) -> int:
    """A training layout's seed, 2**32 or more; it never meets evaluation's, which count from 0."""
    (drawn,) = np.random.SeedSequence([seed, task, chunk, attempt]).generate_state(1, np.uint64)
    return 2**32 + int(drawn >> 2)


def libero_action(tokens: Ints) -> Floats:
    """Tokens (…, 7) → the action (…, 7) that LIBERO gets, as the loop decodes it."""
    return actions.to_libero(actions.decode(tokens, _statistics()))


def disturbed_tokens(tokens: Ints, disturb: Disturbance) -> Ints:
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
        parts = [model.geom(part.format(finger)).id for part in _FINGER_PARTS]
        if touching.isdisjoint(parts):
            return False
    return True
