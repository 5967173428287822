"""How each of LIBERO's things is grasped; sizes and origins are its models'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_tutorial.policies.expert.control import nearest_yaw
from vla_tutorial.policies.expert.grasp import HOME_YAW, choose_grasp
from vla_tutorial.policies.expert.predicates import kind
from vla_tutorial.policies.expert.rims import RimGrasp
from vla_tutorial.policies.expert.situation import Parameters
from vla_tutorial.policies.expert.steering import GraspFinder, HandPose, PlaceFinder
from vla_tutorial.policies.expert.world import World

_KEPT = 64
# Metres from the middle of what is grasped.
_KNOB_RISE = np.array([0, 0, 0.005])
_HANDLE_DEPTH = np.array([0, 0, 0.002])


@dataclass(frozen=True)
class BoxGrasp:
    """Flat boxes and cans: around the middle, as in `choose_grasp`."""

    thing: str

    def __call__(self, world: World) -> HandPose:
        """The cheapest grasp's pose."""
        poses = world.reader.parts.rounded_poses(world.data)
        key = (self, poses.tobytes())
        kept = world.reader.kept
        if key not in kept:
            while len(kept) >= _KEPT:
                del kept[next(iter(kept))]
            solids = world.reader.parts.solids(poses)
            del solids["table"]
            grasp = choose_grasp(self.thing, solids, Parameters())
            along = float(np.clip(0.037 - grasp.width / 2, 0.004, 0.016))
            position = np.array([*grasp.center, grasp.height])
            kept[key] = HandPose(position, grasp.yaw, (along, 0.014, 0.010))
        found: HandPose = kept[key]
        return found


@dataclass(frozen=True)
class KnobGrasp:
    """The knob on a moka pot's lid; the pot itself is wider than the fingers open."""

    thing: str

    def __call__(self, world: World) -> HandPose:
        """5 mm over the knob's middle, at the home yaw."""
        knob = world.geom(f"{self.thing}_g16")
        return HandPose(knob.center + _KNOB_RISE, HOME_YAW, (0.014, 0.007, 0.006))


@dataclass(frozen=True)
class NeckGrasp:
    """A standing bottle, from above by its neck."""

    thing: str

    def __call__(self, world: World) -> HandPose:
        """30 mm under the top, at the home yaw."""
        solid = world.solid(self.thing)
        neck = solid.corners[solid.corners[:, 2] > solid.top - 0.02, :2]
        middle = (neck.min(0) + neck.max(0)) / 2
        position = np.array([*middle, solid.top - 0.030])
        return HandPose(position, HOME_YAW, (0.014, 0.010, 0.012))


@dataclass(frozen=True)
class BookGrasp:
    """A standing book, across its thickness, which is along its own x."""

    thing: str

    def __call__(self, world: World) -> HandPose:
        """30 mm under the top, over the middle of its box."""
        middle = world.geom(f"{self.thing}_g1").center
        axis = world.rotation(self.thing)[:, 0]
        yaw = nearest_yaw(float(np.arctan2(axis[1], axis[0])), HOME_YAW)
        position = np.array([*middle[:2], world.solid(self.thing).top - 0.030])
        return HandPose(position, yaw, (0.012, 0.015, 0.010))


@dataclass(frozen=True)
class HandleGrasp:
    """A mug's handle from above, at yaw 0, so that the palm stays outside a microwave."""

    thing: str

    def __call__(self, world: World) -> HandPose:
        """2 mm under the handle's middle."""
        handle = world.geom(f"{self.thing}_g3")
        return HandPose(handle.center - _HANDLE_DEPTH, 0.0, (0.014, 0.012, 0.010))


def grasp_of(thing: str, place: PlaceFinder | None, only: float | None = None) -> GraspFinder:
    """The grasp that a thing wants, by its kind; `only` narrows a rim's directions (radians)."""
    name = kind(thing)
    if name == "akita_black_bowl":
        return RimGrasp(thing, 0.047, 0.022, (0.016, 0.016, 0.012), only=only, place=place)
    if name == "plate":
        return RimGrasp(thing, 0.064, 0.008, (0.014, 0.016, 0.008), only=only, place=place)
    if name in _MUGS:
        radius, middle, handle = _MUGS[name]
        tolerance = (0.014, 0.014, 0.012)
        return RimGrasp(thing, radius, 0.020, tolerance, middle, only, handle, place)
    return _OTHERS.get(name, BoxGrasp)(thing)


# Of a mug's body: radius and middle in its frame, metres, and where the handle is, radians.
_MUGS = {
    "porcelain_mug": (0.040, (0.017, -0.001), np.pi),
    "red_coffee_mug": (0.030, (-0.018, 0.0), 0.0),
    "white_yellow_mug": (0.043, (-0.0185, 0.0), 0.0),
}
_OTHERS: dict[str, type[BoxGrasp | KnobGrasp | NeckGrasp | BookGrasp]] = {
    "moka_pot": KnobGrasp,
    "wine_bottle": NeckGrasp,
    "black_book": BookGrasp,
}
