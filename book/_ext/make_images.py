"""Draw the still pictures of the book: python book/_ext/make_images.py        (a minute)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vla_tutorial.conditions import CATALOGUE, Condition, apply, changed_settings
from vla_tutorial.pixels import SIZE, orient, prepare
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING
from vla_tutorial.wiring import Orientation

IMAGES = Path(__file__).resolve().parents[1] / "images"
FRAMES = Path(__file__).resolve().parents[2] / "tests" / "data" / "frames"
ORIENTATIONS: tuple[Orientation, ...] = ("rotate_180", "flip_vertical", "raw")
GAP, CAPTION, COLUMNS = 8, 30, 4


def orientations(simulator: Simulator) -> Image.Image:
    """One frame as the published protocol turns it, with the chapter's flip alone, and as MuJoCo renders it."""
    image = simulator.reset(0).image
    return beside([orient(image, way) for way in ORIENTATIONS])


def beside(pictures: list[NDArray[np.uint8]]) -> Image.Image:
    """(H, W, 3) uint8 each → one picture with transparent gaps."""
    nothing = np.zeros((pictures[0].shape[0], GAP, 4), np.uint8)
    parts = [nothing]
    for picture in pictures:
        parts += [np.dstack([picture, np.full_like(picture[..., :1], 255)]), nothing]
    return Image.fromarray(np.concatenate(parts[1:-1], axis=1))


def floors() -> Image.Image:
    """The recorded first pictures under the pinned MuJoCo and under 3.3.3, upright."""
    names = ("llvmpipe_llvm_15_0_6_256_bits_3_3_2.png", "llvmpipe_llvm_15_0_6_256_bits_3_3_3.png")
    return beside([np.array(Image.open(FRAMES / name))[::-1, ::-1] for name in names])


def shown(condition: Condition) -> bool:
    """Whether a condition changes the first picture: not the words, not the motion, and not what only shows later."""
    later = {"frame_delay", "friction", "joint_noise_seed"}
    return (
        condition.boundary in ("pixels", "simulator", "shift")
        and not later & changed_settings(condition, PUBLISHED_WIRING, PUBLISHED_SCENE).keys()
    )


def first_pictures(simulator: Simulator) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and (224, 224, 3) uint8: what a policy gets first, published and under each condition that changes it."""
    for name in (None, *(c.name for c in CATALOGUE.values() if shown(c))):
        wiring, scene = apply([name] if name else [], PUBLISHED_WIRING, PUBLISHED_SCENE)
        image = simulator.reset(scene.init, wiring.settle_steps, scene.perturbation).image
        yield name or "published", prepare(image, wiring)


def sheet(pictures: list[tuple[str, NDArray[np.uint8]]]) -> Image.Image:
    """Pictures in rows, each with its name below."""
    rows = -(-len(pictures) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (SIZE + GAP) - GAP, rows * (SIZE + CAPTION)), "white")
    draw = ImageDraw.Draw(page)
    for number, (name, picture) in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        x, y = column * (SIZE + GAP), row * (SIZE + CAPTION)
        page.paste(Image.fromarray(picture), (x, y))
        draw.text(
            (x + SIZE // 2, y + SIZE + CAPTION // 2), name, fill="black", anchor="mm", font_size=20
        )
    return page


def main() -> None:
    """Write every picture."""
    floors().save(IMAGES / "floors.webp", quality=85)
    with Simulator(PUBLISHED_SCENE.suite, PUBLISHED_SCENE.task) as simulator:
        orientations(simulator).save(IMAGES / "orientations.webp", quality=85)
        sheet(list(first_pictures(simulator))).save(IMAGES / "conditions.webp", quality=85)


if __name__ == "__main__":
    main()
