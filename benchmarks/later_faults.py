"""Faults of code that were written after the tests of the boundaries were frozen, to judge these on.

    python benchmarks/later_faults.py --out out/later --steps 20

Each is a patch of one function of the loop, the kind of slip that code of others had: no setting of
the wiring makes it, and the conditions do not hold it. `truths.json` in the folder says which
boundary each is at. Most record where the log is written; four of them sit below it, between log
and simulator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from vla_tutorial import pixels, prompt
from vla_tutorial.actions import decode_answer
from vla_tutorial.episodes import OUTCOMES, SWEEP_FORMAT, Episode, EpisodeKey
from vla_tutorial.policies import load_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.record import record_episode
from vla_tutorial.sim import Simulator
from vla_tutorial.sim import simulator as of_simulator
from vla_tutorial.spec import EpisodeSpec

SUITE = "libero_object"
prepare = pixels.prepare
build = prompt.build
step = Simulator.step


@dataclass(frozen=True)
class Fault:
    """A name, the boundary, what is replaced, and by what."""

    name: str
    boundary: str
    where: str
    by: Any


def seen(change: Callable[[np.ndarray], np.ndarray]) -> Any:
    return lambda image, wiring: np.ascontiguousarray(change(prepare(image, wiring)))


def given(change: Callable[[np.ndarray], np.ndarray]) -> Any:
    return lambda image, wiring: prepare(np.ascontiguousarray(change(image)), wiring)


def asked(change: Callable[[str], str]) -> Any:
    def built(wiring: Any, instruction: str) -> Prompt:
        whole = build(wiring, instruction)
        return Prompt(change(whole.text), whole.empty_token)

    return built


def sent(change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Below the log: the log has what should have been sent."""
    return lambda self, action: step(self, change(np.array(action)))


def twice(self: Simulator, action: Any) -> Any:
    step(self, action)
    return step(self, action)


def scaled(index: list[int], factors: list[float]) -> Callable[[np.ndarray], np.ndarray]:
    def change(action: np.ndarray) -> np.ndarray:
        action[index] *= factors
        return action

    return change


def in_degrees(answer: Any, statistics: Any, vocabulary: int = 32000) -> np.ndarray:
    return scaled([3, 4, 5], [57.3] * 3)(decode_answer(answer, statistics, vocabulary))


CHAT = "A chat between a curious user and an artificial intelligence assistant. USER: "

PREPARE = "vla_tutorial.pixels.prepare"
BUILD = "vla_tutorial.prompt.build"
STEP = "vla_tutorial.sim.simulator.Simulator.step"

FAULTS = (
    Fault("rendered_at_128", "pixels", PREPARE, given(lambda x: x[::2, ::2].repeat(2, 0).repeat(2, 1))),
    Fault("grey", "pixels", PREPARE, seen(lambda x: x.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8))),
    Fault("cropped_twice", "pixels", PREPARE, seen(pixels.center_crop)),
    Fault("divided_by_255_twice", "pixels", PREPARE, seen(lambda x: (x / 255).astype(np.uint8))),
    Fault("task_name_for_sentence", "prompt", BUILD, asked(lambda text: text.replace(" ", "_"))),
    Fault("without_out", "prompt", BUILD, asked(lambda text: text.removesuffix("\nOut:"))),
    Fault("chat_prompt", "prompt", BUILD, asked(lambda text: f"{CHAT}{text[4:-5]} ASSISTANT:")),
    Fault("rotations_in_degrees", "motion", "vla_tutorial.actions.decode_answer", in_degrees),
    Fault("y_mirrored", "motion", STEP, sent(scaled([1], [-1.0]))),
    Fault("x_and_y_exchanged", "motion", STEP, sent(lambda a: a[[1, 0, 2, 3, 4, 5, 6]])),
    Fault("each_action_twice", "motion", STEP, twice),
    Fault("gripper_of_another_robot", "motion", STEP, sent(scaled([6], [-1.0]))),
    Fault("settled_with_closed_gripper", "simulator", "vla_tutorial.sim.simulator.NO_OP",
          -of_simulator.NO_OP),
    Fault("initial_state_not_set", "simulator", "vla_tutorial.sim.simulator.Simulator._beginning",
          lambda self, number: (self.placement, None)),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--task", type=int, default=6)
    parser.add_argument("--init", type=int, default=45)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    config = {"format": SWEEP_FORMAT, "suite": SUITE, "command": "benchmarks/later_faults.py"}
    (args.out / "sweep.json").write_text(json.dumps(config))
    truths = {fault.name: fault.boundary for fault in FAULTS}
    (args.out / "truths.json").write_text(json.dumps(truths, indent=1))
    policy = load_policy("mini", device="cpu")
    spec = EpisodeSpec(SUITE, args.task, args.init, max_steps=args.steps)
    wiring, scene = spec.settings()
    with Simulator(SUITE, args.task) as simulator:
        for fault in FAULTS:
            key = EpisodeKey(fault.name, args.task, args.init)
            folder = args.out / key.folder
            with patch(fault.where, fault.by):
                result = record_episode(
                    policy, simulator, wiring, scene, folder, video=False, overwrite=True
                )
            episode = Episode(
                suite=SUITE,
                task=args.task,
                init=args.init,
                condition=fault.name,
                outcome=OUTCOMES[result.success],
                attempt=1,
                folder=key.folder,
                **asdict(result),
            )
            with (args.out / "episodes.jsonl").open("a", encoding="utf-8") as file:
                file.write(episode.to_line())


if __name__ == "__main__":
    main()
