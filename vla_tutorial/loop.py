"""The only loop: look, read, act, again. Recording, batching and processes wrap it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.arrays import Floats, Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import Policy, PolicyInput, PrivilegedState, reads
from vla_tutorial.policies.timing import Timing
from vla_tutorial.prompt import Prompt
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Observation, Simulator, own_instruction, step_limit
from vla_tutorial.wiring import Wiring


@dataclass(frozen=True)
class Step:
    """One control step: what the policy saw, what it answered and what came of it.

    Attributes:
        step: 0 for the first action after settling.
        observation: before the action, as LIBERO returned it.
        pixels: (224, 224, 3) uint8, what the policy saw; older than `observation` where the wiring
            delays pictures.
        tokens: (7,) int64, what it answered; those nearest to the action, where that has none.
        action: (7,) float64, what LIBERO's `env.step` got: x, y, z, three rotations in [−1, 1],
            gripper −1 open, +1 close.
        reward: after the action; 1.0 on success.
        done: whether the task is done after the action.
        waiting: whether the policy was still thinking about an older picture, and the action is
            what the wiring has for that time.
        prompt: what the policy was given beside the picture.
    """

    step: int
    observation: Observation
    pixels: Picture
    tokens: Ints
    action: Floats
    reward: float
    done: bool
    waiting: bool = False
    prompt: Prompt | None = None


def rollout(policy: Policy, simulator: Simulator, wiring: Wiring, scene: Scene) -> Iterator[Step]:
    """Run one episode, yielding each step; it ends with success or at the step limit."""
    statistics = statistics_for(policy, wiring)
    instruction = prompt.build(wiring, scene.instruction_for(own_instruction(simulator, scene)))
    limit = wiring.max_steps or step_limit(scene.suite)
    observation = simulator.start(scene, wiring.settle_steps)
    state = _privileged_state(simulator) if policy.privileged else None
    timing = Timing(policy, wiring, statistics)
    frames = deque([frame(simulator, observation, wiring)], maxlen=wiring.frame_delay + 1)
    for step in range(limit):
        seen = pixels.prepare(frames[0], wiring)
        further = _further(policy, simulator, observation, wiring)
        turn = timing.turn(PolicyInput(seen, instruction, state, *further))
        decoded = actions.decode_answer(turn.answer, statistics, wiring.vocabulary)
        action = actions.to_libero(decoded, wiring.gripper, wiring.translation_gain)
        after, reward, done = simulator.step(action)
        tokens = actions.nearest_tokens(turn.answer, statistics)
        yield Step(step, observation, seen, tokens, action, reward, done, turn.waiting, instruction)
        if done:
            return
        observation = after
        frames.append(frame(simulator, observation, wiring))


def frame(simulator: Simulator, observation: Observation, wiring: Wiring) -> Picture:
    """The camera's picture (H, W, 3) that the wiring chooses."""
    return simulator.wrist_picture() if wiring.camera == "wrist" else observation.image


def _further(
    policy: Policy, simulator: Simulator, observation: Observation, wiring: Wiring
) -> tuple[Floats | None, Picture | None]:
    """What some policies read beside the picture: proprioception, and the wrist camera's."""
    proprioception = observation.proprioception if reads(policy, "proprioception") else None
    if not reads(policy, "wrist"):
        return proprioception, None
    return proprioception, pixels.prepare(simulator.wrist_picture(), wiring)


def _privileged_state(simulator: Simulator) -> PrivilegedState:
    """What a privileged policy may read: the simulator's state and what the episode asks for."""
    goal = simulator.asked
    targets = tuple(predicate[1] for predicate in goal if predicate[0] == "in")
    return PrivilegedState(
        simulator.model,
        simulator.data,
        simulator.bodies,
        goal,
        targets,
        simulator.task.suite,
    )


def statistics_for(policy: Policy, wiring: Wiring) -> actions.ActionStatistics:
    """The statistics that the wiring's key names, or a TutorialError where it does not exist.

    They are the policy's own, or this package's where the policy has none or the wiring says so.
    """
    known = policy.statistics
    if wiring.embedded_statistics or not known:
        known = {**actions.embedded_statistics(), **known}
    try:
        found = actions.find_statistics(wiring.unnorm_key, known)
    except TutorialError as e:
        if wiring.unnorm_key not in actions.embedded_statistics():
            raise
        raise TutorialError(
            f"{e} The checkpoint was not trained with {wiring.unnorm_key!r}. This package has "
            "those statistics; to see what they do, set embedded_statistics=True in the wiring "
            "(--embedded-statistics)."
        ) from e
    return actions.as_wired(found, wiring)
