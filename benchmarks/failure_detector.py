"""A published failure detector that a log suffices for, to compare `boundaries.py` with.

FAIL-Detect (Xu et al. 2025, arXiv:2503.08558) makes a scalar score of each step and raises an alarm
where it leaves a band that functional conformal prediction has calibrated on successes. Of its
scores, this is the simplest: how far the step's observation is from what successes show (PCA and
k-means; distance from the nearest centre). Here the observation is what a log has of it, in place of
an embedding: brightness of quarters and channels, sharpness, the hand, the fingers.

It answers another question: *will this episode fail?* It names no boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2

from vla_tutorial.log import Log

COMPONENTS = 6
CENTRES = 32


def features(log: Log) -> np.ndarray:
    """(T, 12) what a log has of each observation; formats without channels are not taken."""
    sharpness = log.sharpness[:, None]
    fingers = log.fingers[:, None]
    return np.hstack([log.quarters, log.channels, sharpness, log.eef_pos, fingers])


@dataclass(frozen=True)
class Detector:
    """A score, and the band that it must not leave."""

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    centres: np.ndarray
    band: np.ndarray  # (T,) the highest normal score of each step

    def score(self, log: Log) -> np.ndarray:
        """(T,) distance of each step from the nearest centre."""
        points = ((features(log) - self.mean) / self.scale) @ self.axes
        return np.linalg.norm(points[:, None] - self.centres, axis=2).min(axis=1)

    def alarm(self, log: Log) -> int | None:
        """The first step whose score is above the band, or None."""
        steps = min(len(log), len(self.band))
        above = self.score(log)[:steps] > self.band[:steps]
        return int(above.argmax()) if above.any() else None


def fit(successes: Sequence[Log], calibration: Sequence[Log], alpha: float) -> Detector:
    """Learn what is normal from `successes`, and a band that holds 1 − alpha of `calibration`.

    Half of `calibration` gives the band's mean and width at each step, the other half how many
    widths it must be wide (one-sided; Diquigiovanni et al. 2022, as FAIL-Detect takes it).
    """
    steps = min(map(len, calibration))
    seen = np.vstack([features(log)[:steps] for log in successes])
    mean = seen.mean(axis=0)
    scale = seen.std(axis=0) + 1e-6
    _, _, axes = np.linalg.svd((seen - mean) / scale, full_matrices=False)
    axes = axes[:COMPONENTS].T
    points = ((seen - mean) / scale) @ axes
    centres, _ = kmeans2(points, CENTRES, minit="++", seed=0)
    open_ended = Detector(mean, scale, axes, centres, np.full(steps, np.inf))
    scores = np.array([open_ended.score(log)[:steps] for log in calibration])
    half = len(scores) // 2
    middle = scores[:half].mean(axis=0)
    width = scores[:half].std(axis=0) + 1e-6
    widths = ((scores[half:] - middle) / width).max(axis=1)
    rank = int(np.ceil((1 - alpha) * (len(widths) + 1))) - 1
    bound = np.sort(widths)[min(rank, len(widths) - 1)]
    return Detector(mean, scale, axes, centres, middle + bound * width)
