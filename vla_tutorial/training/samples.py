"""What `mini` learns from: pictures with labels, on one device, growing while simulators add."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vla_tutorial.actions import ACTION_DIMENSIONS
from vla_tutorial.pixels import SIZE
from vla_tutorial.training.labels import INSTRUCTIONS, KEYPOINTS, POSITION_MEAN, Labels
from vla_tutorial.training.mini import EMPTY
from vla_tutorial.wiring import OPENVLA_TEMPLATE


class Samples:
    """Pictures and labels on a device: 151 KB a picture, so 80 GB hold some 530,000.

    Attributes:
        images: (capacity, 224, 224, 3) uint8, turned and resized, not cropped.
        instruction, bins, positions, keypoints: for each picture, as in `Labels`.
        prompts: (P, T) int64, every instruction's ids, padded on the right.
        lengths: (P,) int64, theirs without the padding.
        count: how many pictures there are; those behind it may be read at any time.
    """

    def __init__(self, capacity: int, tokenizer: Tokenizer, device: str) -> None:
        """Reserve the memory; pictures come with `append`."""
        self.device = torch.device(device)
        self.count = 0
        rows = [_prompt_ids(text, tokenizer) for text in INSTRUCTIONS]
        self.prompts = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        self.lengths = torch.tensor([len(row) for row in rows], device=device)
        self.images = torch.empty(capacity, SIZE, SIZE, 3, dtype=torch.uint8, device=device)
        self.instruction = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.bins = torch.zeros(capacity, ACTION_DIMENSIONS, dtype=torch.uint8, device=device)
        self.positions = torch.empty(capacity, len(POSITION_MEAN), device=device)
        self.keypoints = torch.empty(capacity, len(KEYPOINTS), 2, device=device)
        self._fine = torch.empty(capacity, dtype=torch.int64, device=device)
        self._fine_count = 0
        self._origin = torch.zeros(capacity, dtype=torch.int64)
        self._order: Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether no further picture has room."""
        return self.count == len(self.images)

    def append(self, images: Tensor, labels: Labels, origin: int = 0) -> None:
        """Add pictures (N, 224, 224, 3) uint8, fewer when the room ends; another thread may read.

        `settle` sorts them by `origin` (the first picture's; the rest count on), equal in all runs.
        """
        start = self.count
        end = min(start + len(images), len(self.images))
        added = end - start
        self.images[start:end] = images[:added].to(self.device)
        for name in ("instruction", "bins", "positions", "keypoints"):
            values = torch.from_numpy(getattr(labels, name)[:added])
            getattr(self, name)[start:end] = values.to(self.device)
        self._origin[start:end] = torch.arange(origin, origin + added)
        fine = torch.from_numpy(start + np.flatnonzero(labels.fine[:added])).to(self.device)
        self._fine[self._fine_count : self._fine_count + len(fine)] = fine
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        # Only now may the other thread draw them.
        self._fine_count += len(fine)
        self.count = end

    def settle(self) -> None:
        """Draw as if pictures had come by `origin`: the order of arrival differs between runs."""
        self._order = self._origin[: self.count].argsort().to(self.device)
        rank = torch.empty_like(self._order)
        rank[self._order] = torch.arange(self.count, device=self.device)
        fine = self._fine[: self._fine_count]
        self._fine[: self._fine_count] = fine[rank[fine].argsort()]

    def draw(self, batch: int, fine: float, generator: torch.Generator) -> Tensor:
        """(batch,) int64 indices, a share `fine` of them of fine work, the rest of everything."""
        chosen = self._random(self.count, batch, generator)
        if self._order is not None:
            chosen = self._order[chosen]
        if self._fine_count:
            several = int(batch * fine)
            chosen[:several] = self._fine[self._random(self._fine_count, several, generator)]
        return chosen

    def _random(self, end: int, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(end, (count,), generator=generator, device=self.device)


def _prompt_ids(instruction: str, tokenizer: Tokenizer) -> Tensor:
    """(T,) int64: an instruction in the template that `mini` is trained with."""
    ids = tokenizer.encode(OPENVLA_TEMPLATE.format(instruction=instruction)).ids
    return torch.tensor([*ids, tokenizer.token_to_id(EMPTY)])
