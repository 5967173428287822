"""The fast path: batches of any size, a cache of keys and values, and CUDA graphs on a GPU.

One graph holds a whole action, so the host launches once instead of some 1,800 times. Its shapes
are fixed: rows and prompt lengths are rounded up to buckets, and each pair of buckets is captured
at its first use. Right padding is exact under causal attention: no real token sees a padded one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.bits.arithmetic import is_quantised, quantised_bytes
from vla_tutorial.openvla.cpu import CompactRunner, PlainRunner, can_pack, pack_linears
from vla_tutorial.openvla.drafts.drafter import Drafter
from vla_tutorial.openvla.llama import Cache
from vla_tutorial.openvla.model import OpenVLA, pad, round_up

if TYPE_CHECKING:
    from vla_tutorial.openvla.cuda import CudaRunner

# Batch sizes that are captured; larger batches run in parts of the last.
ROWS = (1, 4, 8, 16, 32)
# Prompt lengths are rounded up to a multiple of this; LIBERO's lie between 25 and 45 ids.
TEXT_STEP = 16

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
        kernels: whether to use the Triton kernels. None: where they can run.
        graphs: whether to use CUDA graphs. None: on CUDA.
        drafts: whether to guess an action's tokens from what was answered before, which changes
            their time alone (`drafted.py`). None: for large models on CUDA, as long as it pays.

    Attributes:
        provenance: what runs and, for what does not, why not.
    """

    def __init__(
        self,
        model: OpenVLA,
        *,
        kernels: bool | None = None,
        graphs: bool | None = None,
        drafts: bool | None = None,
    ) -> None:
        self.model = model
        self.device = model.device
        self.on_gpu = model.device.type == "cuda"
        self.captured: dict[tuple[int, ...], Captured] = {}
        self.pool: Any = None
        self.graphs = self.on_gpu if graphs is None else graphs
        obstacle = "switched off" if kernels is False else _obstacle(model)
        packs = kernels is not False and can_pack(model) and not is_quantised(model)
        self.runner = _make_runner(model, obstacle, packs)
        self.drafter: Drafter | None = None
        if drafts or (drafts is None and self.on_gpu and not model.is_small):
            self.drafter = Drafter(model, self.runner, graphs=self.graphs)
        # What runs and, for what does not, why not.
        self.provenance = {
            "kernels": _describe_kernels(obstacle, packs),
            "graphs": self._describe_graphs(graphs),
            "drafts": "as long as they pay" if self.drafter else "none",
            "torch_compile": "not used: Llama's steps are fused by this package's own kernels, "
            "and vision is a tenth of the arithmetic",
        }
        if obstacle is not None and model.device.type != "cpu":
            log.warning("OpenVLA runs without its Triton kernels: %s", obstacle)

    def _describe_graphs(self, asked: bool | None) -> str:
        if self.graphs:
            return "CUDA graphs"
        if asked is False:
            return "none: switched off"
        return f"none: {self.device} is no CUDA device"

    @torch.inference_mode()
    def generate(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        """The same tokens as `OpenVLA.generate`, faster.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float32, on any device; uint8 sends an
                eighth of the bytes to a GPU.
            prompts: N lists of ids of any length, BOS first.
            count: tokens to generate a row.

        Returns:
            (N, count) int64 on the CPU. They do not stop at an end-of-sequence token;
            `model.tokens_after_eos` applies the rule for that.

        Raises:
            TutorialError: a prompt is longer than the model's positions, or the device's memory
                does not hold the batch.
        """
        longest = max(map(len, prompts))
        self._check_length(longest, count)
        # Triton and graphs work on the current device, which need not be the model's.
        device = torch.cuda.device(self.device) if self.on_gpu else nullcontext()
        tokens = []
        try:
            with device:
                for start in range(0, len(prompts), ROWS[-1]):
                    part = slice(start, start + ROWS[-1])
                    tokens.append(self._answer(pixels[part], prompts[part], count))
        except torch.OutOfMemoryError as e:
            rows = min(len(prompts), ROWS[-1])
            raise TutorialError(self._explain_memory(rows, longest + count)) from e
        return torch.cat(tokens)

    def act(self, pixels: Tensor, ids: Tensor, lengths: Tensor, count: int) -> Tensor:
        """From pixels to tokens, on the device, with no word from the host in between.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float32.
            ids: (N, T) int64, right-padded.
            lengths: (N,) int64.
            count: tokens to generate a row.

        Returns:
            (N, count) int64.
        """
        x = self.model.embed(self.model.embed_image(pixels), ids)
        cache = Cache.empty(
            self.model.config.llama,
            len(x),
            x.shape[1] + count,
            x,
        )
        first = self.model.config.vision.patches + lengths
        tokens = [self.runner.prefill(x, first - 1, cache).argmax(-1)]
        for step in range(count - 1):
            logits = self.runner.decode(tokens[-1], first + step, cache)
            tokens.append(logits.argmax(-1))
        return torch.stack(tokens, 1)

    def _answer(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        if self.drafter is None:
            return self._run_part(pixels, prompts, count)
        return self.drafter.answer(
            pixels,
            prompts,
            count,
            self._run_part,
        )

    def _run_part(self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
        longest = max(map(len, prompts))
        if not self.graphs:
            ids, lengths = pad(prompts, longest, self.device)
            return self.act(pixels.to(self.device), ids, lengths, count).cpu()
        given = len(prompts)
        rows = next(bucket for bucket in ROWS if bucket >= given)
        ids, lengths = pad(prompts, round_up(longest, TEXT_STEP), "cpu")
        graph = self.capture(rows, ids.shape[1], count, pixels)
        graph.pixels[:given].copy_(pixels)
        graph.ids[:given].copy_(ids)
        graph.lengths[:given].copy_(lengths)
        graph.graph.replay()
        return graph.tokens[:given].cpu()

    def capture(self, rows: int, text: int, count: int, like: Tensor) -> Captured:
        """The graph for `rows` pictures of `like`'s form × `text` prompt ids, captured once."""
        key = (rows, text, count, *like.shape[1:])
        if key not in self.captured:
            pixels = torch.zeros(
                rows,
                *like.shape[1:],
                device=self.device,
                dtype=like.dtype,
            )
            ids = torch.zeros(rows, text, device=self.device, dtype=torch.int64)
            lengths = torch.full((rows,), text, device=self.device)
            self.runner.tune(rows)
            # Compiles kernels and lets cuBLAS choose, which a capture must not do.
            self.act(pixels, ids, lengths, count)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                tokens = self.act(pixels, ids, lengths, count)
            # Graphs never run at the same time, so they share their memory.
            self.pool = graph.pool()
            self.captured[key] = Captured(graph, pixels, ids, lengths, tokens)
        return self.captured[key]

    def release(self) -> None:
        """Forget every graph and give their memory back; the next call captures anew."""
        self.captured.clear()
        self.pool = None
        if self.drafter is not None:
            self.drafter.release()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def _check_length(self, longest: int, count: int) -> None:
        config = self.model.config
        room = config.llama.max_position_embeddings - config.vision.patches - count
        if round_up(longest, TEXT_STEP) > room:
            raise TutorialError(
                f"A prompt has {longest} ids; beside the image and {count} actions there is room "
                f"for {room}. Shorten the instruction."
            )

    def _explain_memory(self, rows: int, text: int) -> str:
        nbytes = sum(p.nbytes for p in self.model.parameters())
        weights = (nbytes + quantised_bytes(self.model)) / 2**30
        extra = working_bytes(self.model, rows, text) / 2**30
        free = ""
        if self.on_gpu:
            free = f"; {torch.cuda.mem_get_info(self.device)[0] / 2**30:.1f} GiB are free now"
        return (
            f"Out of memory on {self.device}: a batch of {rows} needs about {extra:.1f} GiB beside "
            f"the weights' {weights:.1f} GiB{free}. Use a smaller batch, or free the GPU."
        )


def working_bytes(model: OpenVLA, rows: int, text: int) -> int:
    """About how many bytes a batch of `rows` × `text` ids needs beside the weights.

    These are the cache of keys and values, and the widest activations of a prefill.
    """
    llama = model.config.llama
    positions = rows * (model.config.vision.patches + text)
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


def _describe_kernels(obstacle: str | None, packs: bool) -> str:
    if obstacle is None:
        return "triton"
    products = ", products through oneDNN" if packs else ""
    return f"plain PyTorch{products}: {obstacle}"


def _make_runner(model: OpenVLA, obstacle: str | None, packs: bool) -> PlainRunner | CudaRunner:
    if obstacle is None:
        from vla_tutorial.openvla.cuda import CudaRunner

        return CudaRunner(model.language_model)
    if model.device.type != "cpu" or is_quantised(model):
        return PlainRunner(model.language_model)
    if packs:
        pack_linears(model)
    return CompactRunner(model.language_model, packs)
