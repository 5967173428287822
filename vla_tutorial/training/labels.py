"""What belongs to a picture in training: its labels, and where things are in it.

The policy itself gets none of it. No PyTorch here: simulators' processes start faster without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_tutorial.arrays import Bools, Floats, Ints, Picture
from vla_tutorial.pixels import Float32
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.sensors import CAMERA
from vla_tutorial.training.chunks import LabelledEpisode

KEYPOINTS = (
    "alphabet_soup", "cream_cheese", "salad_dressing", "bbq_sauce", "ketchup", "tomato_sauce",
    "butter", "milk", "chocolate_pudding", "orange_juice", "basket", "hand",
    "akita_black_bowl", "cookies", "glazed_rim_porcelain_ramekin", "plate", "wooden_cabinet",
    "flat_stove", "wine_bottle", "wine_rack", "chefmate_8_frypan", "moka_pot", "white_cabinet",
    "porcelain_mug", "red_coffee_mug", "white_yellow_mug", "black_book", "desk_caddy", "microwave",
    "top_region", "middle_region", "bottom_region",
    "second akita_black_bowl", "second plate", "second moka_pot",
)  # fmt: skip
"""What the auxiliary head on the patches learns to find: things by kind, the hand, and drawers.

Of two things of a kind the second is the one further right in the picture, so that a picture tells
which is which.
"""

POSITION_MEAN = np.array(
    [0.5, 0.0, 0.15, 0.5, 0.0, 0.05, 0.55, 0.0, 0.05, 0.04, 0.0],
    np.float32,
)
POSITION_SCALE = np.array([0.2, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2, 0.2, 0.1, 0.03, 1.0], np.float32)
"""A head learns (value − mean) / scale of hand, thing, place, opening (metres), holding (0, 1)."""

FINE_ABOVE = 0.10
FINE_ASIDE = 0.08
"""Metres above the thing, and aside: work nearer than that is fine work."""

_DRAWERS = ("top_region", "middle_region", "bottom_region")


@dataclass(frozen=True)
class Labels:
    """What belongs to N pictures.

    Attributes:
        family: (N,) int64, number of the family of sentences that ask for it (`sentences.py`).
        wording: (N,) float32, 0 … 1, which of the family's sentences was asked in practice; 0 is
            the published one.
        bins: (N, 7) uint8, the expert's action bins; the token is 31999 − bin.
        positions: (N, 11) float32 for the auxiliary head, each with mean 0 and variance 1, about.
        keypoints: (N, K, 2) float32, as the function `keypoints` gives them.
        fine: (N,) bool, whether it shows fine work.
    """

    family: Ints
    wording: Float32
    bins: Picture
    positions: Float32
    keypoints: Float32
    fine: Bools

    @classmethod
    def of(
        cls, episode: LabelledEpisode, keypoints: Float32, family: int, wording: float = 0.0
    ) -> Labels:
        """The labels of T steps; `keypoints` (T, K, 2) come from the simulator that shows them."""
        values = [
            episode.hand,
            episode.thing,
            episode.place,
            episode.opening,
            episode.holding[:, None],
        ]
        positions = np.concatenate(values, 1, dtype=np.float32)
        count = len(episode)
        return cls(
            family=np.full(count, family),
            wording=np.full(count, wording, np.float32),
            bins=episode.bins.astype(np.uint8),
            positions=(positions - POSITION_MEAN) / POSITION_SCALE,
            keypoints=keypoints,
            fine=_is_fine(episode),
        )

    @classmethod
    def join(cls, parts: Sequence[Labels]) -> Labels:
        """Those of several, one after another."""
        joined = {}
        for name in vars(parts[0]):
            joined[name] = np.concatenate([vars(part)[name] for part in parts])
        return cls(**joined)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, chosen: Ints) -> Labels:
        return Labels(*(values[chosen] for values in vars(self).values()))


def _is_fine(episode: LabelledEpisode) -> Bools:
    """(T,) bool: the hand is just above the thing, or what it holds is just above its place."""
    offset = episode.hand - episode.thing
    at_thing = np.abs(offset[:, :2]).max(1) < FINE_ASIDE
    above = offset[:, 2] < FINE_ABOVE
    to_go = np.abs(episode.thing - episode.place)[:, :2].max(1)
    at_place = to_go < FINE_ASIDE / 2
    return np.asarray(at_thing & above & (~episode.holding | at_place))


def keypoints(simulator: Simulator) -> Float32:
    """(K, 2) float32: where each of `KEYPOINTS` is in the turned picture, as the policy sees it.

    They are x to the right and y down, −1 … 1 from edge to edge; NaN for what is absent.
    """
    model = simulator.model
    data = simulator.data
    names = ["hand"]
    # World points in metres.
    points = [data.site("gripper0_grip_site").xpos]
    for name, body in simulator.bodies.items():
        names.append(name.rsplit("_", 1)[0])
        points.append(data.xpos[body])
        for drawer in _DRAWERS:
            if name.rsplit("_", 1)[0] in ("wooden_cabinet", "white_cabinet"):
                names.append(drawer)
                points.append(data.site(f"{name}_{drawer}").xpos)
    camera = model.camera(CAMERA).id
    offset = np.array(points) - data.cam_xpos[camera]
    local = offset @ data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    # MuJoCo's cameras look along −z with y up. Row 0 of the raw picture is the bottom.
    raw = local[:, :2] / -local[:, 2:] / half
    # Turning the raw picture by 180° turns both axes round.
    return _by_kind(names, raw * (-1, -1))


def _by_kind(names: Sequence[str], points: Floats) -> Float32:
    """Points (N, 2) of things of these kinds → (K, 2), of two of a kind the left one first."""
    out = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
    for i in np.argsort(points[:, 0]):
        at = KEYPOINTS.index(names[i])
        if not np.isnan(out[at, 0]):
            at = KEYPOINTS.index(f"second {names[i]}")
        out[at] = points[i]
    return out
