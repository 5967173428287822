"""What training does to pictures, on the GPU: random crops near the centre crop, light, noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_tutorial.openvla.model import normalise
from vla_tutorial.pixels import CROP_AREA


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are varied.

    Attributes:
        shift: the crop's centre moves by up to this share of the picture (0.01 is 2.2 pixels).
        zoom: the crop's side varies by up to this share.
        light: brightness and contrast vary by up to this share.
        noise: standard deviation in grey levels.
    """

    shift: float = 0.012
    zoom: float = 0.02
    light: float = 0.12
    noise: float = 3.0


NONE = Augmentation(0.0, 0.0, 0.0, 0.0)
"""Evaluation's centre crop, nothing else."""


def crop_windows(n: int, augmentation: Augmentation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random crops in the whole picture's −1 … 1: half sides (n, 1) and centres (n, 2; x, y)."""
    side = CROP_AREA**0.5 * (1 + augmentation.zoom * _uniform(n, 1, device=device))
    centre = 2 * augmentation.shift * _uniform(n, 2, device=device)
    return side, centre


def center_crop(images: Tensor) -> Tensor:
    """(N, 224, 224, 3) uint8 → the same: `pixels.center_crop` on their device, to 1 grey level."""
    side = torch.full((len(images), 1), CROP_AREA**0.5, device=images.device)
    centre = torch.zeros(len(images), 2, device=images.device)
    return _to_uint8(_cut(images, side, centre))


def crop(
    images: Tensor, augmentation: Augmentation, windows: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """(N, 224, 224, 3) uint8, not cropped yet → the same in another light, with noise.

    They are cropped at `windows`, as `crop_windows` gives them, else at random ones.
    """
    n = len(images)
    device = images.device
    side, centre = windows or crop_windows(n, augmentation, device)
    x = _cut(images, side, centre)
    gain = 1 + augmentation.light * _uniform(n, 1, 1, 1, device=device)
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast = 1 + augmentation.light * _uniform(n, 1, 1, 1, device=device)
    x = (x - mean) * contrast + mean * gain
    if augmentation.noise:
        x = x + augmentation.noise * torch.randn_like(x)
    return _to_uint8(x)


def augmented(
    images: Tensor, keypoints: Tensor, augmentation: Augmentation
) -> tuple[Tensor, Tensor]:
    """Pictures and what they show, cropped alike.

    Args:
        images: (N, 224, 224, 3) uint8, not cropped yet.
        keypoints: (N, K, 2) float32, in the whole picture's −1 … 1.
        augmentation: how far they are varied.

    Returns:
        (N, 6, 224, 224) float32 for the two encoders; (N, K, 2) in the cropped picture's −1 … 1.
    """
    side, centre = crop_windows(len(images), augmentation, images.device)
    pixels = normalise(crop(images, augmentation, (side, centre)))
    return pixels, (keypoints - centre[:, None]) / side[:, None]


def _cut(images: Tensor, side: Tensor, centre: Tensor) -> Tensor:
    """(N, S, S, 3) uint8, windows as `crop_windows` gives them → (N, 3, S, S) float32, 0 … 255."""
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = side[:, 0]
    theta[:, :, 2] = centre
    grid = F.affine_grid(theta, [len(images), 3, *images.shape[1:3]], align_corners=True)
    channels_first = images.permute(0, 3, 1, 2).float()
    return F.grid_sample(channels_first, grid, padding_mode="border", align_corners=True)


def _to_uint8(x: Tensor) -> Tensor:
    """(N, 3, S, S) float32 → (N, S, S, 3) uint8."""
    return x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _uniform(*shape: int, device: torch.device) -> Tensor:
    """Random numbers, −1 … 1."""
    return 2 * torch.rand(*shape, device=device) - 1
