"""What `mini` learns from: pictures with labels, on one device, growing while simulators add."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vla_tutorial.actions import ACTION_DIMENSIONS
from vla_tutorial.pixels import SIZE
from vla_tutorial.training.labels import KEYPOINTS, POSITION_MEAN, Labels
from vla_tutorial.training.mini import EMPTY
from vla_tutorial.training.sentences import families
from vla_tutorial.wiring import OPENVLA_TEMPLATE

PUBLISHED_SHARE = 0.35
"""Share of the samples that are learned with the published sentence."""


class Prompts:
    """Every sentence of every family as token ids, on a device.

    Attributes:
        ids: (P, T) int64, padded on the right.
        lengths: (P,) int64, theirs without the padding.
    """

    def __init__(self, tokenizer: Tokenizer, device: str | torch.device) -> None:
        rows = []
        counts = []
        for sentences in families():
            rows += [_prompt_ids(text, tokenizer) for text in sentences]
            counts.append(len(sentences))
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        self.ids = ids.to(device)
        self.lengths = torch.tensor([len(row) for row in rows], device=device)
        self._counts = torch.tensor(counts, device=device)
        self._first = self._counts.cumsum(0) - self._counts

    def rows(self, family: Tensor, wording: Tensor) -> Tensor:
        """Which sentence of a family a wording is.

        Args:
            family: (N,) int64.
            wording: (N,) float32, 0 … 1; 0 is the published sentence.

        Returns:
            (N,) int64 rows of `ids`.
        """
        counts = self._counts[family]
        within = (wording * counts).long().minimum(counts - 1)
        return self._first[family] + within

    def draw(self, family: Tensor, deaf: float = 0.0) -> Tensor:
        """Draw a sentence for each sample, the published one of its family more often.

        Args:
            family: (N,) int64.
            deaf: share of the samples that get a sentence of any family, so that words tell less.

        Returns:
            (N,) int64 rows of `ids`.
        """
        shape = family.shape
        device = family.device
        if deaf:
            ignored = torch.rand(shape, device=device) < deaf
            any_family = torch.randint(len(self._counts), shape, device=device)
            family = torch.where(ignored, any_family, family)
        wording = torch.rand(shape, device=device)
        published = torch.rand(shape, device=device) < PUBLISHED_SHARE
        return self.rows(family, wording.masked_fill(published, 0.0))


class Samples:
    """Pictures and labels on a device: 151 KB a picture, so 80 GB hold some 500,000.

    When it is full, new pictures take the place of the oldest.

    Attributes:
        images: (capacity, 224, 224, 3) uint8, turned and resized, not cropped.
        family, bins, positions, keypoints: for each picture, as in `Labels`.
        fine: the same, but on the CPU.
        prompts: the sentences of the families.
        count: how many pictures there are; those behind it may be read at any time.
        added: how many were ever added.

    What is drawn is chosen on the host: a question to the GPU would hold up the fit at every step.
    """

    def __init__(self, capacity: int, tokenizer: Tokenizer, device: str) -> None:
        """Reserve the memory; pictures come with `append`."""
        self.device = torch.device(device)
        self.added = 0
        self.prompts = Prompts(tokenizer, device)
        self.images = torch.empty(
            capacity,
            SIZE,
            SIZE,
            3,
            dtype=torch.uint8,
            device=device,
        )
        self.family = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.bins = torch.zeros(capacity, ACTION_DIMENSIONS, dtype=torch.uint8, device=device)
        # Warming up reads them: what is not finite there would spoil the weights.
        self.positions = torch.zeros(capacity, len(POSITION_MEAN), device=device)
        self.keypoints = torch.zeros(capacity, len(KEYPOINTS), 2, device=device)
        self.fine = torch.zeros(capacity, dtype=torch.bool)
        self._origin = torch.zeros(capacity, dtype=torch.int64)
        self._order: Tensor | None = None

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return min(self.added, len(self.images))

    def append(self, images: Tensor, labels: Labels, origin: int = 0) -> None:
        """Add pictures; another thread may read.

        Args:
            images: (N, 224, 224, 3) uint8, on any device.
            labels: theirs.
            origin: the first one's number for `settle`, equal in all runs; the rest count on.
        """
        capacity = len(self.images)
        if len(images) > capacity:
            # Of more than there is room for, the newest.
            left_out = len(images) - capacity
            origin += left_out
            images, labels = images[left_out:], labels[np.arange(left_out, len(labels))]
        count = len(images)
        at = (self.added + torch.arange(count)) % capacity
        self._origin[at] = torch.arange(origin, origin + count)
        self.fine[at] = torch.from_numpy(labels.fine)
        at = at.to(self.device)
        self.images[at] = images.to(self.device)
        for name in ("family", "bins", "positions", "keypoints"):
            values = torch.from_numpy(getattr(labels, name))
            getattr(self, name)[at] = values.to(self.device)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        # Only now may the other thread draw them.
        self.added += count

    def settle(self) -> None:
        """Draw as if pictures had come by `origin`: the order of arrival differs between runs."""
        self._order = self._origin[: self.count].argsort()

    def draw(self, batch: int, fine: float, generator: torch.Generator) -> Tensor:
        """Choose samples at random, a share `fine` of them of fine work, the rest of everything.

        `generator` is on the CPU. Returns (batch,) int64, indices on the samples' device.
        """
        # Another thread may add some meanwhile.
        count = self.count
        chosen = torch.randint(count, (batch,), generator=generator)
        is_fine = self.fine[:count]
        if self._order is not None:
            chosen = self._order[chosen]
            is_fine = is_fine[self._order]
        numbers = is_fine.nonzero()[:, 0]
        if len(numbers):
            several = int(batch * fine)
            drawn = numbers[torch.randint(len(numbers), (several,), generator=generator)]
            chosen[:several] = drawn if self._order is None else self._order[drawn]
        return chosen.to(self.device, non_blocking=True)


def _prompt_ids(instruction: str, tokenizer: Tokenizer) -> Tensor:
    """(T,) int64: an instruction in the template that `mini` is trained with."""
    ids = tokenizer.encode(OPENVLA_TEMPLATE.format(instruction=instruction)).ids
    return torch.tensor([*ids, tokenizer.token_to_id(EMPTY)])
