"""What the skills read of a state: hand, things, fixtures, contacts. Metres, world frame (z up)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_tutorial.arrays import Bools, Floats
from vla_tutorial.policies.base import PrivilegedState
from vla_tutorial.policies.expert.geometry import Solid
from vla_tutorial.policies.expert.parts import TABLE, Obstacles, Parts
from vla_tutorial.policies.expert.scene import HandReader
from vla_tutorial.policies.expert.situation import Grip, Hand
from vla_tutorial.sim.rotations import norm

if TYPE_CHECKING:
    import mujoco

# Fingers that are farther open than this hold nothing.
_HELD_OPENING = 0.078
# Contacts farther apart than this do not press.
_PRESSING = 0.001
# Metres of air between a held thing and the fingers.
_NO_AIR = 0.0015
# Metres from a thing's origin to fingers that hold it.
_IN_REACH = 0.25
_FREE_JOINT = 0
# Metres by which a way out toward the robot may be longer.
_TOWARD_ROBOT = 0.03


@dataclass(frozen=True)
class Box:
    """A box at a pose: a site that LIBERO calls a region, or one geom."""

    # (3,), (3, 3) and (3,).
    center: Floats
    rotation: Floats
    half_size: Floats


@dataclass(frozen=True)
class Joint:
    """A fixture's joint: a drawer's slide, a knob's or a door's hinge."""

    value: float
    # (3,) a point on the axis, and its direction.
    anchor: Floats
    axis: Floats


class WorldReader:
    """Ids and shapes of one model, looked up once; `read` turns its states into a `World`."""

    def __init__(self, model: mujoco.MjModel, things: Mapping[str, int]) -> None:
        """Look up names and shapes; a KeyError where the model has no Panda gripper."""
        self.things = dict(things)
        self.hand = HandReader(model)
        self.parts = Parts.from_model(model, things)
        self.movable = [n for n, body in things.items() if _is_movable(model, body)]
        # (bodies,) id of the root body of each geom, and the finger that a geom is of: 1, 2 or 0.
        self.geom_root = model.body_rootid[model.geom_bodyid]
        self.finger = np.array([_finger(model.geom(g).name) for g in range(model.ngeom)])
        # Plans that depend on poses alone, kept by their arguments.
        self.kept: dict[Any, Any] = {}

    def read(self, state: PrivilegedState) -> World:
        """What the skills need of a state of this model."""
        hand = self.hand.read(state.data)
        return World(self, state.model, state.data, hand)


@dataclass(frozen=True)
class World:
    """One state."""

    reader: WorldReader
    model: mujoco.MjModel
    data: Any
    hand: Hand
    _solids: dict[str, Solid] = field(default_factory=dict)

    @property
    def movable(self) -> list[str]:
        """Names of the things that can be carried."""
        return self.reader.movable

    def position(self, name: str) -> Floats:
        """(3,) a thing's origin."""
        position: Floats = self.data.xpos[self.reader.things[name]].copy()
        return position

    def rotation(self, name: str) -> Floats:
        """(3, 3) a thing's frame to the world's."""
        rotation: Floats = self.data.xmat[self.reader.things[name]].reshape(3, 3).copy()
        return rotation

    def solid(self, name: str) -> Solid:
        """A thing's boxes where they are now; its drawers and doors too."""
        if name not in self._solids:
            self._solids[name] = self.reader.parts.solid(self.data, name)
        return self._solids[name]

    def site(self, name: str) -> Box:
        """A region, as LIBERO names it."""
        site = self.model.site(name).id
        rotation = self.data.site_xmat[site].reshape(3, 3).copy()
        return Box(self.data.site_xpos[site].copy(), rotation, self.model.site_size[site].copy())

    def geom(self, name: str) -> Box:
        """The bounding box of a geom along its own axes."""
        geom = self.model.geom(name).id
        rotation = self.data.geom_xmat[geom].reshape(3, 3).copy()
        box = self.model.geom_aabb[geom]
        return Box(self.data.geom_xpos[geom] + rotation @ box[:3], rotation, box[3:].copy())

    def joint(self, name: str) -> Joint:
        """A fixture's joint with one degree of freedom."""
        joint = self.model.joint(name)
        value = float(self.data.qpos[joint.qposadr[0]])
        return Joint(value, self.data.xanchor[joint.id].copy(), self.data.xaxis[joint.id].copy())

    @cached_property
    def _contacts(self) -> tuple[Any, Any]:
        """Root bodies and fingers of the two geoms of each contact, (n, 2) both, and distances."""
        pairs = self.data.contact.geom
        return pairs, self.data.contact.dist

    @cached_property
    def touching(self) -> dict[int, set[int]]:
        """Root body → the fingers, 1 and 2, that press on it."""
        pairs, distances = self._contacts
        fingers = self.reader.finger[pairs]
        found: dict[int, set[int]] = {}
        for k in np.flatnonzero(fingers.any(1) & (distances < _PRESSING)):
            for mine, other in ((0, 1), (1, 0)):
                if fingers[k, mine]:
                    root = int(self.reader.geom_root[pairs[k, other]])
                    found.setdefault(root, set()).add(int(fingers[k, mine]))
        return found

    def fingers_at(self, name: str) -> int:
        """How many fingers press on a thing: 0, 1 or 2."""
        return len(self.touching.get(self.reader.things[name], ()))

    def in_contact(self, one: str, other: str) -> bool:
        """Whether MuJoCo lists a contact between two things."""
        roots = self.reader.geom_root[self._contacts[0]]
        a = self.reader.things[one]
        b = self.reader.things[other]
        together: Bools = (roots == (a, b)).all(1) | (roots == (b, a)).all(1)
        return bool(together.any())

    @cached_property
    def held(self) -> tuple[str, ...]:
        """The movable things that fill the room between the fingers.

        Contacts break for a step here and there, so closeness is enough. Closed fingers that push
        a thing press on it as well, but it is not between them.
        """
        if self.hand.opening >= _HELD_OPENING:
            return ()
        at = self.hand.position
        near = [name for name in self.movable if norm(self.position(name) - at) < _IN_REACH]
        return tuple(name for name in near if self._holds(name))

    def _holds(self, name: str) -> bool:
        grip = self.grip(name)
        pressed = self.fingers_at(name) == 2
        return grip.beams > 0 and (pressed or grip.slack < _NO_AIR)

    def grip(self, name: str) -> Grip:
        """How a thing lies between the fingers."""
        return Grip.measure(self.hand, self.solid(name))

    @cached_property
    def obstacles(self) -> dict[str, Obstacles]:
        """Columns of every thing and of the table, by name."""
        names = {part.owner for part in self.reader.parts.parts}
        return {name: Obstacles.of([self.solid(name)]) for name in sorted(names)}

    def support(self, name: str) -> float:
        """Height of what lies under a thing: a table, a plate, a drawer's floor."""
        corners = self.solid(name).corners
        low = corners.min(0)
        high = corners.max(0)
        found = self.under(low[:2], high[:2], float(low[2]) + 0.008, name)
        return found if np.isfinite(found) else float(low[2])

    def highest_between(
        self, start: Floats, end: Floats, width: float, *without: str | None
    ) -> float:
        """Highest top in the strip of half `width` around the way from start to end (2,).

        −inf if nothing is there but the table and the things in `without`.
        """
        way = end - start
        length = norm(way)
        if length < 1e-6:
            return -np.inf
        middle = (start + end)[None] / 2
        best = -np.inf
        for name, boxes in self.obstacles.items():
            if name in (*without, TABLE):
                continue
            half = (length / 2 + width, width)
            over = boxes.depth(middle, way[None] / length, half)[0] > 0
            best = max(best, float(boxes.tops[over].max(initial=-np.inf)))
        return float(best)

    def way_out(self, center: Floats, radius: float, height: float) -> Floats | None:
        """The way (2,) from under a fixture over `height` for a disc at `center`; None if free.

        The shortest, but toward the robot it may be a little longer.
        """
        best = None
        for name, boxes in self.obstacles.items():
            if name in self.movable:
                continue
            depths, directions = boxes.ways_out(center, radius)
            cost = depths + _TOWARD_ROBOT * directions[:, :, 0]
            for k in np.flatnonzero((depths.min(1) > 0) & (boxes.bottoms > height)):
                side = int(cost[k].argmin())
                if best is None or depths[k, side] > norm(best):
                    best = depths[k, side] * directions[k, side]
        return best

    def under(self, low: Floats, high: Floats, height: float, without: str) -> float:
        """Highest top, up to `height`, over the rectangle low … high (2,); −inf if none."""
        best = -np.inf
        middle = (low + high)[None] / 2
        half = (high - low) / 2
        for name, boxes in self.obstacles.items():
            if name == without:
                continue
            over = boxes.depth(middle, np.array([[1.0, 0.0]]), (half[0], half[1]))[0] > 0
            tops = boxes.tops[over & (boxes.tops <= height)]
            best = max(best, float(tops.max(initial=-np.inf)))
        return float(best)


def _is_movable(model: mujoco.MjModel, body: int) -> bool:
    joint = model.body_jntadr[body]
    return bool(model.body_jntnum[body]) and int(model.jnt_type[joint]) == _FREE_JOINT


def _finger(geom: str) -> int:
    for number in (1, 2):
        if geom.startswith(f"gripper0_finger{number}"):
            return number
    return 0


__all__ = ["TABLE", "Box", "Joint", "World", "WorldReader"]
