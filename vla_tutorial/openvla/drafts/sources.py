"""Guesses of an action's tokens, which the prefill verifies, and whether guessing pays.

A draft changes how long an answer takes, never its tokens: `drafted.py` keeps only what greedy
decoding itself would have chosen. So a draft may come from anywhere. An arm repeats itself from
step to step, and a policy's server sees many arms in any order: a row's past is therefore looked up
by its prompt and by the remembered picture that is most like its own.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from vla_tutorial.arrays import Floats, Ints

# Actions remembered a prompt, over all episodes: half a minute of 32 arms.
REMEMBERED = 512
# Actions of one episode that a source looks back on.
HISTORY = 32
# Every sixteenth pixel of a picture is compared: 14 × 14 of 224 × 224.
STRIDE = 16
# Prompts that are remembered; a suite has ten.
PROMPTS = 64

# An episode's actions so far, (T, D) int64 ids, T ≥ 1 → a guess of the next, (D,) int64.
Source = Callable[[Ints], Ints]


def previous(history: Ints) -> Ints:
    """The last action again."""
    last: Ints = history[-1]
    return last


def mean_motion(history: Ints, steps: int = 4) -> Ints:
    """The mean of the last actions in bins; the gripper's last value, which knows no middle."""
    guess: Ints = np.rint(history[-steps:].mean(0)).astype(np.int64)
    guess[-1] = history[-1, -1]
    return guess


def extrapolated(history: Ints) -> Ints:
    """The last action and the change that led to it; the gripper's last value."""
    if len(history) < 2:
        return previous(history)
    guess: Ints = 2 * history[-1] - history[-2]
    guess[-1] = history[-1, -1]
    return guess


def followed(history: Ints) -> Ints:
    """What followed the last time that the episode did nearly the same (an n-gram of one action).

    The action before it that is nearest, by the sum of differences in bins; the later of equals.
    """
    if len(history) < 3:
        return previous(history)
    distance = np.abs(history[:-1] - history[-1]).sum(1)
    nearest = len(distance) - 1 - int(distance[::-1].argmin())
    after: Ints = history[nearest + 1]
    return after


SOURCES: Mapping[str, Source] = {
    "previous": previous,
    "mean_motion": mean_motion,
    "extrapolated": extrapolated,
    "followed": followed,
}


@dataclass(frozen=True)
class _Past:
    """A picture's sample of pixels, and the actions of its episode up to that picture's."""

    sample: Floats
    actions: Ints


@dataclass
class Memory:
    """What was answered, by prompt: where drafts come from.

    Attributes:
        source: makes a draft of an episode's past actions.
    """

    source: Source = previous
    _pasts: dict[tuple[int, ...], deque[_Past]] = field(default_factory=dict)

    def propose(self, pixels: Tensor, prompts: Sequence[Sequence[int]]) -> list[Ints | None]:
        """A draft for each row: (D,) int64 ids, or None where nothing is remembered.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 6, S, S) float32.
            prompts: N lists of ids.
        """
        samples = _samples(pixels)
        pasts = map(self._nearest, prompts, samples)
        return [None if past is None else self.source(past.actions) for past in pasts]

    def remember(self, pixels: Tensor, prompts: Sequence[Sequence[int]], tokens: Tensor) -> None:
        """Keep what was answered: `tokens` (N, D) int64 on the CPU."""
        samples = _samples(pixels)
        # All are looked up before any is added: two rows of a batch are two arms.
        pasts = list(map(self._nearest, prompts, samples))
        rows = zip(prompts, samples, pasts, tokens.numpy(), strict=True)
        for prompt, sample, past, action in rows:
            actions = action[None].copy()
            if past is not None and past.actions.shape[1] == len(action):
                actions = np.concatenate([past.actions, actions])[-HISTORY:]
            self._of(prompt).append(_Past(sample, actions))

    def _of(self, prompt: Sequence[int]) -> deque[_Past]:
        key = tuple(prompt)
        if key not in self._pasts and len(self._pasts) >= PROMPTS:
            del self._pasts[next(iter(self._pasts))]
        return self._pasts.setdefault(key, deque(maxlen=REMEMBERED))

    def _nearest(self, prompt: Sequence[int], sample: Floats) -> _Past | None:
        pasts = self._pasts.get(tuple(prompt))
        if not pasts:
            return None
        # The newest first, so that it is taken where pictures are equally near.
        newest = [past for past in reversed(pasts) if past.sample.shape == sample.shape]
        if not newest:
            return None
        distance = np.abs(np.stack([past.sample for past in newest]) - sample).sum(1)
        return newest[int(distance.argmin())]


def _samples(pixels: Tensor) -> Floats:
    """(N, K) float64: some pixels of each picture, whatever its form."""
    thinned = pixels[:, ::STRIDE, ::STRIDE]
    if pixels.shape[-1] != 3:
        thinned = pixels[..., ::STRIDE, ::STRIDE]
    samples: Floats = thinned.flatten(1).cpu().numpy().astype(np.float64)
    return samples


class Payoff:
    """Whether drafts pay for one batch size, by the clock: the faster way is taken.

    Each way is tried a few times at first, and the slower one again from time to time, since a
    policy may repeat itself more in another task.
    """

    PROBES = 8
    AGAIN = 200

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.seconds = {way: deque[float](maxlen=self.PROBES) for way in (True, False)}
        self.calls = 0

    def choose(self) -> bool:
        """Whether the next answer is to use drafts."""
        self.calls += 1
        for way in (True, False):
            if len(self.seconds[way]) < self.PROBES:
                return way
        return self.pays() != (self.calls % self.AGAIN == 0)

    def pays(self) -> bool:
        """Whether drafts were faster lately; true as long as either way lacks answers."""
        if not all(len(times) == self.PROBES for times in self.seconds.values()):
            return True
        return statistics.median(self.seconds[True]) < statistics.median(self.seconds[False])

    def add(self, drafted: bool, seconds: float) -> None:
        """Tell how long an answer took."""
        self.seconds[drafted].append(seconds)
