"""From files of demonstrations to a checkpoint and a first closed-loop figure, in one command for a GPU machine.

python -m vla_tutorial.training.pipeline --demos demos --out out --seconds 300

Renders every stored state (about 2,000 pictures a second on 16 cores and an H100), fits `mini` for so many seconds and runs it on random layouts that it has
never seen. Everything that a later run needs lies in `out`: `mini/` (the checkpoint), `fit.jsonl` (curves), `practice.json` (episodes).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.chunks import load_chunk
from vla_tutorial.training.evaluate import evaluate, jobs
from vla_tutorial.training.fit import Fitting, Recipe, Samples, fit
from vla_tutorial.training.mini import CONFIG, initialise, train_tokenizer, write_checkpoint
from vla_tutorial.training.render import render_all
from vla_tutorial.training.samples import POSITION_MEAN, make_samples

CALIBRATION = (20, 80)
"""Steps until everything is compiled, and until the time of a step is known."""


def say(text: str, started: float) -> None:
    """One line of progress with the seconds since the start."""
    print(f"[{time.perf_counter() - started:6.1f} s] {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    a = _arguments(arguments)
    started = time.perf_counter()
    a.out.mkdir(parents=True, exist_ok=True)
    pictures = render_all(a.demos, a.workers, a.work)
    episodes = [episode for path in pictures.files for episode in load_chunk(path).episodes]
    say(f"{len(episodes)} demonstrations, {len(pictures.frames)} pictures", started)
    instructions = sorted({e.instruction for e in episodes})
    tokenizer = train_tokenizer(instructions)
    samples = make_samples(episodes, pictures.frames, tokenizer, a.device, instructions)
    say("on the device", started)
    recipe = Recipe(steps=a.steps or CALIBRATION[1], batch=a.batch, learning_rate=a.learning_rate)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs eagerly: slower, but a lent GPU is not wasted
    fitting = Fitting(initialise(OpenVLA(CONFIG)), recipe, len(POSITION_MEAN), a.device)
    if not a.steps:
        fitting.recipe = replace(recipe, steps=plan(fitting, samples, a.seconds, a.out / "fit.jsonl"))
        say(f"planned {fitting.recipe.steps} steps", started)
    fit(fitting, samples, a.out / "fit.jsonl", seconds=2 * a.seconds)
    say(f"fitted {fitting.step} steps", started)
    save(
        fitting,
        tokenizer,
        a.out,
        {"demonstrations": len(episodes), "steps": len(samples), "optimiser_steps": fitting.step, "batch": a.batch},
    )
    del samples
    if a.practice:
        practice(a, started)
    return 0


def plan(fitting: Fitting, samples: Samples, seconds: float, log: Path) -> int:
    """How many steps fit into the time, by timing the first ones (they count; the learning rate still warms up)."""
    begin = time.perf_counter()
    fit(fitting, samples, log, until=CALIBRATION[0])
    compiled = time.perf_counter()
    fit(fitting, samples, log, until=CALIBRATION[1])
    now = time.perf_counter()
    a_step = (now - compiled) / (CALIBRATION[1] - CALIBRATION[0])
    return CALIBRATION[1] + max(0, int((seconds - (now - begin)) / a_step))


def save(fitting: Fitting, tokenizer: Tokenizer, out: Path, training: dict[str, Any]) -> None:
    """Write the running mean's weights as a checkpoint."""
    model = fitting.mean.model
    assert isinstance(model, OpenVLA)
    write_checkpoint(model, tokenizer, out / "mini", training)


def practice(a: argparse.Namespace, started: float) -> None:
    """Run the checkpoint on random layouts that were never trained on."""
    from vla_tutorial.policies.model import load_model_policy

    policy = load_model_policy("mini", a.out / "mini", device=a.device)
    found = evaluate(policy, jobs("libero_object", range(10), range(a.practice), size=a.practice, practice=True), a.workers)
    (a.out / "practice.json").write_text(json.dumps(found))
    per_task = [sum(e["success"] for e in found if e["task"] == task) for task in range(10)]
    closed = sum(e["first_close"] is not None for e in found)
    say(f"practice: {sum(per_task)} of {len(found)} succeed, by task {per_task}; {closed} close the gripper", started)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", type=Path, required=True, help="folder of `demos`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="folder for the pictures, 150 KB a step; that of the demonstrations by default")
    parser.add_argument("--seconds", type=float, default=300, help="of fitting (%(default)s)")
    parser.add_argument("--steps", type=int, help="optimiser steps, in place of --seconds")
    parser.add_argument("--batch", type=int, default=384)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--practice", type=int, default=5, help="closed-loop episodes a task afterwards (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
