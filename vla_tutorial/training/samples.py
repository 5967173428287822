"""What `mini` learns from: pictures with labels, on one device, growing while simulators add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vla_tutorial.actions import ACTION_DIMENSIONS
from vla_tutorial.pixels import SIZE
from vla_tutorial.training.keypoints import KEYPOINTS
from vla_tutorial.training.labels import INSTRUCTIONS, POSITION_MEAN, Labels
from vla_tutorial.training.mini import EMPTY
from vla_tutorial.wiring import OPENVLA_TEMPLATE


def prompt_ids(instructions: Sequence[str], tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Instructions in the trained template → ids (P, T), padded on the right, and lengths (P,)."""
    empty = tokenizer.token_to_id(EMPTY)
    rows = []
    for text in instructions:
        prompt = OPENVLA_TEMPLATE.format(instruction=text)
        rows.append(torch.tensor([*tokenizer.encode(prompt).ids, empty]))
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


class Samples:
    """Pictures and labels on a device: 151 KB a picture, so 80 GB hold some 530,000.

    Attributes:
        images: (capacity, 224, 224, 3) uint8, turned and resized, not cropped.
        instruction, bins, positions, keypoints: for each picture, as in `Labels`.
        prompts: (P, T) int64, every instruction's ids, padded on the right.
        lengths: (P,) int64, theirs without the padding.
        count: how many pictures there are; those behind it may be read at any time.
    """

    def __init__(self, capacity: int, tokenizer: Tokenizer, device: torch.device | str) -> None:
        """Reserve the memory; pictures come with `append`."""
        self.device = torch.device(device)
        self.count = 0
        prompts, lengths = prompt_ids(INSTRUCTIONS, tokenizer)
        self.prompts = prompts.to(device)
        self.lengths = lengths.to(device)
        self.images = torch.empty(capacity, SIZE, SIZE, 3, dtype=torch.uint8, device=device)
        self.instruction = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.bins = torch.zeros(capacity, ACTION_DIMENSIONS, dtype=torch.uint8, device=device)
        self.positions = torch.empty(capacity, len(POSITION_MEAN), device=device)
        self.keypoints = torch.empty(capacity, len(KEYPOINTS), 2, device=device)
        self._fine = torch.empty(capacity, dtype=torch.int64, device=device)
        self._fine_count = 0
        self._origin = torch.zeros(capacity, dtype=torch.int64)
        self._order: Tensor | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def full(self) -> bool:
        """Whether no further picture has room."""
        return self.count == len(self.images)

    def append(self, images: Tensor, labels: Labels, origin: int = 0) -> None:
        """Add pictures (N, 224, 224, 3) uint8, fewer when the room ends.

        One thread may add while another reads. `origin` is a number by which `settle` sorts, the
        same in every run: the first picture's; the rest count on from it.
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
        """Draw from now on as if the pictures had come in the order of their origins.

        The order in which they did come differs from run to run.
        """
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
        several = int(batch * fine) if self._fine_count else 0
        if several:
            chosen[:several] = self._fine[self._random(self._fine_count, several, generator)]
        return chosen

    def _random(self, end: int, count: int, generator: torch.Generator) -> Tensor:
        """(count,) int64, 0 … end − 1."""
        return torch.randint(end, (count,), generator=generator, device=self.device)
