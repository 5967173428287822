"""How often a checkpoint repeats itself, which is what drafts of an action's tokens live on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from vla_tutorial.arrays import Ints
from vla_tutorial.log import read_log
from vla_tutorial.openvla.drafts.sources import SOURCES

SOURCE = "previous"
"""Where the engine's drafts come from (`openvla.drafts.sources`)."""


class Drafts(msgspec.Struct, frozen=True):
    """What drafts save, counted from recorded episodes.

    Attributes:
        passes: an action's, in the mean; without drafts it has one a token less one.
        right: for each token of an action, the share of drafts that were right.
    """

    episodes: int
    steps: int
    passes: float
    right: list[float]


def count_drafts(folders: Iterable[Path]) -> Drafts | None:
    """Count over the episodes in these folders; None where none has two steps."""
    right: list[Ints] = []
    for folder in folders:
        tokens = read_log(folder).tokens
        if len(tokens) > 1:
            right.append(_right(tokens))
    if not right:
        return None
    together = np.concatenate(right)
    # A draft's last token is not verified: the pass before it yields that one anyway.
    passes = (together[:, :-1] == 0).sum(1).mean()
    share = [round(float(value), 4) for value in together.mean(0)]
    return Drafts(len(right), len(together), round(float(passes), 3), share)


def _right(tokens: Ints) -> Ints:
    source = SOURCES[SOURCE]
    drafts = np.stack([source(tokens[: t + 1]) for t in range(len(tokens) - 1)])
    right: Ints = (drafts == tokens[1:]).astype(np.int64)
    return right
