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


def crop(images: Tensor, augmentation: Augmentation) -> Tensor:
    """(N, 224, 224, 3) uint8, not cropped yet → (N, 224, 224, 3) uint8: `pixels.center_crop`, or near it."""
    n, device = len(images), images.device
    side = CROP_AREA**0.5 * (1 + augmentation.zoom * _uniform(n, 1, device=device))
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = side[:, 0]
    theta[:, :, 2] = 2 * augmentation.shift * _uniform(n, 2, device=device)
    grid = F.affine_grid(theta, [n, 3, *images.shape[1:3]], align_corners=True)
    x = F.grid_sample(images.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=True)
    gain = 1 + augmentation.light * _uniform(n, 1, 1, 1, device=device)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (1 + augmentation.light * _uniform(n, 1, 1, 1, device=device)) + mean * gain
    if augmentation.noise:
        x = x + augmentation.noise * torch.randn_like(x)
    return x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def pixel_values(images: Tensor, augmentation: Augmentation) -> Tensor:
    """(N, 224, 224, 3) uint8, not cropped yet → (N, 6, 224, 224) float32 for the two encoders."""
    return normalise(crop(images, augmentation))


def _uniform(*shape: int, device: torch.device) -> Tensor:
    return 2 * torch.rand(*shape, device=device) - 1
