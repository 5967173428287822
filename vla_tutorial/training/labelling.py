"""Policies that label: they ask the expert about every state of an episode, whoever acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vla_tutorial import actions
from vla_tutorial.arrays import Floats, Ints, Picture
from vla_tutorial.loop import rollout
from vla_tutorial.pixels import Float32
from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.layouts import FIRST_TRAINING_SEED
from vla_tutorial.sim.object_layouts import FIRST_PUBLISHED_SEED
from vla_tutorial.training.chunks import ACTION_GRID, LabelledEpisode, join_arrays
from vla_tutorial.training.labels import keypoints
from vla_tutorial.training.noise import Disturbance, Noise
from vla_tutorial.training.sentences import SUITES
from vla_tutorial.wiring import Wiring

FREE_STEPS = {
    "libero_spatial": 220,
    "libero_object": 240,
    "libero_goal": 280,
    "libero_10": 420,
}
"""Step limits of practice, some 1.5 times what the expert needs in the median task."""

STILL_STEPS = 50
STILL_WITHIN = 0.01
"""An episode of the policy alone ends where its hand stayed within so many metres for so long."""

_LOST = -0.1
"""Metres under the robot's base: a thing this far down has fallen off the table."""

_FINGER_PARTS = ("gripper0_finger{}_collision", "gripper0_finger{}_pad_collision")

Ask = Callable[[Picture, LabelledEpisode, Float32], tuple[Ints, float]]
"""A picture (224, 224, 3) uint8, its step and its keypoints (1, K, 2) → tokens (7,), and beta."""


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
        """Draw the layout; that overwrites the simulator's state.

        Args:
            simulator: of the episode's task.
            seed: of the layout (`layout_seed`).
            expert: who says the labels.
            disturb: the noise in what is executed.

        Raises:
            TutorialError: the layout cannot be built.
        """
        self.simulator = simulator
        self.expert = expert
        self.disturb = disturb
        self.layout = simulator.layout(seed)
        self.suite = simulator.task.suite
        self.scene = Scene(
            self.suite,
            simulator.task.index,
            0,
            instruction=self.layout.instruction,
            layout_seed=seed,
        )
        self.steps: list[LabelledEpisode] = []

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """One input → (1, 7) token ids."""
        (seen,) = batch
        label = self.expert.predict(batch)[0]
        step = self._look(label)
        tokens = self.act(seen, step, label)
        action = libero_action(tokens[None], self.suite)
        executed = np.round(action / ACTION_GRID) * ACTION_GRID
        self.steps.append(replace(step, executed=executed.astype(np.float32)))
        return tokens[None]

    def act(self, seen: PolicyInput, step: LabelledEpisode, label: Ints) -> Ints:
        """What is done in a state.

        Args:
            seen: the picture and the prompt.
            step: the state as an episode of one step; `executed` is not known yet (zeros).
            label: (7,) token ids, what the expert says.

        Returns:
            (7,) token ids to be executed.
        """
        return disturbed_tokens(label, self.disturb, self.suite)

    def _look(self, label: Ints) -> LabelledEpisode:
        simulator = self.simulator
        base = simulator.data.body("robot0_link0").xpos
        name, thing, place = attention(simulator)
        return LabelledEpisode(
            suite=self.suite,
            task=simulator.task.index,
            instruction=self.layout.instruction,
            noise=self.disturb.noise,
            fixtures=self.layout.fixtures,
            qpos=simulator.pose_in_picture()[None].astype(np.float32),
            bins=actions.token_bins(label)[None].astype(np.int16),
            executed=np.zeros((1, actions.ACTION_DIMENSIONS), np.float32),
            hand=(simulator.eef_pos - base)[None].astype(np.float32),
            thing=(thing - base)[None].astype(np.float32),
            place=(place - base)[None].astype(np.float32),
            holding=np.array([fingers_touch(simulator, name)]),
        )

    def episode(self) -> LabelledEpisode:
        """All steps so far as one episode."""
        return replace(self.steps[0], **join_arrays(self.steps))

    def close(self) -> None:
        """Nothing to release: the simulator and the expert are somebody else's."""


def attention(simulator: Simulator) -> tuple[str, Floats, Floats]:
    """What the episode's first predicate that does not hold yet is about; "close" comes last.

    Returns:
        The thing's name, its position and that of the place where it belongs, (3,) metres in the
        world frame. A predicate of one argument has its place where the thing is.
    """
    waiting = [predicate for predicate in simulator.asked if not simulator.holds(predicate)]
    # What is to be closed must be filled first.
    waiting.sort(key=lambda predicate: predicate[0] == "close")
    _, thing, *rest = (waiting or simulator.asked)[0]
    place = rest[0] if rest else thing
    return thing, _position(simulator, thing), _position(simulator, place)


def _position(simulator: Simulator, name: str) -> Floats:
    """(3,) metres, world frame: of an object, or of the middle of a region."""
    data = simulator.data
    if name in simulator.bodies:
        return np.array(data.xpos[simulator.bodies[name]])
    return np.array(data.site(name).xpos)


class Turns:
    """Who acts in an episode of practice: the policy, in stretches, and the expert in between.

    Attributes:
        beta: 0 … 1, how much the policy acts. (In the paper on DAgger it is the expert's share.)
        free: whether the policy acts alone in the whole episode.
        begun: how many steps the expert acts first, so that the policy also meets the end of tasks
            whose beginning it cannot do yet.
    """

    def __init__(self, rng: np.random.Generator, beta: float, steps: int) -> None:
        """Draw who begins.

        Args:
            rng: where all is drawn from.
            beta: 0 … 1, how much the policy acts.
            steps: the limit of the episode.
        """
        self.beta = beta
        self.free = rng.random() < 0.4 * beta
        self.begun = 0
        if not self.free and rng.random() < 0.4:
            self.begun = int(rng.integers(steps // 2))
        self._rng = rng
        self._policy_acts = self.free or rng.random() < 0.5
        self._left = self._stretch()

    def _stretch(self) -> int:
        mean = 10 + 60 * self.beta if self._policy_acts else 40 - 26 * self.beta
        return 1 + int(self._rng.exponential(mean))

    def policy_acts(self) -> bool:
        """Whether the policy acts in the next step, else the expert."""
        if self.begun:
            self.begun -= 1
            return False
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
        """Draw the layout, who acts, and the noise; `ask` answers for the policy in training.

        The other arguments are as `LabellingPolicy` and `Turns` have them.

        Raises:
            TutorialError: the layout cannot be built.
        """
        self.limit = FREE_STEPS[simulator.task.suite]
        self.turns = Turns(rng, beta, self.limit)
        noise = Noise.random(rng) if rng.random() < 0.5 else Noise()
        super().__init__(simulator, seed, expert, Disturbance(noise, rng))
        self._ask = ask

    def act(self, seen: PolicyInput, step: LabelledEpisode, label: Ints) -> Ints:
        """The policy's tokens as they are, or the expert's with noise."""
        points = keypoints(self.simulator)[None]
        answer, self.turns.beta = self._ask(seen.pixels, step, points)
        if self.turns.policy_acts():
            return answer
        return super().act(seen, step, label)

    def ended(self) -> bool:
        """Whether nothing more can come: the thing is lost, or the policy alone stands still."""
        if self.steps[-1].thing[0, 2] <= _LOST:
            return True
        if not self.turns.free or len(self.steps) < STILL_STEPS:
            return False
        path = np.concatenate([step.hand for step in self.steps[-STILL_STEPS:]])
        return bool(np.ptp(path, axis=0).max() < STILL_WITHIN)


def practise(policy: MixingPolicy) -> bool:
    """Run the policy's episode until its goal holds (True), or `ended`, or time is up."""
    wiring = replace(as_trained(policy.suite), max_steps=policy.limit)
    for step in rollout(policy, policy.simulator, wiring, policy.scene):
        if step.done:
            return True
        if policy.ended():
            break
    return False


def as_trained(suite: str) -> Wiring:
    """What the policy sees, but whole: training crops at random, evaluation takes the centre."""
    return Wiring(suite, center_crop=False)


def layout_seed(
    seed: int, suite: str, task: int, chunk: int, attempt: int, published: bool = False
) -> int:
    """A training layout's seed, 2**32 or more; it never meets evaluation's, which count from 0.

    Args:
        published: whether the scene keeps the task's published places (libero_object alone).
    """
    key = [seed, SUITES.index(suite), task, chunk, attempt]
    (drawn,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    first = FIRST_PUBLISHED_SEED if published else FIRST_TRAINING_SEED
    return first + int(drawn >> 2)


def libero_action(tokens: Ints, suite: str) -> Floats:
    """The action that LIBERO gets, as the loop decodes it.

    Args:
        tokens: (…, 7) token ids.
        suite: whose action statistics decode them.

    Returns:
        (…, 7) float64 in [−1, 1], as `Simulator.step` takes it.
    """
    return actions.to_libero(actions.decode(tokens, _statistics(suite)))


def disturbed_tokens(tokens: Ints, disturb: Disturbance, suite: str) -> Ints:
    """What is executed in place of some tokens; the same ones where noise is 0.

    Noise becomes tokens like every action: it is quantised to bins, and clipped to the range of
    the suite's action statistics (quantiles of 1 % and 99 %).

    Args:
        tokens: (7,) token ids.
        disturb: the episode's noise, which moves on by a step.
        suite: whose statistics.

    Returns:
        (7,) token ids.
    """
    moved = disturb(libero_action(tokens, suite))
    return actions.encode(actions.from_libero(moved), _statistics(suite))


def _statistics(suite: str) -> actions.ActionStatistics:
    return actions.find_statistics(suite, actions.embedded_statistics())


def fingers_touch(simulator: Simulator, name: str) -> bool:
    """Whether both fingers touch the object; False for a region."""
    if name not in simulator.bodies:
        return False
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
