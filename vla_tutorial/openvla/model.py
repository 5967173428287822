"""OpenVLA: an image and a prompt go in, logits over the next token come out. This is the eager reference; `engine.py` is the fast path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.llama import Llama, rope_table
from vla_tutorial.openvla.vision import Projector, VisionBackbone
from vla_tutorial.pixels import normalisation_table

ALIGNMENT = 128
"""Numbers; 256 bytes in bfloat16, what cudaMalloc aligns to and matrix products like best."""


class OpenVLA(nn.Module):
    """The fused vision tower, the projector and Llama. Parameter names and shapes are those of the published checkpoints."""

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_backbone = VisionBackbone(config.vision)
        self.projector = Projector(config.vision.width, config.llama.hidden_size)
        self.language_model = Llama(config.llama)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.language_model.lm_head.weight.dtype

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Pictures (N, H, W, 3) uint8, or their pixel values (N, 6, S, S) of any float dtype → (N, patches, d) in the model's dtype."""
        if pixels.dtype == torch.uint8:
            pixels = normalise(pixels)
        return self.projector(self.vision_backbone(pixels.to(self.dtype)))  # type: ignore[no-any-return]

    def embed(self, image: Tensor, input_ids: Tensor) -> Tensor:
        """Projected patches (N, P, d) and ids (N, T), BOS first → the sequence [BOS][patches][rest] (N, P + T, d)."""
        text = self.language_model.model.embed_tokens(input_ids)
        return torch.cat([text[:, :1], image, text[:, 1:]], 1)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        """Logits at every position, with gradients: what training needs.

        Args:
            pixel_values: (N, 6, S, S) float, from `pixels.pixel_values`.
            input_ids: (N, T) int64 with BOS first; shorter rows are padded on the right, which causal attention makes harmless.

        Returns:
            (N, patches + T, vocab_size); the logits after text token t ≥ 1 are at index patches + t.
        """
        return self.sequence_logits(self.embed_image(pixel_values), input_ids)

    def sequence_logits(self, image: Tensor, input_ids: Tensor) -> Tensor:
        """`forward` for patches (N, P, d) that are already projected."""
        return self.language_model.logits(self._hidden(image, input_ids))

    def _hidden(self, image: Tensor, input_ids: Tensor) -> Tensor:
        x = self.embed(image, input_ids)
        return self.language_model(x, rope_table(self.config.llama, x.shape[1], x.device))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def generate(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        """Greedy decoding by running the whole sequence anew for each token: slow, short, and what the engine must equal.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float, on any device.
            prompts: N lists of ids of any length, BOS first.
            count: tokens to generate a row.

        Returns:
            (N, count) int64, past an end-of-sequence token too; `finish` applies the rule for that.
        """
        image = self.embed_image(pixels.to(self.device))
        ids, lengths = pad(prompts, max(map(len, prompts)) + count, self.device)
        rows = torch.arange(len(prompts), device=self.device)
        for step in range(count):
            last = self.config.vision.patches + lengths + step - 1
            ids[rows, lengths + step] = self.language_model.logits(
                self._hidden(image, ids)[rows, last]
            ).argmax(-1)
        return torch.stack(
            [row[n : n + count] for row, n in zip(ids, lengths.tolist(), strict=True)]
        )


@cache
@torch.inference_mode(False)  # whoever asks first, training must be able to use it too
def _table(device: torch.device) -> Tensor:
    return torch.from_numpy(normalisation_table()).to(device)


def normalise(images: Tensor) -> Tensor:
    """`pixels.pixel_values` on the images' device: (N, H, W, 3) uint8 → (N, 6, H, W) float32, the same values."""
    channels, table = images.permute(0, 3, 1, 2).long(), _table(images.device)
    return torch.stack([table[c][channels[:, c % 3]] for c in range(6)], 1)


def pad(
    prompts: Sequence[Sequence[int]], length: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Prompts as ids (N, length) int64, zeros on the right, and their lengths (N,) int64."""
    ids = torch.tensor([[*p, *[0] * (length - len(p))] for p in prompts], dtype=torch.int64)
    return ids.to(device), torch.tensor([len(p) for p in prompts], dtype=torch.int64).to(device)


def finish(prompt: Sequence[int], generated: Sequence[int], eos: int) -> list[int]:
    """The ids that are decoded into an action, as many as were asked for.

    Generation stops at an early end-of-sequence token, and the published code then decodes the last ids of the whole sequence, the prompt's
    among them.
    """
    stop = list(generated).index(eos) + 1 if eos in generated else len(generated)
    return [*prompt, *generated[:stop]][-len(generated) :]


class _SkipInitialisation(TorchFunctionMode):
    """Drawing random numbers on the meta device yields none, and imports PyTorch's compiler: 1.2 s on the way to a model that loads in a few."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def meta_model(config: OpenVLAConfig) -> OpenVLA:
    """The model's structure without any memory behind it."""
    with torch.device("meta"), _SkipInitialisation():
        return OpenVLA(config).eval().requires_grad_(False)


def materialise(model: OpenVLA, device: torch.device | str, dtype: torch.dtype) -> OpenVLA:
    """Give a meta model uninitialised memory on `device`, in one allocation: a thousand small ones take seconds on a GPU.

    Weights that a fast path runs as one lie side by side.
    """
    groups: list[list[tuple[nn.Module, str]]] = [
        [(linear, "weight") for linear in stack] for stack in model.language_model.stacks()
    ]
    placed = {id(linear.weight) for stack in model.language_model.stacks() for linear in stack}
    owners = [
        (module, name)
        for module in model.modules()
        for name, p in module.named_parameters(recurse=False)
        if id(p) not in placed
    ]
    groups += [[owner] for owner in owners]
    sizes = [
        -(-sum(getattr(m, n).numel() for m, n in group) // ALIGNMENT) * ALIGNMENT
        for group in groups
    ]
    slab = torch.empty(sum(sizes), device=device, dtype=dtype)
    for group, part in zip(groups, slab.split(sizes), strict=True):  # type: ignore[no-untyped-call]
        for module, name in group:
            shape = getattr(module, name).shape
            setattr(
                module, name, nn.Parameter(part[: shape.numel()].view(shape), requires_grad=False)
            )
            part = part[shape.numel() :]
    return model
