"""pixels.py against TensorFlow's values. VLA_GOLDEN_IMAGES names another file of the same form."""

import os
from pathlib import Path

import numpy as np
import pytest

from vla_tutorial import pixels
from vla_tutorial.wiring import Wiring

GOLDEN = np.load(
    os.environ.get("VLA_GOLDEN_IMAGES") or Path(__file__).parent / "data/libero_image_golden.npz"
)
NAMES = [key.removeprefix("raw_") for key in GOLDEN.files if key.startswith("raw_")]


def test_file_holds_pictures():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_rotation_jpeg_and_resize(name):
    out = pixels.prepare(GOLDEN[f"raw_{name}"], Wiring("libero_object", center_crop=False))
    assert np.count_nonzero(out != GOLDEN[f"libero224_{name}"]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_center_crop(name):
    assert (
        np.count_nonzero(
            pixels.center_crop(GOLDEN[f"libero224_{name}"]) != GOLDEN[f"crop224_{name}"]
        )
        == 0
    )


@pytest.mark.parametrize("name", NAMES)
def test_whole_path(name):
    out = pixels.prepare(GOLDEN[f"raw_{name}"], Wiring("libero_object"))
    assert np.count_nonzero(out != GOLDEN[f"crop224_{name}"]) == 0


@pytest.mark.skipif("lanczos3_weights_256_224" not in GOLDEN, reason="this file carries no weights")
def test_lanczos3_weights():
    matrix = pixels.lanczos3_matrix(256, 224).toarray()
    for row, start, weights in zip(
        matrix, GOLDEN["lanczos3_starts_256_224"], GOLDEN["lanczos3_weights_256_224"], strict=True
    ):
        span = row[start : start + len(weights)]
        assert np.array_equal(span, weights[: len(span)])
