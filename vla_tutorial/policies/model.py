"""OpenVLA checkpoints, and `mini`, as a batched Policy."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_tutorial.actions import VOCABULARY, ActionStatistics
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.checkpoint import (
    load_model,
    load_statistics,
    load_tokenizer,
    locate,
    need,
)
from vla_tutorial.openvla.config import read_config
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import OpenVLA, finish
from vla_tutorial.openvla.preflight import check_image_matters, check_prompt
from vla_tutorial.pixels import resize_naive
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.prompt import EMPTY_TOKEN, Prompt, Tokenizer, token_ids
from vla_tutorial.wiring import OPENVLA_TEMPLATE

log = logging.getLogger(__name__)

LARGE = 10**8
"""Parameters above which a CPU takes seconds for an action."""


class ModelPolicy:
    """A vision-language-action model behind the Policy protocol (`policies/base.py` says what the attributes mean).

    Args:
        name: short name for records.
        model: filled, on its device.
        tokenizer: the checkpoint's.
        statistics: the checkpoint's action statistics; all keys must have the same number of action dimensions.
        provenance: what is known of the checkpoint; device, dtype and engine are added.
        engine: whether the fast path runs; otherwise the eager reference does.
    """

    privileged = False

    def __init__(
        self,
        name: str,
        model: OpenVLA,
        tokenizer: Tokenizer,
        statistics: Mapping[str, ActionStatistics],
        provenance: Mapping[str, Any],
        *,
        engine: bool = True,
    ) -> None:
        self.name, self.model, self.tokenizer, self.statistics = name, model, tokenizer, statistics
        dimensions = {len(s.q01) for s in statistics.values()}
        if len(dimensions) != 1:
            raise TutorialError(
                f"The statistics' keys have {sorted(dimensions)} action dimensions; expected one number for all."
            )
        self.dimensions = dimensions.pop()
        self.engine = Engine(model) if engine else None
        self.provenance: Mapping[str, Any] = {
            **provenance,
            "device": torch.cuda.get_device_name(model.device)
            if model.device.type == "cuda"
            else str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "engine": self.engine.provenance if self.engine else "eager reference",
        }

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        """N inputs, prompts of any lengths → (N, D) token ids, the same as one by one.

        D is the number of q01 entries in the statistics; ids are in OpenVLA's Llama vocabulary, whatever the model's own size.

        Raises:
            TutorialError: a picture that is not (H, W, 3) uint8, a prompt too long, an id that the model lacks, or no memory left.
        """
        if not batch:
            return np.zeros((0, self.dimensions), np.int64)
        pixels = torch.from_numpy(np.stack([resize_naive(item.pixels) for item in batch]))
        prompts = [self.ids(item.prompt) for item in batch]
        generate = self.engine.generate if self.engine else self.model.generate
        rows = generate(pixels, prompts, self.dimensions).tolist()
        eos = self.model.config.llama.eos_token_id
        tokens = [finish(prompt, row, eos) for prompt, row in zip(prompts, rows, strict=True)]
        return np.array(tokens, np.int64) + (VOCABULARY - self.model.config.vocabulary)

    def ids(self, prompt: Prompt) -> list[int]:
        """The ids that the model gets for a prompt; a smaller vocabulary has an empty token of its own."""
        config, ids = self.model.config, token_ids(prompt, self.tokenizer)
        if ids[-1] == EMPTY_TOKEN:
            ids[-1] = config.empty_token_id
        if max(ids) >= config.llama.vocab_size:
            size = config.llama.vocab_size
            raise TutorialError(
                f"The tokenizer gives id {max(ids)}, the model knows 0 … {size - 1}. Use the checkpoint's own tokenizer."
            )
        return ids

    def preflight(self) -> None:
        """Raise a TutorialError if the model ignores its image, or if the published prompt does not come out as in training."""
        prompt = Prompt(
            OPENVLA_TEMPLATE.format(
                instruction="pick up the alphabet soup and place it in the basket"
            )
        )
        check_prompt(prompt, self.tokenizer, self.model.config.llama.bos_token_id)
        check_image_matters(self.model, self.ids(prompt))

    def close(self) -> None:
        """Give the GPU's memory back. The policy cannot be used afterwards."""
        del self.model, self.engine
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load_model_policy(
    name: str,
    checkpoint: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    engine: bool = True,
) -> ModelPolicy:
    """Load a checkpoint in OpenVLA's published layout, check it, and make it a policy.

    Args:
        name: short name for records.
        checkpoint: a folder, or `owner/name` on the hub.
        revision: branch, tag or commit on the hub; the commit is recorded.
        device: for example "cuda:0". None: the first GPU, or the CPU with a warning.
        dtype: None: bfloat16 on a GPU, float32 on a CPU.
        engine: False runs the eager reference, many times slower.

    Raises:
        TutorialError: anything wrong with the checkpoint, named (`openvla/checkpoint.py`), or a failed preflight.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device.startswith("cuda") and not torch.cuda.is_available():
        raise TutorialError(
            f"Device {device!r} was asked for, but PyTorch {torch.__version__} finds no CUDA GPU. Use device='cpu', or mend the driver."
        )
    dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    source = locate(checkpoint, revision)
    read_config(need(source.folder, "config.json", "the model's sizes"))
    tokenizer, statistics = (
        load_tokenizer(source.folder),
        load_statistics(source.folder),
    )  # the small files first: they fail fast
    model = load_model(source, device, dtype)
    if device == "cpu" and sum(p.numel() for p in model.parameters()) > LARGE:
        log.warning(
            "No CUDA GPU is used: the policy %s runs on the CPU, which suits small models only.",
            name,
        )
    provenance = {"checkpoint": source.checkpoint, "revision": source.revision}
    policy = ModelPolicy(name, model, tokenizer, statistics, provenance, engine=engine)
    policy.preflight()
    return policy
