"""Where the things of a goal go: on a plate, a stove, a cabinet, or into a drawer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.policies.expert.parts import TABLE
from vla_tutorial.policies.expert.predicates import kind, parent
from vla_tutorial.policies.expert.steering import Place
from vla_tutorial.policies.expert.world import World

# Metres from a support's origin up to where a thing's lowest point goes, by the thing's kind or by
# the end of the region's name.
_SURFACE = {
    "plate": 0.012,
    "akita_black_bowl": 0.026,
    "cook_region": 0.029,
    "top_side": 0.006,
    "rack_1_top_region": 0.001,
}
# Where the region's middle would be under the middle of the gap over a top drawer: metres that its
# slide is drawn out. The gap is 13 mm narrower than that slide, its front wall 76 mm from there.
_GAP_CLOSED = 0.165
# Metres from the table.
_ON_TABLE = 0.003


@dataclass(frozen=True)
class OnTop:
    """On a thing or on a region of one, upright."""

    thing: str
    support: str
    # Metres from the support's middle, world x and y.
    shift: tuple[float, float] = (0.0, 0.0)
    # Metres that the thing is lifted over its place on the way.
    lift: float = 0.07
    tolerance: float = 0.012

    def __call__(self, world: World) -> Place:
        """The place for the thing's origin."""
        base = _middle(world, self.support) + np.array([*self.shift, 0.0])
        below = world.position(self.thing)[2] - world.solid(self.thing).bottom
        if self.support not in world.reader.things and parent(world, self.support) is None:
            base[2] = world.solid(TABLE).top + _ON_TABLE
        else:
            base[2] += _surface(self.support)
        position = base + np.array([0, 0, below])
        return Place(position, position[2] + self.lift, self.tolerance)


@dataclass(frozen=True)
class Inside:
    """Inside a region, at a given offset of the thing's origin from the region's middle."""

    region: str
    shift: tuple[float, float, float]
    lift: float
    tolerance: float = 0.012
    yaw: float | None = None
    lowering: tuple[float, float] = (0.05, 0.015)
    entered: str | None = None
    # A geom of the thing whose middle, not the thing's origin, goes over the region's.
    centered: str | None = None

    def __call__(self, world: World) -> Place:
        """The place for the thing's origin."""
        position = world.site(self.region).center + np.array(self.shift)
        if self.centered is not None:
            thing = self.centered.rpartition("_")[0]
            position[:2] -= (world.geom(self.centered).center - world.position(thing))[:2]
        via = position[2] + self.lift
        return Place(
            position,
            via,
            self.tolerance,
            yaw=self.yaw,
            lowering=self.lowering,
            entered=self.entered,
        )


@dataclass(frozen=True)
class InTopDrawer:
    """Through the gap between a cabinet's top and the front of its open top drawer."""

    region: str
    # The drawer's slide.
    joint: str

    def __call__(self, world: World) -> Place:
        """The place for the thing's origin."""
        slide = world.joint(self.joint)
        # The gap's middle; its front wall stands 76 mm before the region's, the slide at 0.
        ahead = max(0.5 * (_GAP_CLOSED + slide.value), 0.0)
        position = world.site(self.region).center - ahead * slide.axis
        position[2] -= 0.024
        return Place(position, position[2] + 0.09, tolerance=0.015)


def _middle(world: World, support: str) -> Floats:
    if support in world.reader.things:
        return world.position(support)
    return world.site(support).center


def _surface(support: str) -> float:
    for end, height in _SURFACE.items():
        if support.endswith(end) or kind(support) == end:
            return height
    return np.nan
