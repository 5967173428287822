"""The page's picture path (`pixels.js`, `jpeg.js`) against Python's on random and real pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_modules import binary, in_node, needs_node
from PIL import Image

from vla_tutorial import pixels
from vla_tutorial.wiring import Wiring

FRAMES = Path(__file__).parents[1] / "data" / "frames"
WIRING = Wiring("libero_object")
WIRINGS = {
    "published": WIRING,
    "no_flip": replace(WIRING, orientation="raw"),
    "flip_only": replace(WIRING, orientation="flip_vertical"),
    "bgr": replace(WIRING, colour_order="bgr"),
    "no_jpeg": replace(WIRING, jpeg=False),
    "no_center_crop": replace(WIRING, center_crop=False),
    "bilinear_resize": replace(WIRING, resize="bilinear"),
}

pytestmark = needs_node


def kinds_of_noise(rng):
    """Pictures that bring every coefficient of a JPEG to its ends."""
    y, x = np.mgrid[:256, :256]
    waves = [x * rng.integers(0, 129) + y * rng.integers(0, 129) for _ in range(3)]
    return [
        rng.integers(0, 256, (256, 256, 3)),
        255 * rng.integers(0, 2, (256, 256, 3)),
        np.kron(rng.integers(0, 256, (32, 32, 3)), np.ones((8, 8, 1))),
        np.kron(255 * rng.integers(0, 2, (128, 128, 3)), np.ones((2, 2, 1))),
        np.clip(rng.normal(128, rng.uniform(5, 80), (256, 256, 3)), 0, 255),
        np.stack([127.5 + 127.5 * np.cos(2 * np.pi * wave / 256) for wave in waves], -1),
    ]


@pytest.fixture(scope="module")
def pictures():
    """(N, 256, 256, 3) uint8, row 0 at the bottom: real ones first."""
    rng = np.random.default_rng(0)
    real = []
    for path in sorted(FRAMES.glob("*.png")):
        picture = np.asarray(Image.open(path).convert("RGB").resize((256, 256)))
        real += [picture, picture[::-1], np.roll(picture, (3, 5), (0, 1))]
    made = [picture for _ in range(6) for picture in kinds_of_noise(rng)]
    return np.array([np.asarray(picture, np.uint8) for picture in real + made])


def test_the_jpeg_round_trip_is_exact(pictures, tmp_path):
    script = """
    const { jpegRoundTrip } = await page("jpeg.js");
    const all = bytes("pictures");
    const size = 256 * 256 * 3;
    const out = new Uint8Array(all.length);
    for (let at = 0; at < all.length; at += size) {
      out.set(jpegRoundTrip(all.subarray(at, at + size), 256), at);
    }
    writeFileSync(`${folder}/out`, out);
    const found = null;
    """
    in_node(tmp_path, script, pictures=pictures)
    expected = np.array([pixels.jpeg_round_trip(picture) for picture in pictures])
    assert (binary(tmp_path, "out", np.uint8, pictures.shape) == expected).all()
    assert (expected != pictures).any(axis=(1, 2, 3)).all(), "every picture lost something"


@pytest.mark.parametrize("size", [64, 256, 320])
def test_prepare(pictures, tmp_path, size):
    """Every value is the same."""
    given = {name: vars(wiring) for name, wiring in WIRINGS.items()}
    pictures = np.array([np.resize(picture, (size, size, 3)) for picture in pictures[:15]])
    script = """
    const { prepare } = await page("pixels.js");
    const all = bytes("pictures");
    const length = all.length / 15;
    const found = null;
    const out = [];
    for (const wiring of Object.values(given)) {
      for (let at = 0; at < all.length; at += length) {
        out.push(prepare(all.subarray(at, at + length), wiring));
      }
    }
    writeFileSync(`${folder}/out`, Buffer.concat(out));
    """
    in_node(tmp_path, script, given, pictures=pictures)
    found = binary(tmp_path, "out", np.uint8, (len(WIRINGS), len(pictures), 224, 224, 3))
    for got, wiring in zip(found, WIRINGS.values(), strict=True):
        expected = np.array([pixels.prepare(picture, wiring) for picture in pictures])
        assert (got == expected).all()


def test_the_sine_of_the_c_library(tmp_path):
    x = np.random.default_rng(0).uniform(0, 3 * np.pi, 20000).astype(np.float32)
    script = """
    const { sinf } = await page("sinf.js");
    writeFileSync(`${folder}/out`, Float32Array.from(new Float32Array(bytes("x").buffer), sinf));
    const found = null;
    """
    in_node(tmp_path, script, x=x)
    assert (binary(tmp_path, "out", np.float32, x.shape) == pixels._sin(x)).all()
    assert (np.sin(x.astype(float)).astype(np.float32) != pixels._sin(x)).any(), "it matters"


def test_pictures_that_are_none(tmp_path):
    script = """
    const { prepare } = await page("pixels.js");
    const found = [];
    for (const length of given) {
      try { prepare(new Uint8Array(length), {}); } catch (error) { found.push(error.message); }
    }
    """
    sizes = [0, 3, 100, 3 * 250 * 250]
    found = in_node(tmp_path, script, sizes)
    assert found == [
        f"A picture has {size} values; expected n × n × 3 with n a multiple of 16."
        for size in sizes
    ]


def test_noise_has_its_deviation(tmp_path):
    script = """
    const { addNoise } = await page("pixels.js");
    const { normal } = await page("random.js");
    const grey = new Uint8Array(300000).fill(128);
    writeFileSync(`${folder}/out`, addNoise(grey, 10, normal(1)));
    writeFileSync(`${folder}/again`, addNoise(grey, 10, normal(1)));
    const found = addNoise(grey, 0, normal(1)) === grey;
    """
    assert in_node(tmp_path, script)
    noisy = binary(tmp_path, "out", np.uint8, (-1,)).astype(float)
    assert (noisy == binary(tmp_path, "again", np.uint8, (-1,))).all()
    # Rounding adds 1/12 to the variance. Five standard errors.
    assert abs(noisy.mean() - 128) < 0.1
    assert abs(noisy.std() - np.sqrt(100 + 1 / 12)) < 0.07
    assert abs(np.corrcoef(noisy[::2], noisy[1::2])[0, 1]) < 0.015
