"""What `mini` learns from: pictures with labels, on one device, growing while simulators add."""

from __future__ import annotations

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
        """(N,) int64 rows of `ids`: families (N,) int64 in the wordings (N,) float32, 0 … 1.

        Wording 0 is the published sentence.
        """
        counts = self._counts[family]
        within = (wording * counts).long().minimum(counts - 1)
        return self._first[family] + within

    def draw(self, family: Tensor) -> Tensor:
        """Rows as `rows` gives them, in random wordings; the published one more often."""
        shape = family.shape
        wording = torch.rand(shape, device=family.device)
        published = torch.rand(shape, device=family.device) < PUBLISHED_SHARE
        return self.rows(family, wording.masked_fill(published, 0.0))


class Samples:
    """Pictures and labels on a device: 151 KB a picture, so 80 GB hold some 500,000.

    When it is full, new pictures take the place of the oldest.

    Attributes:
        images: (capacity, 224, 224, 3) uint8, turned and resized, not cropped.
        family, bins, positions, keypoints: for each picture, as in `Labels`.
        prompts: the sentences of the families.
        count: how many pictures there are; those behind it may be read at any time.
        added: how many were ever added.
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
        self.positions = torch.empty(capacity, len(POSITION_MEAN), device=device)
        self.keypoints = torch.empty(capacity, len(KEYPOINTS), 2, device=device)
        self.fine = torch.zeros(capacity, dtype=torch.bool, device=device)
        self._origin = torch.zeros(capacity, dtype=torch.int64)
        self._order: Tensor | None = None

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return min(self.added, len(self.images))

    def append(self, images: Tensor, labels: Labels, origin: int = 0) -> None:
        """Add pictures (N, 224, 224, 3) uint8; another thread may read.

        `settle` sorts them by `origin` (the first picture's; the rest count on), equal in all runs.
        """
        capacity = len(self.images)
        count = len(images)
        at = (self.added + torch.arange(count)) % capacity
        self._origin[at] = torch.arange(origin, origin + count)
        at = at.to(self.device)
        self.images[at] = images.to(self.device)
        for name in ("family", "bins", "positions", "keypoints", "fine"):
            values = torch.from_numpy(getattr(labels, name))
            getattr(self, name)[at] = values.to(self.device)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        # Only now may the other thread draw them.
        self.added += count

    def settle(self) -> None:
        """Draw as if pictures had come by `origin`: the order of arrival differs between runs."""
        self._order = self._origin[: self.count].argsort().to(self.device)

    def draw(self, batch: int, fine: float, generator: torch.Generator) -> Tensor:
        """(batch,) int64 indices, a share `fine` of them of fine work, the rest of everything."""
        chosen = self._random(self.count, batch, generator)
        is_fine = self.fine[: self.count]
        if self._order is not None:
            chosen = self._order[chosen]
            is_fine = is_fine[self._order]
        numbers = is_fine.nonzero()[:, 0]
        if len(numbers):
            several = int(batch * fine)
            drawn = numbers[self._random(len(numbers), several, generator)]
            chosen[:several] = drawn if self._order is None else self._order[drawn]
        return chosen

    def _random(self, end: int, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(end, (count,), generator=generator, device=self.device)


def _prompt_ids(instruction: str, tokenizer: Tokenizer) -> Tensor:
    """(T,) int64: an instruction in the template that `mini` is trained with."""
    ids = tokenizer.encode(OPENVLA_TEMPLATE.format(instruction=instruction)).ids
    return torch.tensor([*ids, tokenizer.token_to_id(EMPTY)])
