"""OpenVLA, the eager reference: an image and a prompt → logits. `engine.py` is the fast path."""

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

# Numbers; 256 bytes in bfloat16, what cudaMalloc aligns to and matrix products like best.
ALIGNMENT = 128
# Parameters of the largest model that suits a CPU and is worth a second copy in its memory.
SMALL = 10**8


class OpenVLA(nn.Module):
    """The fused vision tower, the projector and Llama, named as in published checkpoints."""

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

    @property
    def size(self) -> int:
        """How many parameters it has."""
        return sum(p.numel() for p in self.parameters())

    @property
    def is_small(self) -> bool:
        """Whether it suits a CPU."""
        return self.size <= SMALL

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Pictures → projected patches (N, patches, d) in the model's dtype.

        `pixels`: (N, H, W, 3) uint8, or their values (N, 6, S, S) of any float dtype.
        """
        if pixels.dtype == torch.uint8:
            pixels = normalise(pixels)
        features = self.vision_backbone(pixels.to(self.dtype))
        return self.projector(features)  # type: ignore[no-any-return]

    def embed(self, image: Tensor, input_ids: Tensor) -> Tensor:
        """Patches (N, P, d) and ids (N, T), BOS first → [BOS][patches][rest] (N, P + T, d)."""
        text = self.language_model.model.embed_tokens(input_ids)
        return torch.cat([text[:, :1], image, text[:, 1:]], 1)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        """Logits at every position (N, patches + T, vocab_size), with gradients, for training.

        Those after text token t ≥ 1 are at index patches + t.

        Args:
            pixel_values: (N, 6, S, S) float, from `pixels.pixel_values`.
            input_ids: (N, T) int64, BOS first; padding on the right does no harm (it is causal).
        """
        return self.sequence_logits(self.embed_image(pixel_values), input_ids)

    def sequence_logits(self, image: Tensor, input_ids: Tensor) -> Tensor:
        """`forward` for patches (N, P, d) that are already projected."""
        return self.language_model.logits(self._hidden(image, input_ids))

    def _hidden(self, image: Tensor, input_ids: Tensor) -> Tensor:
        x = self.embed(image, input_ids)
        rope = rope_table(self.config.llama, x.shape[1], x.device)
        return self.language_model(x, rope)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def generate(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        """Greedy decoding by running the whole sequence anew for each token.

        It is slow and short, and what `Engine.generate` must equal, which says what comes in.

        Returns:
            (N, count) int64 on the model's device, past an end-of-sequence token too.
        """
        image = self.embed_image(pixels.to(self.device))
        ids, lengths = pad(
            prompts,
            max(map(len, prompts)) + count,
            self.device,
        )
        rows = torch.arange(len(prompts), device=self.device)
        for step in range(count):
            last = self.config.vision.patches + lengths + step - 1
            logits = self.language_model.logits(self._hidden(image, ids)[rows, last])
            ids[rows, lengths + step] = logits.argmax(-1)
        generated = [row[n : n + count] for row, n in zip(ids, lengths.tolist(), strict=True)]
        return torch.stack(generated)


@cache
# Training must be able to use the table too, whoever asks for it first.
@torch.inference_mode(False)
def _table(device: torch.device) -> Tensor:
    return torch.from_numpy(normalisation_table()).to(device)


def normalise(images: Tensor) -> Tensor:
    """`pixels.pixel_values` on the device: (N, H, W, 3) uint8 → (N, 6, H, W) float32."""
    channels = images.permute(0, 3, 1, 2).long()
    table = _table(images.device)
    return torch.stack([table[c][channels[:, c % 3]] for c in range(6)], 1)


def round_up(a: int, step: int) -> int:
    """The least multiple of `step` that is not below `a`."""
    return (a + step - 1) // step * step


def pad(
    prompts: Sequence[Sequence[int]], length: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Prompts as ids (N, length) int64, zeros on the right, and their lengths (N,) int64."""
    rows = [[*prompt, *[0] * (length - len(prompt))] for prompt in prompts]
    ids = torch.tensor(rows, dtype=torch.int64)
    lengths = torch.tensor([len(prompt) for prompt in prompts], dtype=torch.int64)
    return ids.to(device), lengths.to(device)


def tokens_after_eos(prompt: Sequence[int], generated: Sequence[int], eos: int) -> list[int]:
    """The ids that are decoded into an action, as many as were generated.

    As in the published code, they are the sequence's last ids up to an early end-of-sequence
    token, the prompt's among them.
    """
    kept = list(generated)
    if eos in kept:
        del kept[kept.index(eos) + 1 :]
    return [*prompt, *kept][-len(generated) :]


class _SkipInitialisation(TorchFunctionMode):
    """Draws no initial weights: on the meta device that only imports PyTorch's compiler, 1.2 s."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def meta_model(config: OpenVLAConfig) -> OpenVLA:
    """The model's structure without any memory behind it."""
    with torch.device("meta"), _SkipInitialisation():
        return OpenVLA(config).eval().requires_grad_(False)


def materialise(model: OpenVLA, device: torch.device | str, dtype: torch.dtype) -> OpenVLA:
    """Give a meta model memory, not cleared, in one allocation.

    A thousand small ones take seconds on a GPU. Weights that a fast path runs as one lie side by
    side. The same model is returned.
    """
    groups = _adjacent_weights(model)
    sizes = [round_up(_numbers(group), ALIGNMENT) for group in groups]
    slab = torch.empty(sum(sizes), device=device, dtype=dtype)
    parts = slab.split(sizes)  # type: ignore[no-untyped-call]
    for group, part in zip(groups, parts, strict=True):
        start = 0
        for module, name in group:
            shape = getattr(module, name).shape
            view = part[start : start + shape.numel()].view(shape)
            setattr(module, name, nn.Parameter(view, requires_grad=False))
            start += shape.numel()
    return model


def _adjacent_weights(model: OpenVLA) -> list[list[tuple[nn.Module, str]]]:
    """Every parameter as its owner and name; those that belong together are in one group."""
    groups: list[list[tuple[nn.Module, str]]] = []
    stacked: set[nn.Module] = set()
    for stack in model.language_model.stacks():
        # Layers that are quantised later stand apart.
        if not isinstance(stack[0], nn.Linear):
            continue
        groups.append([(linear, "weight") for linear in stack])
        stacked.update(stack)
    for module in model.modules():
        if module not in stacked:
            names = [name for name, _ in module.named_parameters(recurse=False)]
            groups += [[(module, name)] for name in names]
    return groups


def _numbers(group: Sequence[tuple[nn.Module, str]]) -> int:
    return sum(getattr(module, name).numel() for module, name in group)
