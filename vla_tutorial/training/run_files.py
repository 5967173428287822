"""Files of a training run: the weights to begin with, the saved state, and the checkpoint."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from vla_tutorial.decoding import Seconds, decode, read_lines, read_object
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.config import read_config
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.openvla.tokens import load_tokenizer
from vla_tutorial.training.mini import grow, write_checkpoint
from vla_tutorial.training.trainer import Trainer

STATE = "state.pt"
"""What resuming needs, as tensors; opened with `weights_only`, so that nothing in it can run."""

PROGRESS = "progress.json"
"""How far a run by the clock has come."""


MOST_BYTES = 32 * 2**20
MOST_LINES = 100_000
"""Of the curves. A run of an hour writes some hundred lines of 200 bytes."""


class _Line(msgspec.Struct):
    """What is read of a line of the curves."""

    step: int


class _Progress(msgspec.Struct):
    """What `PROGRESS` holds."""

    seconds: Seconds


def begin_with(trainer: Trainer, checkpoint: Path, tokenizer: Tokenizer) -> None:
    """Take the weights of a checkpoint; heads and optimiser start anew.

    It may have fewer Llama layers, and other words (see `mini.grow`).

    Raises:
        TutorialError: no checkpoint, a damaged one, or one of another model.
    """
    config = read_config(checkpoint / "config.json")
    smaller = load_weights(checkpoint, config, "cpu", torch.float32)
    words = load_tokenizer(checkpoint, config).inner
    with torch.no_grad():
        model = trainer.learner.model.cpu()
        grow(model, tokenizer, smaller, words)
        model.to(trainer.device)
        trainer.mean.model.load_state_dict(model.state_dict())


def resume_from(trainer: Trainer, out: Path, curves: Path) -> None:
    """Take over the state in `out`; lines of the curves that come after it are deleted.

    Args:
        trainer: of the same model.
        out: the run's folder.
        curves: its curves.jsonl; there may be none.

    Raises:
        TutorialError: no state, a damaged one, another model's, or a line of the curves is damaged.
    """
    path = out / STATE
    try:
        trainer.load(read_state(path))
    except (KeyError, TypeError, ValueError, RuntimeError) as e:
        # PyTorch names every weight of another shape, in dozens of lines.
        reason = textwrap.shorten(str(e), 200, placeholder=" …")
        raise TutorialError(
            f"{path} is not a saved state of this model ({reason}). Start without --resume."
        ) from e
    if curves.exists():
        remedy = "Delete the file: only the curves of earlier steps are lost."
        lines = read_lines(curves, remedy, MOST_BYTES, MOST_LINES)
        # A process that was killed may have left half a line at the end.
        whole = enumerate((line for line in lines if line.endswith(b"\n")), 1)
        kept = []
        for number, line in whole:
            if decode(line, _Line, f"{curves}, line {number}", remedy).step <= trainer.step:
                kept.append(line)
        curves.write_bytes(b"".join(kept))


def read_progress(out: Path) -> float:
    """Seconds of fitting that earlier slices of a run took; a TutorialError for none."""
    remedy = "Nothing to resume: start without --resume."
    seconds: float = read_object(out / PROGRESS, _Progress, remedy)["seconds"]
    return seconds


def write_progress(out: Path, seconds: float) -> None:
    """Note how many seconds of fitting a run has had."""
    write_atomically(out / PROGRESS, json.dumps({"seconds": round(seconds, 1)}))


def read_state(path: Path) -> Any:
    """A saved state, as `Trainer.load` takes it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as e:
        raise TutorialError(
            f"Nothing to resume: {path} does not exist. Start without --resume."
        ) from e
    # PyTorch raises many kinds for a damaged file.
    except Exception as e:
        raise TutorialError(f"{path} is damaged ({e}). Start without --resume.") from e


def save_run(
    trainer: Trainer,
    tokenizer: Tokenizer,
    out: Path,
    about: dict[str, Any],
    suites: Sequence[str],
    recent: str,
) -> None:
    """Write the mean's checkpoint (config.json says `about`), what resuming needs, recent.json."""
    model = trainer.mean.model
    assert isinstance(model, OpenVLA)
    part = out / f".{STATE}"
    try:
        write_checkpoint(model, tokenizer, out / "mini", about, suites)
        torch.save(trainer.state(), part)
        part.replace(out / STATE)
        (out / "recent.json").write_text(recent)
    # What Python, torch.save and safetensors raise when the disk is full.
    except (OSError, RuntimeError, SafetensorError) as e:
        part.unlink(missing_ok=True)
        raise TutorialError(
            f"Cannot write to {out} ({e}). The last saved state is whole; make room and resume."
        ) from e
