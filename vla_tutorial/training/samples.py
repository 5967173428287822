"""What `mini` learns from: pictures with labels, on one device, growing while simulators add to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vla_tutorial.pixels import SIZE
from vla_tutorial.training.keypoints import THINGS
from vla_tutorial.training.labels import INSTRUCTIONS, POSITION_MEAN, Labels
from vla_tutorial.training.mini import EMPTY
from vla_tutorial.wiring import OPENVLA_TEMPLATE


def prompt_ids(instructions: Sequence[str], tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Instructions in the trained template → ids (P, T) int64, padded on the right, and lengths (P,)."""
    empty = tokenizer.token_to_id(EMPTY)
    rows = [
        [*tokenizer.encode(OPENVLA_TEMPLATE.format(instruction=text)).ids, empty]
        for text in instructions
    ]
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows]), torch.tensor(
        [len(row) for row in rows]
    )


class Samples:
    """Pictures and labels on a device: 151 KB a picture, so 80 GB hold some 530,000.

    Attributes:
        images: (capacity, 224, 224, 3) uint8, turned and resized, not cropped.
        prompts, lengths: every instruction's ids (P, T), padded on the right, and their lengths (P,).
        count: how many pictures there are; those behind it may be read at any time.
    """

    def __init__(self, capacity: int, tokenizer: Tokenizer, device: torch.device | str) -> None:
        """Reserve the memory; pictures come with `append`."""
        self.device, self.count, self._fine_count = torch.device(device), 0, 0
        self._order: Tensor | None = None
        self.prompts, self.lengths = (t.to(device) for t in prompt_ids(INSTRUCTIONS, tokenizer))
        self.images = torch.empty(capacity, SIZE, SIZE, 3, dtype=torch.uint8, device=device)
        self.instruction = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.bins = torch.zeros(capacity, 7, dtype=torch.uint8, device=device)
        self.positions = torch.empty(capacity, len(POSITION_MEAN), device=device)
        self.places = torch.empty(capacity, len(THINGS), 2, device=device)
        self._fine = torch.empty(capacity, dtype=torch.int64, device=device)
        self._origin = torch.zeros(capacity, dtype=torch.int64)

    def __len__(self) -> int:
        return self.count

    @property
    def full(self) -> bool:
        """Whether no further picture has room."""
        return self.count == len(self.images)

    def append(self, images: Tensor, labels: Labels, origin: int = 0) -> None:
        """Add N pictures (N, 224, 224, 3) uint8, fewer when the room ends. One thread may add while another reads.

        Args:
            origin: a number by which `settle` sorts, the same in every run, for the first of them; the rest count on from it.
        """
        start = self.count
        end = min(start + len(images), len(self.images))
        self.images[start:end] = images[: end - start].to(self.device)
        for f in fields(labels):
            if f.name != "fine":
                getattr(self, f.name)[start:end] = torch.from_numpy(
                    getattr(labels, f.name)[: end - start]
                ).to(self.device)
        self._origin[start:end] = torch.arange(origin, origin + end - start)
        fine = torch.from_numpy(start + np.flatnonzero(labels.fine[: end - start])).to(self.device)
        self._fine[self._fine_count : self._fine_count + len(fine)] = fine
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self._fine_count += len(fine)
        self.count = end

    def settle(self) -> None:
        """Forget the order in which pictures arrived, which differs from run to run: draw as if they had come in the order of their origins."""
        self._order = self._origin[: self.count].argsort().to(self.device)
        rank = torch.empty_like(self._order)
        rank[self._order] = torch.arange(self.count, device=self.device)
        fine = self._fine[: self._fine_count]
        self._fine[: self._fine_count] = fine[rank[fine].argsort()]

    def draw(self, batch: int, fine: float, generator: torch.Generator) -> Tensor:
        """(batch,) int64 indices, a share `fine` of them from fine work, the rest from everything."""
        several = int(batch * fine) if self._fine_count else 0
        chosen = torch.randint(self.count, (batch,), generator=generator, device=self.device)
        if self._order is not None:
            chosen = self._order[chosen]
        if several:
            chosen[:several] = self._fine[
                torch.randint(self._fine_count, (several,), generator=generator, device=self.device)
            ]
        return chosen
