"""The policy in training as simulators ask it: a copy in the type that it ships in."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import torch
from torch import Tensor

from vla_tutorial.actions import ACTION_DIMENSIONS, N_BINS
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.pixels import SIZE
from vla_tutorial.training.augment import center_crop
from vla_tutorial.training.samples import Prompts

SIZES = (8, 24, 48)
"""Batches are filled up to one of these, each with a CUDA graph of its own."""


class InferenceCopy:
    """Greedy answers, on `device`, of a model whose weights are refreshed while it is asked."""

    def __init__(self, model: OpenVLA, prompts: Prompts, device: str) -> None:
        """Copy a model: to bfloat16 on a GPU, float32 on a CPU.

        Args:
            model: whose weights; it stays where it is.
            prompts: the sentences, on `device`.
            device: where to answer.
        """
        self.device = torch.device(device)
        gpu = self.device.type == "cuda"
        copied = copy.deepcopy(model).to(self.device, torch.bfloat16 if gpu else torch.float32)
        self.model = copied.eval().requires_grad_(False)
        self.prompts = prompts
        # No graphs of the engine's: those captured here hold the crop too.
        self._engine = Engine(self.model, kernels=False, graphs=False)
        self._lock = threading.Lock()
        self._graphs = {size: self._capture(size) for size in SIZES} if gpu else {}

    def refresh(self, model: OpenVLA) -> None:
        """Take over the present weights."""
        with self._lock, torch.no_grad():
            torch._foreach_copy_(list(self.model.parameters()), list(model.parameters()))
            if self._graphs:
                torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:
        """Answer greedily.

        Args:
            images: (N, 224, 224, 3) uint8, not cropped.
            rows: (N,) int64, of the prompts.

        Returns:
            (N, 7) int64 bins, 0 … 255, on the CPU.
        """
        with self._lock:
            if not self._graphs:
                return self._bins(images, rows)
            answers = []
            for start in range(0, len(images), SIZES[-1]):
                part = slice(start, start + SIZES[-1])
                size = next(s for s in SIZES if s >= len(images[part]))
                answers.append(self._graphs[size](images[part], rows[part]))
            return torch.cat(answers)

    def _bins(self, images: Tensor, rows: Tensor) -> Tensor:
        ids = self.prompts.ids[rows]
        lengths = self.prompts.lengths[rows]
        tokens = self._engine.act(center_crop(images), ids, lengths, ACTION_DIMENSIONS)
        # As `actions.token_bins`, in the model's own, smaller vocabulary.
        return (self.model.config.vocabulary - 1 - tokens).clamp(0, N_BINS - 1)

    def _capture(self, size: int) -> Callable[[Tensor, Tensor], Tensor]:
        """A CUDA graph for `size` pictures."""
        images = torch.zeros(
            size,
            SIZE,
            SIZE,
            3,
            dtype=torch.uint8,
            device=self.device,
        )
        rows = torch.zeros(size, dtype=torch.int64, device=self.device)
        with torch.cuda.device(self.device), torch.inference_mode():
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._bins(images, rows)
            side.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = self._bins(images, rows)

        def run(new_images: Tensor, new_rows: Tensor) -> Tensor:
            n = len(new_images)
            with torch.cuda.device(self.device):
                images[:n].copy_(new_images, non_blocking=True)
                rows[:n].copy_(new_rows, non_blocking=True)
                graph.replay()
                return out[:n].cpu()

        return run
