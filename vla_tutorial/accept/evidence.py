"""What a run has measured so far, for those who judge it and those who show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vla_tutorial.accept.budget import Pace
from vla_tutorial.accept.rows import Row
from vla_tutorial.accept.stages import OBJECT
from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.stats import Paired, Rate, paired, rate
from vla_tutorial.stats.pairs import Start


@dataclass(frozen=True)
class Evidence:
    """Everything that claims are judged by.

    Attributes:
        rows: episodes of finished rounds.
        pace: how fast the machine is.
        gpu: the device's name.
        checks: what was measured before the episodes, by name (`checks`).
    """

    rows: Sequence[Row]
    pace: Pace | None
    gpu: str
    checks: Mapping[str, Any]

    def of(self, condition: str, suite: str = OBJECT) -> list[Row]:
        """Episodes of a condition that ended in success or failure."""
        return [
            row
            for row in self.rows
            if row.condition == condition and row.suite == suite and row.success is not None
        ]

    def rate(self, condition: str, suite: str = OBJECT) -> Rate | None:
        """Their success rate; None without any."""
        found = self.of(condition, suite)
        return rate(sum(bool(row.success) for row in found), len(found)) if found else None

    def against_published(self, condition: str) -> Paired | None:
        """A condition against the published run from the same starts; None without such starts."""
        starts = {(row.task, row.init) for row in self.of(condition)}
        published = [row for row in self.of(PUBLISHED) if (row.task, row.init) in starts]
        return paired(_outcomes(published), _outcomes(self.of(condition))) if published else None


def _outcomes(rows: Sequence[Row]) -> dict[Start, bool]:
    return {(row.task, row.init): bool(row.success) for row in rows}
