"""OpenVLA checkpoints, and `mini`, as a batched Policy."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_tutorial.actions import BIN_CENTERS, VOCABULARY, ActionStatistics
from vla_tutorial.arrays import Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.bits.arithmetic import BITS, Kind
from vla_tutorial.openvla.checkpoint import NAMES, load_weights, open_checkpoint
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import OpenVLA, tokens_after_eos
from vla_tutorial.pixels import resize_naive
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.device import choose_device, default_dtype, lacks_fp8
from vla_tutorial.prompt import EMPTY_TOKEN, Prompt, Tokenizer, token_ids
from vla_tutorial.wiring import OPENVLA_TEMPLATE

log = logging.getLogger(__name__)


class ModelPolicy:
    """A vision-language-action model behind the Policy protocol (`policies/base.py`).

    Args:
        name: short name for records.
        model: filled, on its device.
        tokenizer: the checkpoint's.
        statistics: the checkpoint's; all keys must have the same number of action dimensions.
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
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.statistics = statistics
        self.dimensions = _common_dimensions(statistics)
        self.engine = Engine(model) if engine else None
        device = str(model.device)
        if model.device.type == "cuda":
            device = torch.cuda.get_device_name(model.device)
        self.provenance: Mapping[str, Any] = {
            **provenance,
            "device": device,
            "dtype": str(model.dtype).removeprefix("torch."),
            "engine": self.engine.provenance if self.engine else "eager reference",
        }

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """N inputs, prompts of any lengths → (N, D) token ids, the same as one by one.

        D is the number of q01 entries in the statistics. The ids are int64 and OpenVLA's, whatever
        the model's own vocabulary.

        Raises:
            TutorialError: a picture is not (H, W, 3) uint8, a prompt too long, an id unknown to the
                model, or no memory left.
        """
        if not batch:
            return np.zeros((0, self.dimensions), np.int64)
        config = self.model.config
        pixels = torch.from_numpy(np.stack([resize_naive(item.pixels) for item in batch]))
        prompts = [self.ids(item.prompt) for item in batch]
        generate = self.engine.generate if self.engine else self.model.generate
        rows = generate(pixels, prompts, self.dimensions).tolist()
        tokens = [
            tokens_after_eos(prompt, row, config.llama.eos_token_id)
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        return np.array(tokens, np.int64) + (VOCABULARY - config.vocabulary)

    def ids(self, prompt: Prompt) -> list[int]:
        """The ids that the model gets. A smaller vocabulary has an empty token of its own.

        Raises:
            TutorialError: the tokenizer cannot read the text, or gives an id that the model lacks.
        """
        config = self.model.config
        ids = token_ids(prompt, self.tokenizer)
        if ids[-1] == EMPTY_TOKEN:
            ids[-1] = config.empty_token_id
        largest = max(ids)
        if largest >= config.llama.vocab_size:
            raise TutorialError(
                f"The tokenizer gives id {largest}, the model knows 0 … "
                f"{config.llama.vocab_size - 1}. Use the checkpoint's own tokenizer."
            )
        return ids

    def preflight(self) -> None:
        """Refuse a model with one of three faults that cost success without any error.

        - BOS is not in front of the prompt.
        - The bins are other ids than those that the weights were trained on.
        - Black and white frames give the same logits, as with the published remote code on
          transformers ≥ 4.50 (openvla issue 346).
        """
        instruction = "pick up the alphabet soup and place it in the basket"
        prompt = self.ids(Prompt(OPENVLA_TEMPLATE.format(instruction=instruction)))
        bos = self.model.config.llama.bos_token_id
        if prompt[0] != bos:
            raise TutorialError(
                f"The prompt's first id is {prompt[0]}, expected {bos} (BOS). "
                "Use the tokenizer.json that came with the checkpoint."
            )
        self._check_bins()
        self._check_image_matters(prompt)

    def _check_bins(self) -> None:
        """In a vocabulary of our own, that the padding begins where training had it.

        Ids that never are a target get the same row in the head. In `mini` their cosine is above
        0.99, and that of a bin's row with theirs below 0.31. Random weights pass.
        """
        config = self.model.config
        # Of Llama-2's vocabulary `read_config` knows where the bins are.
        if config.empty_token_id == EMPTY_TOKEN:
            return
        head = self.model.language_model.lm_head.weight.detach().float()
        untrained = torch.cosine_similarity(head, head[-1:]) > 0.97
        lowest = config.vocabulary - 1
        highest = config.vocabulary - len(BIN_CENTERS)
        bins_untrained = untrained[lowest] or untrained[highest]
        if bins_untrained or (untrained[-2] and not untrained[config.vocabulary]):
            raise TutorialError(
                f"pad_to_multiple_of is {config.padding} in config.json, but the weights were "
                "trained with other padding: the bins would be other ids, and every action another "
                "one. Use the config.json that came with the weights."
            )

    def _check_image_matters(self, prompt: list[int]) -> None:
        size = self.model.config.vision.image_size
        extremes = torch.tensor([-1.0, 1.0], device=self.model.device)
        frames = extremes[:, None, None, None].expand(2, 6, size, size)
        ids = torch.tensor([prompt] * 2, device=self.model.device)
        with torch.inference_mode():
            black, white = self.model(frames, ids)[:, -1].float()
        difference = float((black - white).abs().max())
        # NaN fails too.
        if not difference > 0:
            raise TutorialError(
                f"A black and a white frame give the same logits (difference {difference}): the "
                "image is ignored. The weights are damaged or another model's; load them again."
            )

    def close(self) -> None:
        """Give the GPU's memory back. The policy cannot be used afterwards."""
        del self.model, self.engine
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _common_dimensions(statistics: Mapping[str, ActionStatistics]) -> int:
    dimensions = {len(one.q01) for one in statistics.values()}
    if len(dimensions) != 1:
        raise TutorialError(
            f"The statistics have {sorted(dimensions)} action dimensions; expected one number for "
            "all keys. Use the statistics that came with the checkpoint."
        )
    return dimensions.pop()


def weights_on(device: str) -> tuple[str, ...]:
    """The names of weights with which a device can compute, the largest first.

    All but fp8 run wherever bf16 does, because their products take them back to it.
    """
    return tuple(name for name in NAMES if name != "fp8" or not lacks_fp8(device))


def _kind_of(weights: str | None, device: str) -> Kind | None:
    """How Llama's layers are held; None for full precision."""
    possible = ", ".join(weights_on(device))
    if weights not in (None, *NAMES):
        raise TutorialError(f"Weights {weights!r} are not known; expected {possible}.")
    obstacle = lacks_fp8(device) if weights == "fp8" else None
    if obstacle:
        raise TutorialError(f"{obstacle}. It can hold the weights as {possible}.")
    return next((kind for kind in BITS if kind == weights), None)


def load_model_policy(
    name: str,
    checkpoint: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    engine: bool = True,
    weights: str | None = None,
    weights_cache: Path | None = None,
) -> ModelPolicy:
    """Load a checkpoint in OpenVLA's published layout, check it (`preflight`), make it a policy.

    Args:
        name: short name for records.
        checkpoint: a folder, or `owner/name` on the hub.
        revision: branch, tag or commit on the hub; the commit is recorded.
        device: for example "cuda:0", as `choose_device` takes it. None: the first GPU, or the CPU
            with a warning.
        dtype: None: `default_dtype` of the device.
        engine: False runs the eager reference, many times slower.
        weights: "int8", "fp8" or "int4" for Llama's layers in few bits; "bf16" or None for all as
            `dtype`.
        weights_cache: a file for weights in few bits, written where it does not exist.

    Raises:
        TutorialError: another name of weights, fp8 on a GPU without it, or as `choose_device`,
            `open_checkpoint`, `load_weights` and `preflight`.
    """
    device = choose_device(device)
    dtype = dtype or default_dtype(device)
    kind = _kind_of(weights, device)
    opened = open_checkpoint(checkpoint, revision)
    model = load_weights(opened.folder, opened.config, device, dtype, kind, weights_cache)
    if device == "cpu" and not model.is_small:
        log.warning("No CUDA GPU is used: %s runs on the CPU, which suits small models only.", name)
    source = {"checkpoint": opened.name, "revision": opened.revision}
    policy = ModelPolicy(name, model, opened.tokenizer, opened.statistics, source, engine=engine)
    if kind is not None:
        dtype_name = f"{policy.provenance['dtype']}, Llama's layers {weights}"
        policy.provenance = {**policy.provenance, "dtype": dtype_name}
    policy.preflight()
    return policy
