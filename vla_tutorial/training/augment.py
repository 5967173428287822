"""What training does to pictures, on the GPU: random crops around the centre crop of evaluation, light and noise."""

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
    """Half sides (N, 1) and centres (N, 2; x, y) of random crops, in the whole picture's −1 … 1."""
    side = CROP_AREA**0.5 * (1 + augmentation.zoom * _uniform(n, 1, device=device))
    return side, 2 * augmentation.shift * _uniform(n, 2, device=device)


def center_crop(images: Tensor) -> Tensor:
    """(N, 224, 224, 3) uint8 → the same: `pixels.center_crop` on the images' device, to 1 grey level."""
    side = torch.full((len(images), 1), CROP_AREA**0.5, device=images.device)
    return _to_uint8(_cut(images, side, torch.zeros(len(images), 2, device=images.device)))


def crop(
    images: Tensor, augmentation: Augmentation, windows: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """(N, 224, 224, 3) uint8, not cropped yet → the same, near `center_crop` (at `windows`, or random ones), in another light, with noise."""
    n, device = len(images), images.device
    x = _cut(images, *(windows or crop_windows(n, augmentation, device)))
    gain = 1 + augmentation.light * _uniform(n, 1, 1, 1, device=device)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (1 + augmentation.light * _uniform(n, 1, 1, 1, device=device)) + mean * gain
    if augmentation.noise:
        x = x + augmentation.noise * torch.randn_like(x)
    return _to_uint8(x)


def _cut(images: Tensor, side: Tensor, center: Tensor) -> Tensor:
    """(N, S, S, 3) uint8, windows as `crop_windows` gives them → (N, 3, S, S) float32, 0 … 255."""
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = side[:, 0]
    theta[:, :, 2] = center
    grid = F.affine_grid(theta, [len(images), 3, *images.shape[1:3]], align_corners=True)
    return F.grid_sample(
        images.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=True
    )


def _to_uint8(x: Tensor) -> Tensor:
    return x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def augmented(images: Tensor, places: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Pictures and what they show, cropped alike.

    Args:
        images: (N, 224, 224, 3) uint8, not cropped yet.
        places: (N, K, 2) float32, points in the whole picture's −1 … 1.

    Returns:
        (N, 6, 224, 224) float32 for the two encoders, and (N, K, 2): the points in the cropped picture's −1 … 1.
    """
    side, center = crop_windows(len(images), augmentation, images.device)
    return normalise(crop(images, augmentation, (side, center))), (places - center[:, None]) / side[
        :, None
    ]


def _uniform(*shape: int, device: torch.device) -> Tensor:
    return 2 * torch.rand(*shape, device=device) - 1
