"""The boundary observation → pixels: what happens to a picture before a policy sees it.

The published evaluation prepares pictures with TensorFlow, as the training data were prepared. Each
function here gives TensorFlow's values bit for bit without it (tests/test_pixels_golden.py).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import io
from collections.abc import Callable
from functools import cache

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.wiring import Orientation, Wiring

SIZE = 224
"""Width and height of OpenVLA's input in pixels."""

CROP_AREA = 0.9
"""Share of the area in training's random crops; evaluation crops the centre (openvla)."""

DINO_MEAN = (0.485, 0.456, 0.406)
DINO_STD = (0.229, 0.224, 0.225)
SIGLIP_MEAN = (0.5, 0.5, 0.5)
SIGLIP_STD = (0.5, 0.5, 0.5)
"""Channel statistics of the two vision encoders (preprocessor_config.json of openvla-7b)."""

f32 = np.float32
Float32 = NDArray[f32]


def check_image(image: Picture) -> None:
    """Raise a TutorialError unless `image` is (H, W, 3) uint8 and not empty."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.shape} {image.dtype}"
        raise TutorialError(f"A picture is (height, width, 3) uint8 RGB; got {found}.")


def orient(image: Picture, orientation: Orientation) -> Picture:
    """Turn the simulator's picture (H, W, 3), whose row 0 is the bottom.

    LIBERO's training pictures were turned by 180°: rows *and* columns are reversed. Reversing the
    rows alone (`flip_vertical`) gives an upright but mirrored scene. An orientation that does not
    exist is a TutorialError.
    """
    views = {"rotate_180": image[::-1, ::-1], "flip_vertical": image[::-1], "raw": image}
    if orientation not in views:
        raise unknown("orientation", orientation, views)
    return np.ascontiguousarray(views[orientation])


def jpeg_round_trip(image: Picture) -> Picture:
    """Compress and decompress as TensorFlow did: quality 95, 4:2:0 chroma, fast inverse DCT.

    (H, W, 3) uint8 → (H, W, 3) uint8.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=2)
    decoded: Picture = simplejpeg.decode_jpeg(buffer.getvalue(), fastdct=True, fastupsample=False)
    return decoded


_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.sinf.restype = ctypes.c_float
_libm.sinf.argtypes = [ctypes.c_float]


def _sin(x: Float32) -> Float32:
    """The C library's `sinf`, which TensorFlow calls.

    It is not always correctly rounded, and numpy's sine differs in the last bit.
    """
    return np.array([_libm.sinf(float(v)) for v in x], f32)


def _lanczos3(x: Float32) -> Float32:
    """The kernel sinc(x)·sinc(x/3) on |x| ≤ 3, in float32 as TensorFlow computes it."""
    three = f32(3)
    pi = f32(np.pi)
    tiny = f32(1e-3)
    near = np.maximum(x, tiny)
    value = three * _sin(pi * near) * _sin(pi * near / three) / (pi * pi * near * near)
    value[x > three] = 0
    value[x <= tiny] = 1
    return value


@cache
def lanczos3_matrix(size_in: int, size_out: int) -> csr_array:
    """(size_out, size_in) float32: the antialiased resampling of one axis; every row sums to 1."""
    half = f32(0.5)
    one = f32(1)
    inverse = one / (f32(size_out) / f32(size_in))
    stretch = max(inverse, one)
    centre = (np.arange(size_out, dtype=f32) + half) * inverse
    radius = f32(3) * stretch
    first = np.ceil(centre - radius - half).clip(0, size_in - 1).astype(int)
    last = np.floor(centre + radius - half).clip(0, size_in - 1).astype(int)
    matrix = np.zeros((size_out, size_in), f32)
    for i in range(size_out):
        source = np.arange(first[i], last[i] + 1)
        offset = source.astype(f32) + half - centre[i]
        weights = _lanczos3(np.abs(offset * (one / stretch)))
        # Added one by one: the pairwise sum of `np.sum` differs in the last bit.
        total = np.cumsum(weights)[-1]
        matrix[i, source] = weights * (one / total)
    return csr_array(matrix)


@cache
def bilinear_matrix(size_in: int, size_out: int) -> csr_array:
    """(size_out, size_in) float32: bilinear resampling of one axis, pixels' centres aligned.

    Without antialiasing: a smaller picture skips pixels.
    """
    at = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    at = at.clip(0, size_in - 1)
    below = np.floor(at).astype(int)
    fraction = at - below
    matrix = np.zeros((size_out, size_in), f32)
    rows = np.arange(size_out)
    matrix[rows, below] = 1 - fraction
    matrix[rows, np.minimum(below + 1, size_in - 1)] += fraction.astype(f32)
    return csr_array(matrix)


def resize_lanczos3(image: Picture, size: int = SIZE) -> Picture:
    """(H, W, 3) uint8 → (size, size, 3) uint8 by antialiased lanczos3.

    First the rows, then the columns, then rounding, half to even.
    """
    return _resampled(image, size, lanczos3_matrix)


def resize_bilinear(image: Picture, size: int = SIZE) -> Picture:
    """(H, W, 3) uint8 → (size, size, 3) uint8 as TensorFlow and OpenCV do unless told otherwise.

    It is not what the training pictures went through.
    """
    return _resampled(image, size, bilinear_matrix)


def _resampled(image: Picture, size: int, matrix: Callable[[int, int], csr_array]) -> Picture:
    height, width = image.shape[:2]
    rows = matrix(height, size) @ image.reshape(height, -1).astype(f32)
    turned = rows.reshape(size, width, 3).transpose(1, 0, 2).reshape(width, -1)
    out = (matrix(width, size) @ turned).reshape(size, size, 3).transpose(1, 0, 2)
    return np.ascontiguousarray(np.clip(np.rint(out), 0, 255).astype(np.uint8))


def center_crop(image: Picture) -> Picture:
    """Cut out the middle 90 % of the area and enlarge it again, as TensorFlow's crop_and_resize.

    It is bilinear with corners aligned. (H, W, 3) uint8 → (H, W, 3) uint8.
    """
    x = image.astype(f32) * f32(1 / 255)
    for axis in (1, 0):
        x = _crop_axis(x, axis)
    out: Picture = (np.clip(x, 0, 1) * f32(255.5)).astype(np.uint8)
    return out


def _crop_axis(x: Float32, axis: int) -> Float32:
    n = x.shape[axis]
    side = np.sqrt(f32(CROP_AREA))
    low = (f32(1) - side) / f32(2)
    last = f32(n - 1)
    step = ((low + side) - low) * last / last
    at = low * last + np.arange(n, dtype=f32) * step
    below = np.floor(at).astype(int)
    shape = [1, 1, 1]
    shape[axis] = n
    fraction = (at - below.astype(f32)).reshape(shape)
    left: Float32 = x.take(below, axis)
    right: Float32 = x.take(np.ceil(at).astype(int), axis)
    return np.asarray(left + (right - left) * fraction, f32)


def prepare(image: Picture, wiring: Wiring) -> Picture:
    """The simulator's picture → what the policy sees.

    (H, W, 3) uint8, row 0 at the bottom → (224, 224, 3) uint8, row 0 at the top.

    Raises:
        TutorialError: the picture is not (H, W, 3) uint8, or the wiring's orientation is unknown.
    """
    check_image(image)
    if wiring.colour_order == "bgr":
        image = image[..., ::-1]
    out = orient(image, wiring.orientation)
    if wiring.jpeg:
        out = jpeg_round_trip(out)
    out = resize_lanczos3(out) if wiring.resize == "lanczos3" else resize_bilinear(out)
    return center_crop(out) if wiring.center_crop else out


@cache
def normalisation_table() -> Float32:
    """(6, 256) float32: each grey level in three channels for DINOv2, then three for SigLIP."""
    level = np.arange(256, dtype=f32) / f32(255)
    mean = np.array([*DINO_MEAN, *SIGLIP_MEAN], f32).reshape(6, 1)
    std = np.array([*DINO_STD, *SIGLIP_STD], f32).reshape(6, 1)
    return (level - mean) / std


def resize_naive(image: Picture) -> Picture:
    """Make a picture 224×224 without keeping its aspect ("resize-naive", PIL bicubic).

    (H, W, 3) uint8 → (224, 224, 3) uint8; one of that size is returned as it is. Raises as
    `check_image`.
    """
    check_image(image)
    if image.shape[:2] == (SIZE, SIZE):
        return image
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def pixel_values(image: Picture) -> Float32:
    """(H, W, 3) uint8 → (6, 224, 224) float32, normalised for DINOv2, then for SigLIP.

    A picture of another size is resized first (`resize_naive`).
    """
    channels = resize_naive(image).transpose(2, 0, 1)
    return np.stack([row[channels[c % 3]] for c, row in enumerate(normalisation_table())])
