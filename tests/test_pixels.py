import numpy as np
import pytest

from vla_tutorial import pixels
from vla_tutorial.errors import TutorialError
from vla_tutorial.wiring import Wiring


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)


def test_orientations(image):
    assert np.array_equal(pixels.orient(image, "rotate_180"), np.rot90(image, 2))
    assert np.array_equal(pixels.orient(image, "flip_vertical"), np.flipud(image))
    assert np.array_equal(pixels.orient(image, "raw"), image)


def test_unknown_orientation_suggests_the_nearest(image):
    with pytest.raises(TutorialError, match="'rotate_180'"):
        pixels.orient(image, "rotate180")


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_wrong_pictures_are_named(bad):
    with pytest.raises(TutorialError, match="uint8"):
        pixels.prepare(bad, Wiring("libero_object"))


@pytest.mark.parametrize("size", [128, 224, 256, 300])
def test_any_camera_size_gives_224(size):
    out = pixels.prepare(np.full((size, size, 3), 77, np.uint8), Wiring("libero_object"))
    assert out.shape == (224, 224, 3)
    assert (out == 77).all()


def test_pixel_values_layout(image):
    values = pixels.pixel_values(image[:224, :224])
    assert values.shape == (6, 224, 224)
    assert values.dtype == np.float32
    red = image[0, 0, 0] / 255
    assert values[0, 0, 0] == pytest.approx((red - 0.485) / 0.229, abs=1e-5)
    assert values[3, 0, 0] == pytest.approx((red - 0.5) / 0.5, abs=1e-5)
