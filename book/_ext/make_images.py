"""Draw the still pictures of the book: python book/_ext/make_images.py        (10 seconds)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vla_tutorial.pixels import orient
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import Orientation

IMAGES = Path(__file__).resolve().parents[1] / "images"
ORIENTATIONS: tuple[Orientation, ...] = ("rotate_180", "flip_vertical", "raw")
GAP = 8


def main() -> None:
    """One frame as the published protocol turns it, with the chapter's flip alone, and as MuJoCo renders it."""
    with Simulator("libero_object", 0) as simulator:
        image = simulator.reset(0).image
    nothing = np.zeros((image.shape[0], GAP, 4), np.uint8)
    parts = [part for o in ORIENTATIONS for part in (np.dstack([orient(image, o), np.full_like(image[..., :1], 255)]), nothing)][:-1]
    Image.fromarray(np.concatenate(parts, axis=1)).save(IMAGES / "orientations.webp", quality=85)


if __name__ == "__main__":
    main()
