"""The fast path: batches of any size, a cache of keys and values, and on a GPU one CUDA graph for the whole action.

A graph replays a fixed list of kernels, so the host launches once instead of some 1,800 times. Fixed also means fixed shapes: rows and prompt
lengths are rounded up to buckets, and each pair of buckets is captured at its first use. Right padding is exact under causal attention: no real
token ever sees a padded one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.compact import CompactRunner
from vla_tutorial.openvla.llama import Cache
from vla_tutorial.openvla.model import OpenVLA, pad
from vla_tutorial.openvla.packed import available, pack_linears
from vla_tutorial.openvla.runner import PlainRunner, Runner

ROWS = (1, 4, 8, 16, 32)
"""Batch sizes that are captured; larger batches run in parts of the last."""

TEXT_STEP = 16
"""Prompt lengths are rounded up to a multiple of this; LIBERO's lie between 25 and 45 ids."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captured:
    """A CUDA graph with its fixed inputs and output."""

    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    ids: Tensor
    lengths: Tensor
    tokens: Tensor


class Engine:
    """Runs a model's greedy decoding for batches.

    Args:
        model: filled, on its device.
        kernels: use the Triton kernels. None: where they can run.
        graphs: use CUDA graphs. None: on CUDA.

    Attributes:
        provenance: what runs and, for what does not, why not.
    """

    def __init__(
        self, model: OpenVLA, *, kernels: bool | None = None, graphs: bool | None = None
    ) -> None:
        self.model = model
        obstacle = "switched off" if kernels is False else _obstacle(model)
        self.graphs = model.device.type == "cuda" if graphs is None else graphs
        packs = kernels is not False and available(model)
        self.runner = _runner(model, obstacle, packs)
        self.captured: dict[tuple[int, ...], Captured] = {}
        self.pool: Any = None
        self.provenance = {
            "kernels": "triton"
            if obstacle is None
            else f"plain PyTorch{', products through oneDNN' if packs else ''}: {obstacle}",
            "graphs": "CUDA graphs"
            if self.graphs
            else f"none: {'switched off' if graphs is False else f'{model.device} is no CUDA device'}",
            "torch_compile": "not used: Llama's steps are fused by this package's own kernels, and vision is a tenth of the arithmetic",
        }
        if obstacle is not None and model.device.type != "cpu":
            log.warning("OpenVLA runs without its Triton kernels: %s", obstacle)

    @torch.inference_mode()
    def generate(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        """The same tokens as `OpenVLA.generate`, faster.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float32, on any device; uint8 sends an eighth of the bytes to a GPU.
            prompts: N lists of ids of any length, BOS first.
            count: tokens to generate a row.

        Returns:
            (N, count) int64 on the CPU, past an end-of-sequence token too; `model.finish` applies the rule for that.

        Raises:
            TutorialError: a prompt longer than the model's positions, or the device's memory does not hold the batch.
        """
        self._check_lengths(prompts, count)
        parts = range(0, len(prompts), ROWS[-1])
        try:
            with self._device():
                return torch.cat(
                    [
                        self._part(pixels[i : i + ROWS[-1]], prompts[i : i + ROWS[-1]], count)
                        for i in parts
                    ]
                )
        except torch.OutOfMemoryError as e:
            raise TutorialError(
                self._memory_message(min(len(prompts), ROWS[-1]), max(map(len, prompts)) + count)
            ) from e

    def _device(self) -> contextlib.AbstractContextManager[object]:
        """Triton and graphs work on the current device, which need not be the model's where there are several."""
        return (
            torch.cuda.device(self.model.device)
            if self.model.device.type == "cuda"
            else contextlib.nullcontext()
        )

    def act(self, pixels: Tensor, ids: Tensor, lengths: Tensor, count: int) -> Tensor:
        """Everything from pixels to tokens, on the device, with no word from the host in between.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float32.
            ids: (N, T) int64, right-padded.
            lengths: (N,) int64.

        Returns:
            (N, count) int64.
        """
        x = self.model.embed(self.model.embed_image(pixels), ids)
        cache = Cache.empty(self.model.config.llama, len(x), x.shape[1] + count, x)
        first = self.model.config.vision.patches + lengths
        tokens = [self.runner.prefill(x, first - 1, cache).argmax(-1)]
        for step in range(count - 1):
            tokens.append(self.runner.decode(tokens[-1], first + step, cache).argmax(-1))
        return torch.stack(tokens, 1)

    def _part(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        longest = max(map(len, prompts))
        if not self.graphs:
            ids, lengths = pad(prompts, longest, self.model.device)
            return self.act(pixels.to(self.model.device), ids, lengths, count).cpu()
        rows = next(r for r in ROWS if r >= len(prompts))
        ids, lengths = pad(prompts, -(-longest // TEXT_STEP) * TEXT_STEP, "cpu")
        graph = self.capture(rows, ids.shape[1], count, pixels)
        for fixed, given in ((graph.pixels, pixels), (graph.ids, ids), (graph.lengths, lengths)):
            fixed[: len(prompts)].copy_(given)
        graph.graph.replay()
        return graph.tokens[: len(prompts)].cpu()

    def capture(self, rows: int, text: int, count: int, like: Tensor) -> Captured:
        """The graph for `rows` pictures of `like`'s form × `text` prompt ids and `count` tokens; captured at the first call."""
        key = (rows, text, count, *like.shape[1:])
        if key not in self.captured:
            device = self.model.device
            pixels = torch.zeros(rows, *like.shape[1:], device=device, dtype=like.dtype)
            ids, lengths = (
                torch.zeros(rows, text, device=device, dtype=torch.int64),
                torch.full((rows,), text, device=device),
            )
            self.runner.tune(rows)
            self.act(
                pixels, ids, lengths, count
            )  # compiles kernels and lets cuBLAS choose, which a capture must not do
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                tokens = self.act(pixels, ids, lengths, count)
            self.pool = (
                graph.pool()
            )  # graphs never run at the same time, so they share their memory
            self.captured[key] = Captured(graph, pixels, ids, lengths, tokens)
        return self.captured[key]

    def release(self) -> None:
        """Forget every graph and give their memory back; the next call captures anew."""
        self.captured.clear()
        self.pool = None
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _check_lengths(self, prompts: Sequence[Sequence[int]], count: int) -> None:
        room = (
            self.model.config.llama.max_position_embeddings
            - self.model.config.vision.patches
            - count
        )
        longest = max(map(len, prompts))
        if -(-longest // TEXT_STEP) * TEXT_STEP > room:
            raise TutorialError(
                f"A prompt has {longest} ids; beside the image and {count} actions there is room for {room}. Shorten the instruction."
            )

    def _memory_message(self, rows: int, text: int) -> str:
        weights = sum(p.nbytes for p in self.model.parameters()) / 2**30
        extra = working_bytes(self.model, rows, text) / 2**30
        device = self.model.device
        free = (
            f"; {torch.cuda.mem_get_info(device)[0] / 2**30:.1f} GiB are free now"
            if device.type == "cuda"
            else ""
        )
        return (
            f"Out of memory on {device}: a batch of {rows} needs about {extra:.1f} GiB beside the weights' {weights:.1f} GiB{free}. "
            "Use a smaller batch, or close what else uses the GPU."
        )


def working_bytes(model: OpenVLA, rows: int, text: int) -> int:
    """About how many bytes a batch needs beside the weights: the cache, and the widest activations of a prefill."""
    llama, positions = model.config.llama, rows * (model.config.vision.patches + text)
    cache = 2 * llama.num_hidden_layers * llama.num_key_value_heads * llama.head_dim
    activations = 3 * llama.intermediate_size + 6 * llama.hidden_size
    return positions * (cache + activations) * model.dtype.itemsize


def _obstacle(model: OpenVLA) -> str | None:
    """Why the Triton kernels cannot run here; None when they can."""
    dim = model.config.llama.head_dim
    if model.device.type != "cuda":
        return f"the model is on {model.device}, and they need a CUDA GPU"
    if model.dtype not in (torch.bfloat16, torch.float16):
        return f"they are for bfloat16 and float16, not {model.dtype}"
    if dim < 32 or dim & (dim - 1):
        return f"they need heads of 32, 64, 128 … channels, not {dim}"
    try:
        import triton  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
    except ImportError:
        return "Triton is not installed (it comes with PyTorch for CUDA on Linux)"
    return None


def _runner(model: OpenVLA, obstacle: str | None, packs: bool) -> Runner:
    if obstacle is None:
        from vla_tutorial.openvla.fast import FastRunner

        return FastRunner(model.language_model)
    if model.device.type != "cpu":
        return PlainRunner(model.language_model)
    if packs:
        pack_linears(model)
    return CompactRunner(model.language_model, packs)
